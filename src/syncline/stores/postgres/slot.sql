-- select_server --
-- What logical decoding needs of the server and the role: the level of its log, whether it is a standby, its version, and whether the
-- role may replicate and may make a publication.
SELECT current_setting('wal_level'), pg_is_in_recovery(), current_setting('server_version_num')::int,
       (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user),
       has_database_privilege(current_database(), 'CREATE')

-- select_renamed --
-- Whether the history that places of the log belong to has a name of its own.
SELECT to_regclass('syncline.history') IS NOT NULL

-- select_history --
-- That name.
SELECT name FROM syncline.history

-- lock_schema --
-- Whoever makes tables in the program's schema takes turns.
SELECT pg_advisory_xact_lock(1400467043, 3)

-- create_history --
-- One row: what the history is called since the database was put back, which its log may not tell.
CREATE TABLE IF NOT EXISTS syncline.history (id int PRIMARY KEY CHECK (id = 1), name text NOT NULL)

-- rename_history --
-- Places of the log that were told before mean nothing any more.
INSERT INTO syncline.history VALUES (1, left(replace(gen_random_uuid()::text, '-', ''), 12))
ON CONFLICT (id) DO UPDATE SET name = excluded.name

-- select_slot --
-- The slot: whether its log is still there, who reads it, how far was confirmed, its plugin.
SELECT s.wal_status::text, s.active_pid, (s.confirmed_flush_lsn - '0/0')::bigint, s.plugin::text
  FROM pg_replication_slots AS s
 WHERE s.slot_name = :slot AND s.database = current_database()

-- create_slot --
-- From here on the server keeps what the slot has not confirmed. Waits for transactions that are open now.
SELECT (lsn - '0/0')::bigint FROM pg_create_logical_replication_slot(:slot, 'pgoutput')

-- drop_slot --
-- Lets the server forget what only this slot kept.
SELECT pg_drop_replication_slot(:slot)

-- terminate_reader --
-- Ends the connection that reads the slot, and waits for its end.
SELECT pg_terminate_backend(:pid, :wait_ms)

-- select_publication --
-- The publication's note, whether it tells all changes, and the tables in it.
SELECT obj_description(p.oid, 'pg_publication'),
       p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND p.pubviaroot
         AND NOT EXISTS (SELECT FROM pg_publication_rel WHERE prpubid = p.oid AND (prqual IS NOT NULL OR prattrs IS NOT NULL)),
       (SELECT coalesce(json_agg(json_build_array(n.nspname, c.relname) ORDER BY n.nspname, c.relname), '[]')::text
          FROM pg_publication_rel AS r
          JOIN pg_class AS c ON c.oid = r.prrelid
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE r.prpubid = p.oid)
  FROM pg_publication AS p
 WHERE p.pubname = :publication

-- select_own --
-- What may be the program's here: slots, and publications with their notes.
SELECT slot_name::text, NULL FROM pg_replication_slots WHERE slot_name LIKE 'syncline\_%' AND database = current_database()
UNION ALL
SELECT p.pubname::text, obj_description(p.oid, 'pg_publication') FROM pg_publication AS p WHERE p.pubname LIKE 'syncline\_%'

-- select_place --
-- How far the log is written, and how far it is on disk.
SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, (pg_current_wal_flush_lsn() - '0/0')::bigint

-- select_news --
-- The same, and a text that changes when a transaction ends.
SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, (pg_current_wal_flush_lsn() - '0/0')::bigint, pg_current_snapshot()::text

-- emit --
-- A commit behind everything committed before, that is on disk when this returns.
SELECT (pg_logical_emit_message(true, 'syncline', '') - '0/0')::bigint

-- select_snapshot --
-- Which transactions what is read in this snapshot contains.
SELECT pg_snapshot_xmax(s)::text::bigint, ARRAY(SELECT pg_snapshot_xip(s)::text::bigint) FROM pg_current_snapshot() AS s

