-- create_command --
-- Every command that took effect, so that one sent again is not carried out again and gives the first receipt.
CREATE TABLE IF NOT EXISTS syncline_table_command (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  digest INTEGER NOT NULL,  -- of name and payload
  incarnation TEXT,         -- with the position, where the capture's log stood with the command's effect
  position INTEGER          -- both NULL where the service is not captured by a log
) WITHOUT ROWID

-- is_created --
-- Whether commands were handled here before.
SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'syncline_table_command'

-- select_tables --
-- The names of all tables and views, as the schema spells them.
SELECT name FROM sqlite_master WHERE type IN ('table', 'view')

-- select_commands --
-- Those of these commands that took effect.
SELECT id, name, digest, incarnation, position
  FROM syncline_table_command
 WHERE id IN (SELECT value FROM json_each(?))

-- insert_command --
-- A command that took effect.
INSERT INTO syncline_table_command (id, name, digest, incarnation, position) VALUES (?, ?, ?, ?, ?)

-- select_changes --
-- How many rows the last statement changed, where the driver does not tell (one that begins with WITH).
SELECT changes()
