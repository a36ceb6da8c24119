-- select_snapshot --
-- Which transactions this snapshot sees, and the time of the database.
SELECT pg_current_snapshot()::text, extract(epoch FROM clock_timestamp())::float8

-- select_snapshot_now --
-- Which transactions are over now: where it is as it was, nothing was committed.
SELECT pg_current_snapshot()::text

-- select_span --
-- For how long, in seconds, the oldest transaction has been open that may still commit rows with the time of its beginning (NULL
-- where the role may not see that of others, or they run elsewhere); and whether one is prepared, which may be older.
SELECT CASE WHEN pg_is_in_recovery() OR bool_or(a.backend_type = 'client backend' AND a.state IS NULL) THEN NULL
            ELSE coalesce(extract(epoch FROM clock_timestamp() - min(a.xact_start)), 0)
       END::float8,
       EXISTS (SELECT FROM pg_prepared_xacts AS p WHERE p.database = current_database())
  FROM pg_stat_activity AS a
 WHERE a.datname = current_database()
   AND a.pid <> pg_backend_pid()
