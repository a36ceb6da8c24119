-- create_dead_letter --
-- Streams of event-sourced services that are held back from an event on, because it could not be made rows.
CREATE TABLE IF NOT EXISTS syncline_dead_letter (
  service TEXT NOT NULL,
  stream TEXT NOT NULL,
  position INTEGER NOT NULL,  -- of the event that failed; later ones of the stream wait behind it
  event TEXT NOT NULL,
  error TEXT NOT NULL,
  since REAL NOT NULL,
  keys TEXT NOT NULL,         -- the rows that depend on the stream, as JSON: by relation, its keys
  settled INTEGER NOT NULL,   -- 0: rows of what waits may be held, until the service's rows were made anew
  PRIMARY KEY (service, stream)
) WITHOUT ROWID

-- create_dropped --
-- Events that a person dropped: no replay brings their rows.
CREATE TABLE IF NOT EXISTS syncline_dropped (
  service TEXT NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (service, position)
) WITHOUT ROWID

-- create_marked --
-- Pieces of views that depend on rows of streams held back; without a key, a view in which any row may.
CREATE TABLE IF NOT EXISTS syncline_marked (
  view TEXT NOT NULL,  -- the stored table of the view, one being built too
  key TEXT NOT NULL,   -- the values of its partition key as its rows hold them, as JSON; empty: which pieces cannot be told
  PRIMARY KEY (view, key)
) WITHOUT ROWID

-- has_dead_letters --
-- Whether the store was opened by a version that keeps dead letters.
SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'syncline_marked'

-- select_dead_letters --
-- Every stream that is held back, those longest held first.
SELECT service, stream, position, event, error, since, keys, settled
  FROM syncline_dead_letter
 ORDER BY since, service, position

-- upsert_dead_letter --
-- A stream that is held back from now on, or again, or with more rows that depend on it.
INSERT OR REPLACE INTO syncline_dead_letter (service, stream, position, event, error, since, keys, settled)
VALUES (:service, :stream, :position, :event, :error, :since, :keys, :settled)

-- delete_dead_letter --
-- A stream that is followed again.
DELETE FROM syncline_dead_letter WHERE service = :service AND stream = :stream

-- forget_dead_letters --
-- A service that the configuration no longer names, or whose log is another one now.
DELETE FROM syncline_dead_letter WHERE service = :service

-- select_dropped --
-- The events of a service that were dropped.
SELECT position FROM syncline_dropped WHERE service = :service

-- insert_dropped --
-- An event that was dropped, in the transaction of the batch that brings what came after it.
INSERT OR IGNORE INTO syncline_dropped (service, position) VALUES (:service, :position)

-- forget_dropped --
-- Positions of a log that is no longer followed.
DELETE FROM syncline_dropped WHERE service = :service

-- select_marked --
-- Everything that is marked.
SELECT view, key FROM syncline_marked

-- select_marked_of --
-- Which of these keys of one view are marked.
SELECT m.key FROM json_each(:keys) AS wanted JOIN syncline_marked AS m ON m.view = :view AND m.key = wanted.value

-- insert_marked --
-- A piece that depends on a stream held back since this batch, or since rows changed.
INSERT OR IGNORE INTO syncline_marked (view, key) VALUES (:view, :key)

-- delete_marked --
-- A piece that does no longer.
DELETE FROM syncline_marked WHERE view = :view AND key = :key

-- forget_marked --
-- A table of view rows whose place another takes.
DELETE FROM syncline_marked WHERE view = :view

-- rename_marked --
-- A build that takes the place of what was live brings its own marks along.
UPDATE syncline_marked SET view = :view WHERE view = :stored
