-- create_source --
-- One row: which history of the database the marks belong to, and the cluster that it was made in.
CREATE TABLE IF NOT EXISTS syncline.source (
  id int PRIMARY KEY CHECK (id = 1),
  format int NOT NULL,
  incarnation text NOT NULL,
  cluster text NOT NULL
)

-- create_consumer --
-- The read stores that follow, and the snapshot of which each has applied everything durably.
CREATE TABLE IF NOT EXISTS syncline.consumer (
  consumer text PRIMARY KEY,
  read_store text NOT NULL,
  acknowledged pg_snapshot NOT NULL DEFAULT pg_current_snapshot(),
  expired boolean NOT NULL DEFAULT false
)

-- create_reading --
-- A random number for each time that a read store read, written in the transaction that read: the read store keeps it with the rows. A
-- database that does not know it is another one, or has lost what was read with it.
CREATE TABLE IF NOT EXISTS syncline.reading (
  consumer text NOT NULL REFERENCES syncline.consumer ON DELETE CASCADE,
  proof bigint NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  snapshot pg_snapshot NOT NULL DEFAULT pg_current_snapshot(),
  PRIMARY KEY (consumer, proof)
)

-- create_captured_table --
-- The captured tables; each has a table of marks of its own, syncline.mark_ID, and functions, of which the versions are kept.
CREATE TABLE IF NOT EXISTS syncline.captured_table (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  schema_name text NOT NULL,
  table_name text NOT NULL,
  key_types text NOT NULL,
  functions text NOT NULL DEFAULT '',
  UNIQUE (schema_name, table_name)
)

-- create_follow --
-- Which read store follows which table, and in which state of its storage it was read: another state was reached without marks.
CREATE TABLE IF NOT EXISTS syncline.follow (
  consumer text NOT NULL REFERENCES syncline.consumer ON DELETE CASCADE,
  tbl int NOT NULL REFERENCES syncline.captured_table ON DELETE CASCADE,
  storage text NOT NULL,
  PRIMARY KEY (consumer, tbl)
)

-- create_truncation --
-- Marks of whole tables: TRUNCATE.
CREATE TABLE IF NOT EXISTS syncline.truncation (
  tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
  tbl int NOT NULL
)

-- lock_install --
-- Those who make tables of the program in a database, of any role, take turns.
SELECT pg_advisory_xact_lock(1400467043, 3)

-- select_installed --
-- How many of the program's tables are here.
SELECT count(*)
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = 'syncline' AND c.relkind = 'r' AND c.relname = ANY (:names::text[])

-- select_rights --
-- Whether the role may make the program's tables: in the schema that is there, or by making one; and whether this is a standby.
SELECT current_database()::text,
       coalesce((SELECT has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE')
                   FROM pg_namespace WHERE nspname = 'syncline'), has_database_privilege(current_database(), 'CREATE')),
       EXISTS (SELECT FROM pg_namespace WHERE nspname = 'syncline'),
       pg_is_in_recovery()

-- select_part_rights --
-- Of a table and its partitions: whether a crash empties it, whether the role may put triggers on it, whether it owns it, so that it may
-- make them permanent, and whether a subscription writes it.
SELECT n.nspname, c.relname, c.relpersistence = 'u', has_table_privilege(c.oid, 'TRIGGER'), pg_has_role(c.relowner, 'USAGE'),
       pg_get_userbyid(c.relowner)::text, EXISTS (SELECT FROM pg_subscription_rel AS s WHERE s.srrelid = c.oid)
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.oid = :oid OR c.oid IN (SELECT relid FROM pg_partition_tree(:oid))
 ORDER BY c.oid

-- insert_source --
-- A new database gets an identity; one that has one keeps it.
INSERT INTO syncline.source (id, format, incarnation, cluster)
VALUES (1, :format, left(replace(gen_random_uuid()::text, '-', ''), 12), :cluster)
ON CONFLICT (id) DO NOTHING

-- select_cluster --
-- What tells one database, and one branch of its history, from another: kept from one restart to the next.
SELECT c.system_identifier || ':' || p.timeline_id || ':' || (SELECT oid FROM pg_database WHERE datname = current_database())
  FROM pg_control_system() AS c
 CROSS JOIN pg_control_checkpoint() AS p

-- select_source --
-- The identity.
SELECT format, incarnation, cluster FROM syncline.source

-- renew_incarnation --
-- Changes went unnoticed or the history is another one: positions given out before mean nothing any more.
UPDATE syncline.source
   SET incarnation = left(replace(gen_random_uuid()::text, '-', ''), 12), cluster = :cluster
RETURNING incarnation

-- forget_storages --
-- Everything is to be compared, by one read store.
UPDATE syncline.follow SET storage = '' WHERE consumer = :consumer

-- forget_storage --
-- A table is to be compared, by every read store.
UPDATE syncline.follow SET storage = '' WHERE tbl = :tbl

-- delete_replaced_consumers --
-- Other identities of the same read store: it was deleted and made anew.
DELETE FROM syncline.consumer WHERE read_store = :read_store AND consumer <> :consumer

