-- create_meta --
-- One row: the format of the store, whose views it holds, its own identity at its sources, the epoch that fences an old relay, and
-- how many transactions wrote to it.
CREATE TABLE IF NOT EXISTS syncline.meta (
  id integer PRIMARY KEY CHECK (id = 1),
  format integer NOT NULL,
  name text NOT NULL,
  consumer text NOT NULL,
  epoch bigint NOT NULL,
  generation bigint NOT NULL,
  commits bigint NOT NULL DEFAULT 0,
  holder text NOT NULL DEFAULT ''
) WITH (fillfactor = 10)

-- create_feed --
-- The checkpoint of every service: the vector that all rows of the store belong to, and what `status` shows of the feed.
CREATE TABLE IF NOT EXISTS syncline.feed (
  service text PRIMARY KEY,
  capture text NOT NULL,
  incarnation text,
  n bigint,
  proof bigint,
  open text NOT NULL DEFAULT '[]',         -- numbers up to n that the position does not contain
  read_at double precision,
  exact boolean NOT NULL DEFAULT true,
  begun bigint NOT NULL DEFAULT 0,
  made_by text,                            -- the capture that the position belongs to
  past text NOT NULL DEFAULT '[]',         -- incarnations that are gone
  superseded text NOT NULL DEFAULT '[]',   -- incarnations of a capture that was replaced by another
  state text NOT NULL DEFAULT 'starting',  -- starting -> loading -> catching up <-> live; any -> failed -> starting
  activity text NOT NULL DEFAULT '',
  error text
) WITH (fillfactor = 10)

-- create_relation --
-- Every mirror: its columns and key as JSON, and how far its first copy has come.
CREATE TABLE IF NOT EXISTS syncline.relation (
  id text PRIMARY KEY,
  service text NOT NULL,
  definition text NOT NULL,
  state text NOT NULL,  -- loading -> loaded -> live; live -> filling (new columns) -> loaded -> live
  filling text NOT NULL DEFAULT '[]',
  cursor text,
  rows bigint NOT NULL DEFAULT 0
)

-- create_view --
-- Every view: the definition its live table is kept by, and the one that is being built beside it, as JSON.
CREATE TABLE IF NOT EXISTS syncline.view (
  name text PRIMARY KEY,
  live text,
  live_generation bigint,
  next text,
  next_generation bigint,
  progress text NOT NULL DEFAULT '',
  error text
)

-- create_build --
-- How far the build of each table of the next generation has come: rows of its list of keys, and the last one done.
CREATE TABLE IF NOT EXISTS syncline.build (
  stored text PRIMARY KEY,
  generation bigint NOT NULL,
  total bigint NOT NULL,
  done bigint NOT NULL
)

-- create_made --
-- What was made in the schema of the views, so that nothing else is ever dropped there.
CREATE TABLE IF NOT EXISTS syncline.made (
  name text PRIMARY KEY,
  kind text NOT NULL  -- table, view
)

-- create_parked --
-- Pieces of a view whose rows could not be computed: what they show stays as it was before the failure, until they can be. Keys
-- may be longer than a B-tree takes here and below: the one writer keeps them unique.
CREATE TABLE IF NOT EXISTS syncline.parked (
  view text NOT NULL,  -- the stored table of the view, hidden or being built ones too
  key text NOT NULL,   -- the values of its partition key, as JSON
  error text NOT NULL,
  since double precision NOT NULL
);
CREATE INDEX IF NOT EXISTS parked_key ON syncline.parked USING hash (key)

-- create_dead_letter --
-- Streams of event-sourced services that are held back from an event on, because it could not be made rows.
CREATE TABLE IF NOT EXISTS syncline.dead_letter (
  service text NOT NULL,
  stream text NOT NULL,
  position bigint NOT NULL,  -- of the event that failed; later ones of the stream wait behind it
  event text NOT NULL,
  error text NOT NULL,
  since double precision NOT NULL,
  keys text NOT NULL,        -- the rows that depend on the stream, as JSON: by relation, its keys
  settled boolean NOT NULL   -- false: rows of what waits may be held, until the service's rows were made anew
);
CREATE INDEX IF NOT EXISTS dead_letter_stream ON syncline.dead_letter USING hash (stream)

