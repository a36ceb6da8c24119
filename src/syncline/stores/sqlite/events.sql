-- create_log --
-- One row: the format of the log, its incarnation, and how many commands it remembers.
CREATE TABLE IF NOT EXISTS syncline_event_log (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  format INTEGER NOT NULL,
  incarnation TEXT NOT NULL,
  commands INTEGER NOT NULL DEFAULT 0
)

-- create_event --
-- Every event. Positions are dense and in commit order, since whoever gives them out holds the write lock until it commits.
CREATE TABLE IF NOT EXISTS syncline_event (
  position INTEGER PRIMARY KEY,
  stream TEXT NOT NULL,
  version INTEGER NOT NULL,     -- counted from 1 in its stream
  name TEXT NOT NULL,
  shape INTEGER NOT NULL,       -- of the data, counted from 1; upcasters lead from one to the next
  data TEXT NOT NULL,           -- JSON
  id INTEGER NOT NULL,          -- random: with the position it tells this history from any other
  append_end INTEGER NOT NULL,  -- the position of the last event stored together with this one; an outbox chains several
  at REAL NOT NULL,             -- seconds since 1970
  command_id TEXT,
  metadata TEXT,                -- JSON, where there is more than the command's id
  tags TEXT,                    -- JSON, where there are any
  UNIQUE (stream, version)
)

-- create_tag --
-- The tags of events, so that a condition over a query costs the same however long the log is.
CREATE TABLE IF NOT EXISTS syncline_tag (
  tag TEXT NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (tag, position)
) WITHOUT ROWID

-- create_command --
-- Every command that took effect, and its outcome, so that one sent again gives the first receipt.
CREATE TABLE IF NOT EXISTS syncline_command (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  digest INTEGER NOT NULL,   -- of name and payload
  stream TEXT NOT NULL,
  version INTEGER NOT NULL,
  position INTEGER NOT NULL, -- of its last event; of the log's head where it decided nothing
  count INTEGER NOT NULL     -- how many events it decided
) WITHOUT ROWID

-- create_snapshot --
-- Folded states of long streams: a cache, safe to delete.
CREATE TABLE IF NOT EXISTS syncline_snapshot (
  stream TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  fingerprint TEXT NOT NULL,  -- of the state's shape and the function that folds; another one is not used
  state TEXT NOT NULL
) WITHOUT ROWID

-- create_name_index --
-- For queries over types without tags, where a service asks such.
CREATE INDEX IF NOT EXISTS syncline_event_name ON syncline_event (name, position)

-- is_created --
-- Whether the log is there, before any table of it is made.
SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'syncline_event_log'

-- insert_log --
-- A new log gets an incarnation; an old one keeps it.
INSERT OR IGNORE INTO syncline_event_log (id, format, incarnation) VALUES (1, :format, lower(hex(randomblob(8))))

-- select_log --
-- What a program asks first.
SELECT format, incarnation FROM syncline_event_log

-- select_head --
-- The newest position with the id of its event, the history that it belongs to (who follows the log gives it another name when it
-- was restored), and the id of the event at a position that is known.
SELECT coalesce(h.position, 0),
       coalesce(h.id, 0),
       l.incarnation,
       coalesce((SELECT id FROM syncline_event WHERE position = ?), 0)
  FROM syncline_event_log AS l
  LEFT JOIN syncline_event AS h ON h.position = (SELECT max(position) FROM syncline_event)

-- insert_event --
-- Events at the positions given out for them; the row of placeholders is repeated.
INSERT INTO syncline_event (position, stream, version, name, shape, data, id, append_end, at, command_id, metadata, tags)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- insert_tag --
-- Tags of events; the row of placeholders is repeated.
INSERT INTO syncline_tag (tag, position) VALUES (?, ?)

-- insert_command --
-- Commands that took effect; the row of placeholders is repeated.
INSERT INTO syncline_command (id, name, digest, stream, version, position, count) VALUES (?, ?, ?, ?, ?, ?, ?)

-- count_commands --
-- Keeps the number of remembered commands, in the transaction that stores them.
UPDATE syncline_event_log SET commands = commands + ?

-- select_commands --
-- The outcomes of those of these commands that took effect.
SELECT id, name, digest, stream, version, position, count
  FROM syncline_command
 WHERE id IN (SELECT value FROM json_each(?))

-- select_versions --
-- How many events each of these streams has: its newest version, which costs the same however long it is.
SELECT w.value, coalesce((SELECT max(version) FROM syncline_event WHERE stream = w.value), 0)
  FROM (SELECT value FROM json_each(?)) AS w

-- select_streams --
-- The events of several streams, of each those after a version, in the order of versions.
SELECT e.stream, e.version, e.position, e.name, e.shape, e.data
  FROM json_each(?) AS wanted
  JOIN syncline_event AS e ON e.stream = wanted.key AND e.version > wanted.value
 ORDER BY e.stream, e.version

-- select_events --
-- Consecutive events after a position.
SELECT position, stream, version, name, shape, data, id, append_end, at, command_id, metadata, tags
  FROM syncline_event
 WHERE position > :after AND position <= :up_to
 ORDER BY position
 LIMIT :limit

-- select_tagged --
-- Of each of these tags the events that carry it, after a position, in order.
SELECT w.key, e.stream, e.version, e.position, e.name, e.shape, e.data
  FROM json_each(?) AS w
 CROSS JOIN syncline_tag AS t ON t.tag = w.key AND t.position > w.value AND t.position <= ?
 CROSS JOIN syncline_event AS e ON e.position = t.position
 ORDER BY w.id, e.position

-- select_range --
-- The events of one command, by their positions.
SELECT position, stream, version, name, shape, data
  FROM syncline_event
 WHERE position > :after AND position <= :up_to
 ORDER BY position

-- select_proof --
-- The id of the event at a position, which a checkpoint keeps to recognise this history; none for position 0.
SELECT id FROM syncline_event WHERE position = ?

-- select_snapshots --
-- The stored states of these streams.
SELECT stream, version, fingerprint, state FROM syncline_snapshot WHERE stream IN (SELECT value FROM json_each(?))

-- upsert_snapshot --
-- A newer state takes the place of an older one.
INSERT INTO syncline_snapshot (stream, version, fingerprint, state) VALUES (?, ?, ?, ?)
ON CONFLICT (stream) DO UPDATE
   SET version = excluded.version, fingerprint = excluded.fingerprint, state = excluded.state
