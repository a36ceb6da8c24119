-- create_command --
-- Every command that took effect, so that one sent again is not carried out again and gives the first receipt. Incarnation, position
-- and open transactions are the place in the capture's log with its effect; '' where only the commit decided upon it.
CREATE TABLE IF NOT EXISTS syncline.table_command (
  id text COLLATE "C" PRIMARY KEY,
  name text NOT NULL,
  digest bigint NOT NULL,  -- of name and payload
  incarnation text NOT NULL,
  position bigint NOT NULL,
  open bigint[] NOT NULL
)

-- is_created --
-- Whether commands were handled here before.
SELECT to_regclass('syncline.table_command') IS NOT NULL

-- is_table --
-- Whether there is a table or view.
SELECT EXISTS (SELECT 1 FROM pg_class WHERE oid = to_regclass(:name) AND relkind IN ('r', 'p', 'v', 'm', 'f'))

-- select_tables --
-- The tables and views that are nobody's but a service's, as their schema and name.
SELECT n.nspname, c.relname
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'syncline')
   AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp%'

-- lock --
-- Handlers of one database never run at the same time.
SELECT pg_advisory_xact_lock(1400467043, 5)

-- select_commands --
-- Those of these commands that took effect.
SELECT id, name, digest, incarnation, position, open FROM syncline.table_command WHERE id = ANY (:ids::text[])

-- insert_commands --
-- Commands that took effect, all with one place.
INSERT INTO syncline.table_command (id, name, digest, incarnation, position, open)
SELECT c.id, c.name, c.digest, :incarnation, :position, :open::bigint[]
  FROM unnest(:ids::text[], :names::text[], :digests::bigint[]) AS c(id, name, digest)

-- select_effect --
-- The history of what is captured, this transaction's number, and the snapshot that it has now.
SELECT s.incarnation,
       pg_current_xact_id()::text::bigint,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
       ARRAY(SELECT pg_snapshot_xip(pg_current_snapshot())::text::bigint)
  FROM syncline.source AS s
