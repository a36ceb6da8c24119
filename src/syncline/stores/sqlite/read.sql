-- create_meta --
-- One row: the format of the store, its own identity at its sources, and the epoch that fences an old relay.
CREATE TABLE IF NOT EXISTS syncline_meta (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  format INTEGER NOT NULL,
  consumer TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  holder TEXT NOT NULL DEFAULT ''
)

-- create_feed --
-- The checkpoint of every service: the vector that all rows of the store belong to, and what `status` shows of the feed.
CREATE TABLE IF NOT EXISTS syncline_feed (
  service TEXT PRIMARY KEY,
  capture TEXT NOT NULL,
  incarnation TEXT,
  n INTEGER,
  proof INTEGER,
  open TEXT NOT NULL DEFAULT '[]',         -- numbers up to n that the position does not contain
  read_at REAL,
  exact INTEGER NOT NULL DEFAULT 1,
  begun INTEGER NOT NULL DEFAULT 0,
  made_by TEXT,                            -- the capture that the position belongs to
  past TEXT NOT NULL DEFAULT '[]',         -- incarnations that are gone
  superseded TEXT NOT NULL DEFAULT '[]',   -- incarnations of a capture that was replaced by another
  state TEXT NOT NULL DEFAULT 'starting',  -- starting -> loading -> catching up <-> live; any -> failed -> starting
  activity TEXT NOT NULL DEFAULT '',
  error TEXT
) WITHOUT ROWID