-- select_lag --
-- How many bytes of the log the server keeps for the slot, and what becomes of it.
SELECT (pg_current_wal_lsn() - s.restart_lsn)::bigint, s.wal_status::text FROM pg_replication_slots AS s WHERE s.slot_name = :slot

-- select_standing --
-- Of some tables, by name: where their rows are (other text after a statement that rewrote them, or put others in their place, or took
-- a partition out for a while), what decides the values of each column, and whether the publication tells all their changes. The log
-- does not tell of any of it.
SELECT root.name, root.oid IS NOT NULL,
       md5(concat_ws(' ', root.oid::oid, r.oid, p.xmin,
         (SELECT string_agg(concat_ws(':', c.oid, pg_relation_filenode(c.oid), c.relreplident,
                   (SELECT i.indexrelid FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisreplident)), ' ' ORDER BY c.oid)
            FROM pg_class AS c
           WHERE c.relkind = 'r'
             AND (c.oid = root.oid OR c.oid IN (SELECT relid FROM pg_partition_tree(root.oid)))),
         (SELECT string_agg(i.xmin::text, ' ' ORDER BY i.inhrelid)
            FROM pg_inherits AS i
           WHERE i.inhrelid IN (SELECT relid FROM pg_partition_tree(root.oid))))),
       (SELECT json_object_agg(a.attname, left(md5(concat_ws(' ', a.attnum, a.atttypid, a.atttypmod, a.attcollation,
                 (SELECT string_agg(e.enumlabel, ' ' ORDER BY e.oid) FROM pg_enum AS e WHERE e.enumtypid IN (a.atttypid, y.typelem)),
                 CASE WHEN y.typtype = 'c' OR y.typelem <> 0 THEN (
                   SELECT string_agg(concat_ws(':', m.attnum, m.atttypid, m.attisdropped), ' ' ORDER BY m.attnum)
                     FROM pg_type AS c
                     JOIN pg_attribute AS m ON m.attrelid = c.typrelid AND m.attnum > 0
                    WHERE c.oid IN (a.atttypid, y.typelem) AND c.typtype = 'c') END)), 8))
          FROM pg_attribute AS a
          JOIN pg_type AS y ON y.oid = a.atttypid
         WHERE a.attrelid = root.oid AND a.attnum > 0 AND NOT a.attisdropped)::text,
       coalesce(r.prqual IS NULL AND r.prattrs IS NULL AND p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate
                AND p.pubviaroot AND r.oid IS NOT NULL
                AND NOT EXISTS (SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhparent
                                 WHERE i.inhparent = root.oid AND c.relkind = 'r'), false)
  FROM (SELECT name, to_regclass(name) AS oid FROM unnest(:names::text[]) AS given (name)) AS root
  LEFT JOIN pg_publication AS p ON p.pubname = :publication
  LEFT JOIN pg_publication_rel AS r ON r.prpubid = p.oid AND r.prrelid = root.oid

-- select_identities --
-- Of a table and its partitions, those of which an UPDATE or DELETE would not tell the key that is followed.
SELECT n.nspname, c.relname, c.relreplident::text, CASE c.relkind WHEN 'f' THEN 'f' ELSE c.relpersistence::text END
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE (c.oid = :oid OR c.oid IN (SELECT relid FROM pg_partition_tree(:oid::oid)))
   AND (c.relpersistence <> 'p'
     OR c.relkind = 'f'
     OR c.relreplident <> 'f'
    AND NOT EXISTS (
          SELECT 1
            FROM pg_index AS i
           WHERE i.indrelid = c.oid
             AND i.indisvalid
             AND i.indimmediate
             AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
             AND :key::text[] = ARRAY(SELECT a.attname::text
                                        FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
                                        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.number
                                       WHERE k.place <= i.indnkeyatts
                                       ORDER BY a.attname)))

-- select_computed --
-- Columns of a table that are computed, which the log holds only where they are stored: 's', or computed when they are read: 'v'.
SELECT attname, attgenerated::text FROM pg_attribute WHERE attrelid = :oid AND attgenerated <> '' AND NOT attisdropped