-- insert_consumer --
-- Makes a read store known; one that is known keeps its place. Marks of before it are not for it.
INSERT INTO syncline.consumer (consumer, read_store) VALUES (:consumer, :read_store)
ON CONFLICT (consumer) DO UPDATE SET read_store = excluded.read_store WHERE consumer.read_store <> excluded.read_store

-- select_consumer --
-- Whether this read store is known and its marks were given up.
SELECT expired FROM syncline.consumer WHERE consumer = :consumer

-- select_reading --
-- Where a read store stands: the history, whether its cluster is this one, whether the read store's marks were given up, where that
-- is, whether it read with this proof; then the snapshot of this transaction, and the database's time.
SELECT s.incarnation, s.cluster, c.expired, c.read_store,
       EXISTS (SELECT FROM syncline.reading AS r WHERE r.consumer = c.consumer AND r.proof = :proof),
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1,
       ARRAY(SELECT pg_snapshot_xip(pg_current_snapshot())::text::bigint),
       extract(epoch FROM clock_timestamp())::float8
  FROM syncline.source AS s
  LEFT JOIN syncline.consumer AS c ON c.consumer = :consumer

-- select_proven --
-- The snapshot that was read with this proof.
SELECT pg_snapshot_xmax(snapshot)::text::bigint - 1, ARRAY(SELECT pg_snapshot_xip(snapshot)::text::bigint)
  FROM syncline.reading
 WHERE consumer = :consumer AND proof = :proof

-- select_place --
-- The history, and the snapshot of this statement.
SELECT incarnation,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1,
       ARRAY(SELECT pg_snapshot_xip(pg_current_snapshot())::text::bigint)
  FROM syncline.source

-- insert_reading --
-- A read store reads in this transaction.
INSERT INTO syncline.reading (consumer, proof) VALUES (:consumer, :proof)

-- revive_consumer --
-- A read store whose marks were given up gets those from now on; it compares everything.
UPDATE syncline.consumer SET expired = false, acknowledged = pg_current_snapshot() WHERE consumer = :consumer

-- select_follows --
-- What a read store follows, in which state of its storage it was read, and which versions of functions capture it.
SELECT f.tbl, f.storage, t.functions
  FROM syncline.follow AS f
  JOIN syncline.captured_table AS t ON t.id = f.tbl
 WHERE f.consumer = :consumer

-- set_storage --
-- A table was read in this state of its storage, in this transaction.
UPDATE syncline.follow SET storage = :storage WHERE consumer = :consumer AND tbl = :tbl AND storage <> :storage

-- select_consumers --
-- All read stores.
SELECT consumer, read_store FROM syncline.consumer ORDER BY consumer

-- delete_consumer --
-- A read store that follows no more.
DELETE FROM syncline.consumer WHERE consumer = :consumer

-- select_captured --
-- The captured tables, and whether their marks can be written.
SELECT id, schema_name, table_name, CASE WHEN to_regclass('syncline.mark_' || id) IS NOT NULL THEN key_types ELSE '' END, functions
  FROM syncline.captured_table
 ORDER BY id

-- insert_captured --
-- A table is captured from now on.
INSERT INTO syncline.captured_table (schema_name, table_name, key_types) VALUES (:schema, :name, :key_types) RETURNING id

-- set_functions --
-- The functions of a captured table were made: these versions of them write its marks.
UPDATE syncline.captured_table SET functions = :functions WHERE id = :id

-- select_functions --
-- The versions of the functions of a captured table.
SELECT coalesce(string_agg(proname || ':' || xmin::text, ' ' ORDER BY proname), '')
  FROM pg_proc
 WHERE pronamespace = 'syncline'::regnamespace AND proname = ANY (:names::text[])

-- delete_captured --
-- A table is captured no more.
DELETE FROM syncline.captured_table WHERE id = :id

-- select_unfollowed --
-- Captured tables that no read store follows any more.
SELECT id, schema_name, table_name
  FROM syncline.captured_table
 WHERE id NOT IN (SELECT tbl FROM syncline.follow)

-- insert_follow --
-- A read store follows a table, or does so already.
INSERT INTO syncline.follow (consumer, tbl, storage) VALUES (:consumer, :tbl, :storage)
ON CONFLICT (consumer, tbl) DO UPDATE SET storage = excluded.storage WHERE follow.storage <> excluded.storage

-- delete_other_follows --
-- What a read store follows is what it says now.
DELETE FROM syncline.follow WHERE consumer = :consumer AND tbl <> ALL (:tables::int[])

