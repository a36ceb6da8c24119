-- create_count --
-- One row: how many groups of commands took effect, and a name for this history of the database.
CREATE TABLE IF NOT EXISTS syncline_table_group (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  incarnation TEXT NOT NULL,
  n INTEGER NOT NULL
)

-- insert_count --
-- A new count begins; an old one goes on.
INSERT OR IGNORE INTO syncline_table_group (id, incarnation, n) VALUES (1, 'groups-' || lower(hex(randomblob(6))), 0)

-- count_group --
-- One more, in the transaction of its effect.
UPDATE syncline_table_group SET n = n + 1

-- select_count --
-- The count, as whoever asks sees it.
SELECT incarnation, n FROM syncline_table_group

-- is_counted --
-- Whether groups are counted here.
SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'syncline_table_group'

-- renew_count --
-- The history gets another name.
UPDATE syncline_table_group SET incarnation = 'groups-' || lower(hex(randomblob(6)))
