-- create_command --
-- Every command that took effect, so that one sent again is not carried out again and gives the first receipt.
CREATE TABLE IF NOT EXISTS syncline_table_command (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  digest INTEGER NOT NULL,  -- of name and payload
  incarnation TEXT NOT NULL,    -- with the position, the place in the capture's log, or in the count of groups, with its effect
  position INTEGER NOT NULL,
  log_incarnation TEXT,         -- with the position, the place in the event log of an outbox in the same database; both NULL where
  log_position INTEGER          -- there is none
) WITHOUT ROWID

-- select_recorded --
-- Where the event log of an outbox in the same database stands.
SELECT incarnation, (SELECT coalesce(max(position), 0) FROM syncline_event) FROM syncline_event_log

-- is_created --
-- Whether commands were handled here before.
SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'syncline_table_command'

-- select_tables --
-- The names of all tables and views, as the schema spells them.
SELECT name FROM sqlite_master WHERE type IN ('table', 'view')

-- select_command --
-- A command, if it took effect.
SELECT name, digest, incarnation, position, log_incarnation, log_position FROM syncline_table_command WHERE id = ?

-- insert_command --
-- A command that took effect.
INSERT INTO syncline_table_command (id, name, digest, incarnation, position, log_incarnation, log_position)
VALUES (?, ?, ?, ?, ?, ?, ?)

-- select_changes --
-- How many rows the last statement changed, where the driver does not tell (one that begins with WITH).
SELECT changes()