-- select_standing --
-- Of some tables, by name: what each of its parts (itself, or its partitions) is stored in, with the program's triggers on it and the
-- versions of these and of their functions; its columns, with what decides their values; its key; why it cannot be followed, if it
-- cannot.
WITH part AS MATERIALIZED (
  SELECT root.name, m.oid, c.relname, n.nspname, c.relkind, c.relpersistence, pg_relation_filenode(c.oid) AS file,
         pg_has_role(c.relowner, 'USAGE') AS is_owned, t.states, t.functions
    FROM unnest(:names::text[]) AS root (name)
   CROSS JOIN LATERAL (SELECT to_regclass(root.name)::oid UNION SELECT relid FROM pg_partition_tree(to_regclass(root.name))) AS m (oid)
    JOIN pg_class AS c ON c.oid = m.oid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
   CROSS JOIN LATERAL (
         SELECT json_agg(json_build_array(t.tgname, t.tgenabled, t.xmin::text) ORDER BY t.tgname),
                array_agg(f.proname || ':' || f.xmin::text)
           FROM pg_trigger AS t
           JOIN pg_proc AS f ON f.oid = t.tgfoid
          WHERE t.tgrelid = m.oid AND f.pronamespace = to_regnamespace('syncline')) AS t (states, functions)
)
SELECT root.name,
       (SELECT coalesce(string_agg(DISTINCT f.name, ' ' ORDER BY f.name), '')
          FROM part AS p
         CROSS JOIN unnest(p.functions) AS f (name)
         WHERE p.name = root.name),
       (SELECT json_agg(json_build_array(p.oid::text, p.nspname, p.relname, p.relkind, p.file, p.is_owned, p.states) ORDER BY p.oid)
          FROM part AS p
         WHERE p.name = root.name)::text,
       (SELECT json_object_agg(a.attname, concat_ws(' ', a.attnum, a.atttypid, a.atttypmod, a.attcollation,
                 CASE WHEN y.typtype = 'e' OR y.typelem <> 0 THEN (
                   SELECT string_agg(e.enumlabel, ' ' ORDER BY e.oid) FROM pg_enum AS e WHERE e.enumtypid IN (a.atttypid, y.typelem)) END,
                 CASE WHEN y.typtype = 'c' OR y.typelem <> 0 THEN (
                   SELECT string_agg(concat_ws(':', m.attnum, m.atttypid, m.attisdropped), ' ' ORDER BY m.attnum)
                     FROM pg_type AS c
                     JOIN pg_attribute AS m ON m.attrelid = c.typrelid AND m.attnum > 0
                    WHERE c.oid IN (a.atttypid, y.typelem) AND c.typtype = 'c') END,
                 CASE WHEN a.attgenerated <> '' THEN (
                   SELECT d.xmin::text FROM pg_attrdef AS d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END))
          FROM pg_attribute AS a
          JOIN pg_type AS y ON y.oid = a.atttypid
         WHERE a.attrelid = to_regclass(root.name) AND a.attnum > 0 AND NOT a.attisdropped)::text,
       (SELECT string_agg(i.indexrelid || ':' || i.indkey::text, ' ' ORDER BY i.indexrelid)
          FROM pg_index AS i
         WHERE i.indrelid = to_regclass(root.name) AND (i.indisprimary OR i.indisreplident)),
       CASE WHEN EXISTS (SELECT FROM part AS p JOIN pg_inherits AS i ON i.inhparent = p.oid WHERE p.name = root.name AND p.relkind = 'r')
            THEN 'another table inherits from it'
            WHEN EXISTS (SELECT FROM part AS p WHERE p.name = root.name AND p.relkind = 'r' AND p.relpersistence = 'u')
            THEN 'it is UNLOGGED, or a partition of it is'
       END
  FROM unnest(:names::text[]) AS root (name)

-- select_left --
-- What is still in the program's schema: parts of it that other roles of the database need.
SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('syncline'))
    OR EXISTS (SELECT FROM pg_proc WHERE pronamespace = to_regnamespace('syncline'))

-- acknowledge --
-- A read store has applied durably what it read up to this snapshot.
UPDATE syncline.consumer SET acknowledged = :snapshot::pg_snapshot WHERE consumer = :consumer AND NOT expired

-- delete_readings --
-- What it read with before is not asked for any more.
DELETE FROM syncline.reading
 WHERE consumer = :consumer
   AND id < (SELECT id FROM syncline.reading WHERE consumer = :consumer AND proof = :proof)

-- delete_truncations --
-- Forgets marks of whole tables that every read store of the table has applied.
DELETE FROM syncline.truncation AS m
 WHERE NOT EXISTS (SELECT
                     FROM syncline.follow AS f
                     JOIN syncline.consumer AS c ON c.consumer = f.consumer
                    WHERE f.tbl = m.tbl AND NOT c.expired AND NOT pg_visible_in_snapshot(m.tx, c.acknowledged))

-- select_others --
-- Other read stores of a table, which keep its marks from being forgotten.
SELECT c.consumer, c.acknowledged::text
  FROM syncline.follow AS f
  JOIN syncline.consumer AS c ON c.consumer = f.consumer
 WHERE f.tbl = :tbl AND c.consumer <> :consumer AND NOT c.expired

-- expire_consumer --
-- A read store that is too far behind loses its marks; on its next start it compares everything.
UPDATE syncline.consumer SET expired = true WHERE consumer = :consumer
