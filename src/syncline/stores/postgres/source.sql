-- select_tables --
-- Everything that might be followed: ordinary and partitioned tables of all schemas but the system's and the program's.
SELECT n.nspname, c.relname
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p')
   AND NOT c.relispartition
   AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'syncline')
   AND n.nspname NOT LIKE 'pg\_toast%'
 ORDER BY n.nspname <> 'public', n.nspname, c.relname

-- select_table --
-- What a name stands for: where no schema is given, what the role finds first.
SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relpersistence::text, c.relispartition,
       c.relkind = 'r' AND NOT c.relispartition
         AND EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE c.oid IN (i.inhparent, i.inhrelid)),
       pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
       pg_catalog.row_security_active(c.oid)
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relname = :name
   AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND CASE WHEN :schema = '' THEN pg_catalog.pg_table_is_visible(c.oid) ELSE n.nspname = :schema END

-- select_lockers --
-- Which processes keep a table, or a partition of it, from being read, or are next in line for that; and since when, in seconds.
-- pg_partition_tree() would wait for the lock itself.
WITH RECURSIVE whole AS (
  SELECT c.oid
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
   WHERE n.nspname = :schema AND c.relname = :name
   UNION ALL
  SELECT i.inhrelid FROM whole AS w JOIN pg_catalog.pg_inherits AS i ON i.inhparent = w.oid
)
SELECT DISTINCT a.pid, pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start))::bigint
  FROM whole AS w
  JOIN pg_catalog.pg_locks AS l ON l.relation = w.oid
  JOIN pg_catalog.pg_database AS d ON d.oid = l.database AND d.datname = pg_catalog.current_database()
  JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
 WHERE l.mode = 'AccessExclusiveLock'
 ORDER BY 1

-- select_columns --
-- A table's columns in order. The type of a domain is what it stands for; one that is not PostgreSQL's own is known by its text;
-- an enum has its name besides.
WITH RECURSIVE base AS (
  SELECT a.attnum, a.atttypid AS type, a.atttypmod AS modifier, false AS is_domain
    FROM pg_catalog.pg_attribute AS a
   WHERE a.attrelid = :oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT b.attnum, t.typbasetype, CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE b.modifier END, true
    FROM base AS b
    JOIN pg_catalog.pg_type AS t ON t.oid = b.type
   WHERE t.typtype = 'd'
)
SELECT a.attname,
       CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN pg_catalog.format_type(b.type, b.modifier) ELSE 'text' END,
       a.attnotnull,
       CASE WHEN a.attcollation = 0 OR l.collisdeterministic THEN 'BINARY' ELSE l.collname::text END,
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT'),
       pg_catalog.format_type(a.atttypid, a.atttypmod),
       t.typnamespace = 'pg_catalog'::regnamespace OR t.typtype = 'e',
       CASE WHEN t.typtype = 'e' THEN t.typnamespace::regnamespace || '.' || pg_catalog.quote_ident(t.typname) ELSE '' END
  FROM pg_catalog.pg_attribute AS a
  JOIN base AS b ON b.attnum = a.attnum
  JOIN pg_catalog.pg_type AS t ON t.oid = b.type AND t.typtype <> 'd'
  LEFT JOIN pg_catalog.pg_collation AS l ON l.oid = a.attcollation
 WHERE a.attrelid = :oid
 ORDER BY a.attnum

-- select_keys --
-- What tells a table's rows apart: whole unique indexes over columns, the primary key first, then the replica identity.
SELECT i.indisprimary,
       i.indisreplident,
       (SELECT array_to_json(array_agg(a.attname ORDER BY k.place))::text
          FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
          JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
         WHERE k.place <= i.indnkeyatts),
       (SELECT bool_and(a.attnotnull)
          FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
          JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
         WHERE k.place <= i.indnkeyatts)
  FROM pg_catalog.pg_index AS i
 WHERE i.indrelid = :oid
   AND i.indisunique
   AND i.indisvalid
   AND i.indpred IS NULL
   AND i.indexprs IS NULL
 ORDER BY i.indisprimary DESC, i.indisreplident DESC, i.indexrelid

-- select_foreign_keys --
-- Foreign keys of one column: column, table and column there, for a first view.
SELECT a.attname, c.relname, f.attname
  FROM pg_catalog.pg_constraint AS k
  JOIN pg_catalog.pg_class AS c ON c.oid = k.confrelid
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
  JOIN pg_catalog.pg_attribute AS f ON f.attrelid = k.confrelid AND f.attnum = k.confkey[1]
 WHERE k.conrelid = :oid
   AND k.contype = 'f'
   AND cardinality(k.conkey) = 1

-- select_is_captured --
-- Whether triggers log changes here for some read store.
SELECT pg_catalog.to_regclass('syncline.captured_table') IS NOT NULL

-- estimate_rows --
-- About how many rows a table holds, as its statistics say.
SELECT sum(greatest(c.reltuples, 0))::bigint
  FROM pg_catalog.pg_class AS c
 WHERE c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(:oid::oid) WHERE isleaf UNION SELECT :oid::oid)
