-- create_event_log --
-- One row: the format of the log, its incarnation, and how many commands it remembers.
CREATE TABLE IF NOT EXISTS syncline.event_log (
  id int PRIMARY KEY CHECK (id = 1),
  format int NOT NULL,
  incarnation text NOT NULL,
  commands bigint NOT NULL DEFAULT 0
)

-- create_event --
-- Every event. Positions are dense and in commit order, since whoever gives them out holds the log's lock until it commits.
CREATE TABLE IF NOT EXISTS syncline.event (
  position bigint PRIMARY KEY,
  stream text COLLATE "C" NOT NULL,
  version bigint NOT NULL,      -- counted from 1 in its stream
  name text COLLATE "C" NOT NULL,
  shape int NOT NULL,           -- of the data, counted from 1; upcasters lead from one to the next
  data text NOT NULL,           -- JSON
  id bigint NOT NULL,           -- random: with the position it tells this history from any other
  append_end bigint NOT NULL,   -- the position of the last event stored together with this one
  at double precision NOT NULL, -- seconds since 1970
  command_id text,
  metadata text,                -- JSON, where there is more than the command's id
  tags text,                    -- JSON, where there are any
  UNIQUE (stream, version)
)

-- create_tag --
-- The tags of events, so that a condition over a query costs the same however long the log is.
CREATE TABLE IF NOT EXISTS syncline.tag (
  tag text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  PRIMARY KEY (tag, position)
)

-- create_command --
-- Every command that took effect, and its outcome, so that one sent again gives the first receipt.
CREATE TABLE IF NOT EXISTS syncline.command (
  id text COLLATE "C" PRIMARY KEY,
  name text NOT NULL,
  digest bigint NOT NULL,   -- of name and payload
  stream text NOT NULL,
  version bigint NOT NULL,
  position bigint NOT NULL, -- of its last event; of the log's head where it decided nothing
  count bigint NOT NULL     -- how many events it decided
)

-- create_snapshot --
-- Folded states of long streams: a cache, safe to delete.
CREATE TABLE IF NOT EXISTS syncline.snapshot (
  stream text COLLATE "C" PRIMARY KEY,
  version bigint NOT NULL,
  fingerprint text NOT NULL,  -- of the state's shape and the function that folds; another one is not used
  state text NOT NULL
)

-- create_outbox --
-- Events recorded by transactions of others, on their way into the log. `tx` is the transaction: its events stay together.
CREATE TABLE IF NOT EXISTS syncline.outbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
  stream text COLLATE "C" NOT NULL,
  name text NOT NULL,
  shape int NOT NULL,
  data text NOT NULL,
  event_id bigint NOT NULL,
  at double precision NOT NULL,
  command_id text,
  metadata text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)

-- create_name_index --
-- For queries over types without tags, where a service asks such.
CREATE INDEX IF NOT EXISTS event_name ON syncline.event (name, position)

-- is_created --
-- Whether the log is there, and its index over types.
SELECT to_regclass('syncline.event_log') IS NOT NULL, to_regclass('syncline.event_name') IS NOT NULL

-- insert_log --
-- A new log gets an incarnation; an old one keeps it.
INSERT INTO syncline.event_log (id, format, incarnation)
VALUES (1, :format, substr(replace(gen_random_uuid()::text, '-', ''), 1, 16))
ON CONFLICT (id) DO NOTHING

-- select_log --
-- What a program asks first.
SELECT format, incarnation FROM syncline.event_log

-- lock_preparing --
-- Those who make tables of the program in a database, of any role, take turns.
SELECT pg_advisory_xact_lock(1400467043, 3)

-- begin --
-- Whatever the role's default is: what is found under the lock must be newer than the lock.
BEGIN ISOLATION LEVEL READ COMMITTED

-- lock --
-- The right to give out positions, until this transaction has ended and is seen by all.
SELECT pg_advisory_xact_lock(1400467043, 4)

-- select_head --
-- The newest position with the id of its event, the history that it belongs to (who follows the log gives it another name when it
-- was restored), and the id of the event at a position that is known.
SELECT coalesce(h.position, 0),
       coalesce(h.id, 0),
       l.incarnation,
       coalesce((SELECT id FROM syncline.event WHERE position = :known), 0)
  FROM syncline.event_log AS l
  LEFT JOIN syncline.event AS h ON h.position = (SELECT max(position) FROM syncline.event)

-- store --
-- Events at the positions given out for them, their tags, and the commands that decided them, an array for each column; and how many
-- commands are remembered. Nothing is stored, and no row updated, where the head is another one than the positions go on from, or a stream that must be
-- new is not.
WITH head AS MATERIALIZED (
       SELECT 1
        WHERE coalesce((SELECT max(position) FROM syncline.event), 0) = :head
          AND coalesce((SELECT id FROM syncline.event WHERE position = :head), 0) = :head_id
          AND NOT EXISTS (SELECT 1
                            FROM unnest(:new_streams::text[]) AS n(stream)
                           CROSS JOIN LATERAL (SELECT 1 FROM syncline.event AS e WHERE e.stream = n.stream LIMIT 1) AS e)
     ), events AS (
       INSERT INTO syncline.event (position, stream, version, name, shape, data, id, append_end, at, command_id, metadata, tags)
       SELECT e.*
         FROM head,
              unnest(:event_position::bigint[], :event_stream::text[], :event_version::bigint[], :event_name::text[],
                     :event_shape::int[], :event_data::text[], :event_id::bigint[], :event_append_end::bigint[],
                     :event_at::double precision[], :event_command_id::text[], :event_metadata::text[], :event_tags::text[]) AS e
     ), tags AS (
       INSERT INTO syncline.tag (tag, position) SELECT t.* FROM head, unnest(:tag_tag::text[], :tag_position::bigint[]) AS t
     ), commands AS (
       INSERT INTO syncline.command (id, name, digest, stream, version, position, count)
       SELECT c.*
         FROM head,
              unnest(:command_id::text[], :command_name::text[], :command_digest::bigint[], :command_stream::text[],
                     :command_version::bigint[], :command_position::bigint[], :command_count::bigint[]) AS c
     )
