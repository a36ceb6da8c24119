-- is_created --
-- Whether events can be recorded here.
SELECT to_regclass('syncline.outbox') IS NOT NULL

-- record --
-- Events, a list for each column, in the caller's transaction; none where the log is of another format.
INSERT INTO syncline.outbox (stream, name, shape, data, event_id, at, command_id, metadata)
SELECT e.stream, e.name, e.shape, e.data, e.event_id, e.at, e.command_id, e.metadata
  FROM unnest(%s::text[], %s::text[], %s::int[], %s::text[], %s::bigint[], %s::double precision[], %s::text[], %s::text[])
       WITH ORDINALITY AS e(stream, name, shape, data, event_id, at, command_id, metadata, n)
 WHERE EXISTS (SELECT 1 FROM syncline.event_log WHERE format = %s)
 ORDER BY e.n
RETURNING 1

-- is_waiting --
-- Whether a transaction that recorded events has committed, and they are not in the log yet.
SELECT EXISTS (SELECT 1 FROM syncline.outbox ORDER BY id LIMIT 1)

-- make_durable_here --
-- As for every append: the transaction is on disk before its positions are seen.
SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'

-- sequence --
-- Moves into the log, at the next positions, what is visible to this one statement: whole transactions, each in one piece, in the
-- order of the last that each recorded. Whoever runs it holds the log's lock.
WITH taken AS (
       DELETE FROM syncline.outbox RETURNING id, tx, stream, name, shape, data, event_id, at, command_id, metadata
     ), ordered AS (
       SELECT *, max(id) OVER (PARTITION BY tx) AS last FROM taken
     ), numbered AS (
       SELECT *,
              row_number() OVER (ORDER BY last, id) AS n,
              row_number() OVER (PARTITION BY stream ORDER BY last, id) AS nth
         FROM ordered
     ), ended AS (
       SELECT *, max(n) OVER (PARTITION BY tx) AS n_end FROM numbered
     ), log AS MATERIALIZED (
       SELECT coalesce(max(position), 0) AS head FROM syncline.event
     )
INSERT INTO syncline.event (position, stream, version, name, shape, data, id, append_end, at, command_id, metadata)
SELECT log.head + e.n,
       e.stream,
       e.nth + coalesce((SELECT max(version) FROM syncline.event AS mine WHERE mine.stream = e.stream), 0),
       e.name, e.shape, e.data, e.event_id, log.head + e.n_end, e.at, e.command_id, e.metadata
  FROM ended AS e
 CROSS JOIN log
 ORDER BY e.n