-- create_dropped --
-- Events that a person dropped: no replay brings their rows.
CREATE TABLE IF NOT EXISTS syncline.dropped (
  service text NOT NULL,
  position bigint NOT NULL,
  PRIMARY KEY (service, position)
)

-- create_marked --
-- Pieces of views that depend on rows of streams held back; without a key, a view in which any row may.
CREATE TABLE IF NOT EXISTS syncline.marked (
  view text NOT NULL,  -- the stored table of the view, one being built too
  key text NOT NULL    -- the values of its partition key as its rows hold them, as JSON; empty: which pieces cannot be told
);
CREATE INDEX IF NOT EXISTS marked_key ON syncline.marked USING hash (key)

-- insert_meta --
-- A new store gets an identity of its own; an old one keeps it.
INSERT INTO syncline.meta (id, format, name, consumer, epoch, generation)
VALUES (1, :format, :name, left(replace(gen_random_uuid()::text, '-', ''), 16), 0, 0)
ON CONFLICT DO NOTHING

-- select_meta --
-- The identity and the epoch of the store.
SELECT format, consumer, epoch, generation FROM syncline.meta

-- select_name --
-- The read model whose views the store holds.
SELECT name FROM syncline.meta

-- select_holder --
-- The relay that last took the store over.
SELECT holder FROM syncline.meta

-- select_commits --
-- A number that rises with every transaction that changes rows.
SELECT commits FROM syncline.meta

-- enter --
-- Counts a transaction, and keeps the epoch from being raised until it ends; changes nothing where another relay took over.
UPDATE syncline.meta SET commits = commits + 1 WHERE epoch = :epoch

-- touch --
-- A write that changes nothing, so that its commit brings those before it to the disk.
UPDATE syncline.meta SET epoch = epoch

-- raise_epoch --
-- A relay that takes over fences every relay before it.
UPDATE syncline.meta SET epoch = epoch + 1, holder = :holder

-- next_generation --
-- Numbers a build, so that its tables have names of their own.
UPDATE syncline.meta SET generation = generation + 1

-- insert_feed --
-- Makes a service known; what is known of it stays, unless its capture changed.
INSERT INTO syncline.feed (service, capture) VALUES (:service, :capture)
ON CONFLICT (service) DO UPDATE SET capture = excluded.capture

-- delete_feed --
-- Forgets a service that the configuration no longer names.
DELETE FROM syncline.feed WHERE service = :service

-- select_feeds --
-- The whole vector with what status shows.
SELECT service, capture, incarnation, n, proof, open, read_at, exact, begun, past, superseded, state, activity, error
  FROM syncline.feed
 ORDER BY service COLLATE "C"

-- select_checkpoint --
-- How far one service was applied.
SELECT incarnation, n, proof, open FROM syncline.feed WHERE service = :service

-- select_incarnation --
-- Which incarnation a service's position belongs to, and those before it.
SELECT capture, made_by, incarnation, past, superseded FROM syncline.feed WHERE service = :service

-- set_incarnation --
-- The position now belongs to another history of the source.
UPDATE syncline.feed SET made_by = :made_by, past = :past, superseded = :superseded WHERE service = :service

-- move_checkpoint --
-- Moves a checkpoint with the rows it belongs to; where their age is not known, they are not older than those before.
UPDATE syncline.feed
   SET incarnation = :incarnation, n = :n, proof = :proof, open = :open,
       read_at = coalesce(:read_at::double precision, read_at), exact = :exact
 WHERE service = :service

-- set_read_at --
-- An idle feed was asked and had nothing new: what is shown is as new as this.
UPDATE syncline.feed SET read_at = :read_at WHERE service = :service