UPDATE syncline.event_log SET commands = commands + :count FROM head RETURNING incarnation

-- select_commands --
-- The outcomes of those of these commands that took effect.
SELECT id, name, digest, stream, version, position, count FROM syncline.command WHERE id = ANY (:ids::text[])

-- select_versions --
-- How many events each of these streams has: its newest version, which costs the same however long it is.
SELECT w.stream, coalesce((SELECT max(version) FROM syncline.event AS e WHERE e.stream = w.stream), 0)
  FROM unnest(:streams::text[]) AS w(stream)

-- select_streams --
-- The events of several streams, of each those after a version, in the order of versions.
SELECT w.stream, e.version, e.position, e.name, e.shape, e.data
  FROM unnest(:streams::text[], :versions::bigint[]) WITH ORDINALITY AS w(stream, version, i)
 CROSS JOIN LATERAL (SELECT * FROM syncline.event AS e
                      WHERE e.stream = w.stream AND e.version > w.version ORDER BY e.version) AS e
 ORDER BY w.i, e.version

-- select_events --
-- Consecutive events after a position.
SELECT position, stream, version, name, shape, data, id, append_end, at, command_id, metadata, tags
  FROM syncline.event
 WHERE position > :after AND position <= :up_to
 ORDER BY position
 LIMIT :limit::bigint

-- items --
-- Alternatives of queries as a table: the number of the query, the position that it begins after, one tag, the others, and types.
json_to_recordset(:items) AS w(i int, after bigint, tag text, others text[], types text[])

-- matching --
-- The positions of the events that match one alternative `w`.
SELECT t.position
  FROM syncline.tag AS t
 WHERE t.tag = w.tag AND t.position > w.after AND t.position <= :up_to
   AND NOT EXISTS (SELECT 1 FROM unnest(w.others) AS o(tag)
                    WHERE NOT EXISTS (SELECT 1 FROM syncline.tag AS x WHERE x.tag = o.tag AND x.position = t.position))
   AND (w.types IS NULL OR (SELECT name FROM syncline.event AS e WHERE e.position = t.position) = ANY (w.types))
 UNION ALL
SELECT e.position
  FROM unnest(w.types) AS n(name)
 CROSS JOIN LATERAL (SELECT position FROM syncline.event AS e
                      WHERE e.name = n.name AND e.position > w.after AND e.position <= :up_to) AS e
 WHERE w.tag IS NULL
 UNION ALL
SELECT e.position
  FROM syncline.event AS e
 WHERE w.tag IS NULL AND w.types IS NULL AND e.position > w.after AND e.position <= :up_to

-- select_matching --
-- The events that match any alternative, in order.
SELECT position, stream, version, name, shape, data, id, append_end, at, command_id, metadata, tags
  FROM syncline.event
 WHERE position IN (SELECT m.position FROM {items} CROSS JOIN LATERAL ({matching}) AS m)
 ORDER BY position
 LIMIT :limit::bigint

-- select_of_queries --
-- The events of several queries, each once, in order.
SELECT m.i, e.stream, e.version, e.position, e.name, e.shape, e.data
  FROM (SELECT DISTINCT w.i, m.position FROM {items} CROSS JOIN LATERAL ({matching}) AS m) AS m
  JOIN syncline.event AS e ON e.position = m.position
 ORDER BY m.i, e.position

-- select_broken --
-- Which of several queries any event matches.
SELECT DISTINCT w.i FROM {items} WHERE EXISTS ({matching})

-- select_range --
-- The events of one command, by their positions.
SELECT stream, version, position, name, shape, data
  FROM syncline.event
 WHERE position > :after AND position <= :up_to
 ORDER BY position

-- select_snapshots --
-- The stored states of these streams.
SELECT stream, version, fingerprint, state FROM syncline.snapshot WHERE stream = ANY (:streams::text[])

-- upsert_snapshots --
-- Newer states take the place of older ones.
INSERT INTO syncline.snapshot (stream, version, fingerprint, state)
SELECT *
  FROM unnest(:snapshot_stream::text[], :snapshot_version::bigint[], :snapshot_fingerprint::text[], :snapshot_state::text[])
ON CONFLICT (stream) DO UPDATE
   SET version = excluded.version, fingerprint = excluded.fingerprint, state = excluded.state

-- select_missing_rights --
-- The tables of the log on which the role lacks a right that it needs.
SELECT w.name, string_agg(w.privilege, ', ' ORDER BY w.privilege)
  FROM unnest(:tables::text[], :privileges::text[]) AS w(name, privilege)
 WHERE NOT has_table_privilege('syncline.' || w.name, w.privilege)
 GROUP BY w.name
 ORDER BY w.name

-- select_role --
-- Who asks, in which database, whether the schema is there, and whether tables may be made: in it, or with it.
SELECT current_user,
       current_database(),
       n.oid IS NOT NULL,
       CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
            ELSE has_schema_privilege(n.oid, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE') END,
       n.oid IS NOT NULL AND has_schema_privilege(n.oid, 'USAGE')
  FROM (SELECT 1) AS one
  LEFT JOIN pg_namespace AS n ON n.nspname = 'syncline'

-- make_durable --
-- A commit is on disk before it is answered, whatever the role's default is; what is stricter stays.
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