-- create_relation --
-- Every mirror: its columns and key as JSON, and how far its first copy has come.
CREATE TABLE IF NOT EXISTS syncline_relation (
  id TEXT PRIMARY KEY,
  service TEXT NOT NULL,
  definition TEXT NOT NULL,
  state TEXT NOT NULL,  -- loading -> loaded -> live; live -> filling (new columns) -> loaded -> live
  filling TEXT NOT NULL DEFAULT '[]',
  cursor TEXT,
  rows INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID

-- create_view --
-- Every view: the definition its live table is kept by, and the one that is being built beside it, as JSON.
CREATE TABLE IF NOT EXISTS syncline_view (
  name TEXT PRIMARY KEY,
  live TEXT,
  live_generation INTEGER,
  next TEXT,
  next_generation INTEGER,
  progress TEXT NOT NULL DEFAULT '',
  error TEXT
) WITHOUT ROWID

-- create_build --
-- How far the build of each table of the next generation has come: rows of its list of keys, and the last one done.
CREATE TABLE IF NOT EXISTS syncline_build (
  stored TEXT PRIMARY KEY,
  generation INTEGER NOT NULL,
  total INTEGER NOT NULL,
  done INTEGER NOT NULL
) WITHOUT ROWID

-- create_parked --
-- Pieces of a view whose rows could not be computed: what they show stays as it was before the failure, until they can be.
CREATE TABLE IF NOT EXISTS syncline_parked (
  view TEXT NOT NULL,  -- the stored table of the view, hidden or being built ones too
  key TEXT NOT NULL,   -- the values of its partition key, as JSON
  error TEXT NOT NULL,
  since REAL NOT NULL,
  PRIMARY KEY (view, key)
) WITHOUT ROWID

-- insert_meta --
-- A new store gets an identity of its own; an old one keeps it.
INSERT OR IGNORE INTO syncline_meta (id, format, consumer, epoch, generation)
VALUES (1, :format, lower(hex(randomblob(8))), 0, 0)

-- add_open --
-- A store that an older version made learns to keep which transactions a position does not contain.
ALTER TABLE syncline_feed ADD COLUMN open TEXT NOT NULL DEFAULT '[]'

-- select_feed_columns --
-- The columns of the vector as this store has it.
SELECT name FROM pragma_table_info('syncline_feed')

-- touch --
-- A write that changes nothing, so that its commit brings those before it to the disk.
UPDATE syncline_meta SET epoch = epoch

-- select_meta --
-- The identity and the epoch of the store.
SELECT format, consumer, epoch, generation FROM syncline_meta

-- select_holder --
-- The relay that last took the store over.
SELECT holder FROM syncline_meta

-- raise_epoch --
-- A relay that takes over fences every relay before it.
UPDATE syncline_meta SET epoch = epoch + 1, holder = :holder

-- next_generation --
-- Numbers a build, so that its tables have names of their own.
UPDATE syncline_meta SET generation = generation + 1

-- insert_feed --
-- Makes a service known; what is known of it stays, unless its capture changed.
INSERT INTO syncline_feed (service, capture) VALUES (:service, :capture)
ON CONFLICT (service) DO UPDATE SET capture = excluded.capture

-- delete_feed --
-- Forgets a service that the configuration no longer names.
DELETE FROM syncline_feed WHERE service = :service

-- select_feeds --
-- The whole vector with what status shows.
SELECT service, capture, incarnation, n, proof, open, read_at, exact, begun, past, superseded, state, activity, error
  FROM syncline_feed
 ORDER BY service

-- select_checkpoint --
-- How far one service was applied.
SELECT incarnation, n, proof, open FROM syncline_feed WHERE service = :service

-- select_incarnation --
-- Which incarnation a service's position belongs to, and those before it.
SELECT capture, made_by, incarnation, past, superseded FROM syncline_feed WHERE service = :service

-- set_incarnation --
-- The position now belongs to another history of the source.
UPDATE syncline_feed SET made_by = :made_by, past = :past, superseded = :superseded WHERE service = :service

-- move_checkpoint --
-- Moves a checkpoint with the rows it belongs to; where their age is not known, they are not older than those before.
UPDATE syncline_feed
   SET incarnation = :incarnation, n = :n, proof = :proof, open = :open, read_at = coalesce(:read_at, read_at), exact = :exact
 WHERE service = :service

-- set_read_at --
-- An idle feed was asked and had nothing new: what is shown is as new as this.
UPDATE syncline_feed SET read_at = :read_at WHERE service = :service

-- set_feed_state --
-- What status shows of a feed.
UPDATE syncline_feed SET state = :state, activity = :activity, error = :error WHERE service = :service

-- set_begun --
-- A sweep may begin once its number is stored: a token that was given out before it is not reached by it.
UPDATE syncline_feed SET begun = :begun WHERE service = :service

-- select_relations --
-- All mirrors.
SELECT id, service, definition, state, filling, cursor, rows FROM syncline_relation ORDER BY id

-- upsert_relation --
-- Stores a mirror's definition and state.
INSERT OR REPLACE INTO syncline_relation (id, service, definition, state, filling, cursor, rows)
VALUES (:id, :service, :definition, :state, :filling, :cursor, :rows)

-- move_cursor --
-- How far the first copy came, in the transaction that stored its rows.
UPDATE syncline_relation SET cursor = :cursor, rows = rows + :rows, state = :state WHERE id = :id

-- set_relation_state --
-- Relations whose first copy is complete go live with the batch that was read after it.
UPDATE syncline_relation SET state = :state, filling = '[]' WHERE id = :id

-- delete_relation --
-- Forgets a mirror that no view reads.
DELETE FROM syncline_relation WHERE id = :id

-- select_views --
-- All views.
SELECT name, live, live_generation, next, next_generation, progress, error FROM syncline_view ORDER BY name

-- upsert_view --
-- Stores a view's definitions.
INSERT OR REPLACE INTO syncline_view (name, live, live_generation, next, next_generation, progress, error)
VALUES (:name, :live, :live_generation, :next, :next_generation, :progress, :error)

-- set_view_progress --
-- What status shows of a build.
UPDATE syncline_view SET progress = :progress, error = :error WHERE name = :name

-- delete_view --
-- Forgets a view that the configuration no longer names.
DELETE FROM syncline_view WHERE name = :name

-- select_builds --
-- The builds under way.
SELECT stored, generation, total, done FROM syncline_build

-- upsert_build --
-- How far a build came, in the transaction that stored its rows.
INSERT OR REPLACE INTO syncline_build (stored, generation, total, done) VALUES (:stored, :generation, :total, :done)

-- delete_build --
-- A build that is cut over or given up.
DELETE FROM syncline_build WHERE stored = :stored

-- select_tables --
-- Every table in the store, to remove those that nothing owns.
SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'

-- select_indexes --
-- Every index the program made on a mirror or view, to make those missing and drop those unused.
SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' AND name LIKE 'ix~_%' ESCAPE '~'