-- set_feed_state --
-- What status shows of a feed.
UPDATE syncline.feed SET state = :state, activity = :activity, error = :error WHERE service = :service

-- set_begun --
-- A sweep may begin once its number is stored: a token that was given out before it is not reached by it.
UPDATE syncline.feed SET begun = :begun WHERE service = :service

-- select_relations --
-- All mirrors.
SELECT id, service, definition, state, filling, cursor, rows FROM syncline.relation ORDER BY id COLLATE "C"

-- upsert_relation --
-- Stores a mirror's definition and state.
INSERT INTO syncline.relation (id, service, definition, state, filling, cursor, rows)
VALUES (:id, :service, :definition, :state, :filling, :cursor, :rows)
ON CONFLICT (id) DO UPDATE
   SET service = excluded.service, definition = excluded.definition, state = excluded.state, filling = excluded.filling,
       cursor = excluded.cursor, rows = excluded.rows

-- move_cursor --
-- How far the first copy came, in the transaction that stored its rows.
UPDATE syncline.relation SET cursor = :cursor, rows = rows + :rows, state = :state WHERE id = :id

-- set_relation_state --
-- Relations whose first copy is complete go live with the batch that was read after it.
UPDATE syncline.relation SET state = :state, filling = '[]' WHERE id = :id

-- delete_relation --
-- Forgets a mirror that no view reads.
DELETE FROM syncline.relation WHERE id = :id

-- select_mirror --
-- Where a mirror is: the schema and the name of its table.
SELECT definition::json ->> 'service', definition::json ->> 'table' FROM syncline.relation WHERE id = :id

-- select_views --
-- All views.
SELECT name, live, live_generation, next, next_generation, progress, error FROM syncline.view ORDER BY name COLLATE "C"

-- select_generation --
-- Which build the live rows of a view come from.
SELECT live_generation FROM syncline.view WHERE name = :name

-- upsert_view --
-- Stores a view's definitions.
INSERT INTO syncline.view (name, live, live_generation, next, next_generation, progress, error)
VALUES (:name, :live, :live_generation, :next, :next_generation, :progress, :error)
ON CONFLICT (name) DO UPDATE
   SET live = excluded.live, live_generation = excluded.live_generation, next = excluded.next,
       next_generation = excluded.next_generation, progress = excluded.progress, error = excluded.error

-- delete_view --
-- Forgets a view that the configuration no longer names.
DELETE FROM syncline.view WHERE name = :name

-- select_builds --
-- The builds under way.
SELECT stored, generation, total, done FROM syncline.build

-- upsert_build --
-- How far a build came, in the transaction that stored its rows.
INSERT INTO syncline.build (stored, generation, total, done) VALUES (:stored, :generation, :total, :done)
ON CONFLICT (stored) DO UPDATE SET generation = excluded.generation, total = excluded.total, done = excluded.done

-- delete_build --
-- A build that is cut over or given up.
DELETE FROM syncline.build WHERE stored = :stored

-- select_made --
-- What was made in the schema of the views.
SELECT name, kind FROM syncline.made ORDER BY name COLLATE "C"

-- insert_made --
-- A table or SQL view that is made in the same transaction.
INSERT INTO syncline.made (name, kind) VALUES (:name, :kind) ON CONFLICT (name) DO UPDATE SET kind = excluded.kind

-- delete_made --
-- A table or SQL view that is dropped in the same transaction.
DELETE FROM syncline.made WHERE name = :name

-- select_btrees --
-- The B-trees of a table, by schema and name, the constraint that one belongs to, and what they are over, as SQL, in order.
SELECT n.nspname, c.relname, k.conname,
       pg_get_indexdef(i.indexrelid, a.attnum, true)
         || CASE WHEN a.attcollation NOT IN (0, '"default"'::regcollation) THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END
  FROM pg_index AS i
  JOIN pg_class AS c ON c.oid = i.indexrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_am AS m ON m.oid = c.relam AND m.amname = 'btree'
  JOIN pg_attribute AS a ON a.attrelid = i.indexrelid
  LEFT JOIN pg_constraint AS k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u')
 WHERE i.indrelid = :table::regclass AND i.indpred IS NULL
 ORDER BY c.relname, a.attnum

