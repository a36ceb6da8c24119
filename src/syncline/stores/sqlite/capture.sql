-- create_source --
-- One row: which history of the database the positions of its log belong to, and the version of its schema (PRAGMA
-- schema_version) when the triggers were last seen to be whole.
CREATE TABLE IF NOT EXISTS syncline_source (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  format INTEGER NOT NULL,
  incarnation TEXT NOT NULL,
  schema_version INTEGER NOT NULL
)

-- create_consumer --
-- The read stores that follow this database, and how far each has applied the log durably.
CREATE TABLE IF NOT EXISTS syncline_consumer (
  consumer TEXT PRIMARY KEY,
  read_store TEXT NOT NULL,
  acknowledged INTEGER NOT NULL,
  expired INTEGER NOT NULL DEFAULT 0
)

-- create_table --
-- The captured tables, by their numbers in the log.
CREATE TABLE IF NOT EXISTS syncline_table (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
)

-- create_follow --
-- Which consumer follows which table; a table that nobody follows loses its triggers.
CREATE TABLE IF NOT EXISTS syncline_follow (
  consumer TEXT NOT NULL,
  tbl INTEGER NOT NULL,
  PRIMARY KEY (consumer, tbl)
)

-- create_log --
-- Which keys are dirty, in commit order. The nonce tells this history from that of a restored copy. The highest row is
-- never deleted, so that `seq` rises without AUTOINCREMENT (which would leave a table of SQLite's own behind). Without NOT NULL: a
-- constraint that may fail makes SQLite keep a statement journal, which each of the owner's writes would pay for.
CREATE TABLE IF NOT EXISTS syncline_log (
  seq INTEGER PRIMARY KEY,
  nonce INTEGER,
  tbl INTEGER,
  k1
)

-- insert_source --
-- A new database gets an identity; one that has one keeps it.
INSERT OR IGNORE INTO syncline_source (id, format, incarnation, schema_version)
VALUES (1, :format, lower(hex(randomblob(6))), :schema)

-- select_format --
-- Of which version of the program the tables here are.
SELECT format FROM syncline_source

-- select_schema --
-- The version of the schema when the triggers were last seen to be whole.
SELECT schema_version FROM syncline_source

-- update_schema --
-- The triggers are whole, and everything that the schema's change may have hidden is being compared.
UPDATE syncline_source SET schema_version = :schema

-- insert_first_mark --
-- The log is never empty, so that there always is a position. Table 0 does not exist.
INSERT INTO syncline_log (nonce, tbl) SELECT random(), 0 WHERE NOT EXISTS (SELECT 1 FROM syncline_log)

-- is_installed --
-- Whether the program's tables are here.
SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('syncline_source', 'syncline_log', 'syncline_consumer')

-- renew_incarnation --
-- Changes went unnoticed or the history is another one: positions given out before mean nothing any more.
UPDATE syncline_source SET incarnation = lower(hex(randomblob(6)))

-- select_place --
-- The incarnation, the nonce where a consumer stands, and the newest position with its nonce; one row.
SELECT (SELECT incarnation FROM syncline_source),
       (SELECT nonce FROM syncline_log WHERE seq = :after),
       (SELECT max(seq) FROM syncline_log),
       (SELECT nonce FROM syncline_log ORDER BY seq DESC LIMIT 1)

-- select_marked_tables --
-- Which tables have marks in a part of the log.
SELECT DISTINCT tbl FROM syncline_log WHERE seq > :after AND seq <= :up_to

-- insert_consumer --
-- Makes a read store known; one that is known keeps its place.
INSERT OR IGNORE INTO syncline_consumer (consumer, read_store, acknowledged)
VALUES (:consumer, :read_store, (SELECT max(seq) FROM syncline_log))

-- select_consumer --
-- A read store's place, and whether its marks were given up.
SELECT acknowledged, expired FROM syncline_consumer WHERE consumer = :consumer

-- revive_consumer --
-- An expired read store has found what it missed and follows again from here.
UPDATE syncline_consumer SET expired = 0, acknowledged = :n WHERE consumer = :consumer

-- update_read_store --
-- A read store may have been moved.
UPDATE syncline_consumer SET read_store = :read_store WHERE consumer = :consumer AND read_store <> :read_store

-- select_replaced_consumers --
-- Other identities of a read store at the same path: that file was deleted and made anew.
SELECT consumer FROM syncline_consumer WHERE read_store = :read_store AND consumer <> :consumer

-- select_consumers --
-- All read stores.
SELECT consumer, read_store, acknowledged, expired FROM syncline_consumer ORDER BY consumer

-- delete_consumer --
-- A read store that follows no more.
DELETE FROM syncline_consumer WHERE consumer = :consumer

-- delete_follows --
-- What a read store follows is stated anew.
DELETE FROM syncline_follow WHERE consumer = :consumer

-- select_follows --
-- What a read store follows.
SELECT tbl FROM syncline_follow WHERE consumer = :consumer

-- insert_follow --
-- A read store follows a table.
INSERT OR IGNORE INTO syncline_follow (consumer, tbl) VALUES (:consumer, :tbl)

-- select_tables --
-- The captured tables.
SELECT id, name FROM syncline_table

-- insert_table --
-- A table is captured from now on.
INSERT INTO syncline_table (name) VALUES (:name)

-- select_unfollowed_tables --
-- Captured tables that no read store follows any more.
SELECT id, name FROM syncline_table WHERE id NOT IN (SELECT tbl FROM syncline_follow)

-- delete_table --
-- A table is captured no more.
DELETE FROM syncline_table WHERE id = :id

-- select_triggers --
-- The program's triggers, as they are.
SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'syncline_*'

-- select_own_tables --
-- The program's tables.
SELECT name
  FROM sqlite_master
 WHERE type = 'table'
   AND name IN ('syncline_source', 'syncline_consumer', 'syncline_table', 'syncline_follow', 'syncline_log')
 ORDER BY name

-- acknowledge --
-- A read store has applied the log durably up to here.
UPDATE syncline_consumer SET acknowledged = :n WHERE consumer = :consumer AND acknowledged < :n

-- expire_consumers --
-- A read store that is too far behind loses its marks; on its next start it compares everything.
UPDATE syncline_consumer
   SET expired = 1
 WHERE NOT expired AND consumer <> :consumer AND acknowledged < (SELECT max(seq) FROM syncline_log) - :limit

-- delete_marks --
-- Forgets marks that every read store has applied, some thousands at a time. The highest one stays.
DELETE FROM syncline_log
 WHERE seq < (SELECT min(acknowledged) FROM syncline_consumer WHERE NOT expired)
   AND seq < (SELECT min(seq) FROM syncline_log) + :count