-- has_primary_key --
-- Whether an index keeps the keys of a mirror unique: none does where one of them was too long for it.
SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = :table::regclass AND indisprimary)

-- select_parked --
-- Everything that is parked.
SELECT view, key, error, since FROM syncline.parked ORDER BY view COLLATE "C", key COLLATE "C"

-- select_parked_of --
-- The parked keys of one view.
SELECT key FROM syncline.parked WHERE view = :view

-- park --
-- A key that failed, or fails again in another way: since when stays.
WITH known AS (UPDATE syncline.parked SET error = :error WHERE view = :view AND key = :key RETURNING 1)
INSERT INTO syncline.parked (view, key, error, since)
SELECT :view, :key, :error, :since WHERE NOT EXISTS (SELECT FROM known)

-- unpark --
-- A key whose rows could be computed again.
DELETE FROM syncline.parked WHERE view = :view AND key = :key

-- rename_parked --
-- A build that takes the place of what was live brings its own failures along.
UPDATE syncline.parked SET view = :view WHERE view = :stored

-- forget_parked --
-- A table of view rows that is dropped.
DELETE FROM syncline.parked WHERE view = :view

-- has_dead_letters --
-- Every version keeps dead letters.
SELECT true

-- select_dead_letters --
-- Every stream that is held back, those longest held first.
SELECT service, stream, position, event, error, since, keys, settled
  FROM syncline.dead_letter
 ORDER BY since, service COLLATE "C", position

-- upsert_dead_letter --
-- A stream that is held back from now on, or again, or with more rows that depend on it.
WITH known AS (
  UPDATE syncline.dead_letter
     SET position = :position, event = :event, error = :error, since = :since, keys = :keys, settled = :settled
   WHERE service = :service AND stream = :stream
  RETURNING 1
)
INSERT INTO syncline.dead_letter (service, stream, position, event, error, since, keys, settled)
SELECT :service, :stream, :position, :event, :error, :since, :keys, :settled WHERE NOT EXISTS (SELECT FROM known)

-- delete_dead_letter --
-- A stream that is followed again.
DELETE FROM syncline.dead_letter WHERE service = :service AND stream = :stream

-- forget_dead_letters --
-- A service that the configuration no longer names, or whose log is another one now.
DELETE FROM syncline.dead_letter WHERE service = :service

-- select_dropped --
-- The events of a service that were dropped.
SELECT position FROM syncline.dropped WHERE service = :service

-- insert_dropped --
-- An event that was dropped, in the transaction of the batch that brings what came after it.
INSERT INTO syncline.dropped (service, position) VALUES (:service, :position) ON CONFLICT DO NOTHING

-- forget_dropped --
-- Positions of a log that is no longer followed.
DELETE FROM syncline.dropped WHERE service = :service

-- select_marked --
-- Everything that is marked.
SELECT view, key FROM syncline.marked

-- select_marked_of --
-- Which of these keys of one view are marked.
SELECT m.key
  FROM json_array_elements_text(:keys::json) AS wanted (key)
  JOIN syncline.marked AS m ON m.view = :view AND m.key = wanted.key

-- insert_marked --
-- A piece that depends on a stream held back since this batch, or since rows changed.
INSERT INTO syncline.marked (view, key)
SELECT :view, :key WHERE NOT EXISTS (SELECT FROM syncline.marked WHERE view = :view AND key = :key)

-- delete_marked --
-- A piece that does no longer.
DELETE FROM syncline.marked WHERE view = :view AND key = :key

-- forget_marked --
-- A table of view rows whose place another takes.
DELETE FROM syncline.marked WHERE view = :view

-- rename_marked --
-- A build that takes the place of what was live brings its own marks along.
UPDATE syncline.marked SET view = :view WHERE view = :stored
