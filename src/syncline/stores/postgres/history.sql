-- select_missing_rights --
-- What a follower may not do with a log that is there, as what is to be granted: it reads; it moves what waits in the outbox into
-- the log, and gives a history that was restored a name of its own, and needs to write only when there is such to do.
SELECT 'USAGE ON SCHEMA syncline'
  FROM pg_namespace AS n
 WHERE n.nspname = 'syncline' AND NOT has_schema_privilege(n.oid, 'USAGE')
 UNION ALL
SELECT string_agg(w.privilege, ', ' ORDER BY w.place) || ' ON syncline.' || c.relname
  FROM pg_namespace AS n
  JOIN pg_class AS c ON c.relnamespace = n.oid
  JOIN (VALUES (1, 'event_log', 'SELECT'), (2, 'event_log', 'UPDATE'), (3, 'event', 'SELECT'), (4, 'event', 'INSERT'),
               (5, 'outbox', 'SELECT'), (6, 'outbox', 'DELETE')) AS w(place, name, privilege) ON w.name = c.relname
 WHERE n.nspname = 'syncline' AND NOT has_table_privilege(c.oid, w.privilege)
   AND (w.privilege = 'SELECT' OR :is_writing)
 GROUP BY c.relname

-- select_place --
-- Which history the log is, the id of the event at a position (none where there is no such event), the head with its id, and
-- whether events were recorded in the outbox that have no positions yet.
SELECT l.incarnation,
       (SELECT id FROM syncline.event WHERE position = :after::bigint),
       coalesce(h.position, 0),
       coalesce(h.id, 0),
       EXISTS (SELECT 1 FROM syncline.outbox ORDER BY id LIMIT 1)
  FROM syncline.event_log AS l
  LEFT JOIN syncline.event AS h ON h.position = (SELECT max(position) FROM syncline.event)

-- select_batch --
-- The place, and where a batch ends that holds so many events after a position: at the last event that was stored together with
-- the last of them; its id, and when that was. The end is NULL where there are no such events, or where some are gone.
SELECT l.incarnation,
       (SELECT id FROM syncline.event WHERE position = :after::bigint),
       coalesce(h.position, 0),
       coalesce(h.id, 0),
       final.position,
       final.id,
       final.at
  FROM syncline.event_log AS l
  LEFT JOIN syncline.event AS h ON h.position = (SELECT max(position) FROM syncline.event)
  LEFT JOIN syncline.event AS nth ON nth.position = least(:after::bigint + :limit::bigint, h.position) AND h.position > :after::bigint
  LEFT JOIN syncline.event AS final ON final.position = nth.append_end

-- select_end --
-- Where the append ended that the event at a position belongs to, as above; none in another history than that of a known event.
SELECT final.position, final.id, final.at
  FROM syncline.event AS nth
  JOIN syncline.event AS final ON final.position = nth.append_end
 WHERE nth.position = :position::bigint
   AND EXISTS (SELECT 1 FROM syncline.event WHERE position = :known::bigint AND id = :id::bigint)

-- select_events --
-- Consecutive events after a position.
SELECT position, stream, name, shape, data
  FROM syncline.event
 WHERE position > :after::bigint AND position <= :up_to::bigint
 ORDER BY position

-- select_causes --
-- Where consecutive events come from.
SELECT position, at, command_id, metadata
  FROM syncline.event
 WHERE position > :after::bigint AND position <= :up_to::bigint
 ORDER BY position

-- select_stream --
-- The events of one stream from a position on.
SELECT position, stream, name, shape, data
  FROM syncline.event
 WHERE stream = :stream AND position >= :since::bigint AND position <= :up_to::bigint
 ORDER BY version

-- renew_incarnation --
-- Another history stands under the name of this one: it gets a name of its own, unless somebody gave it one just now.
UPDATE syncline.event_log
   SET incarnation = substr(replace(gen_random_uuid()::text, '-', ''), 1, 16)
 WHERE incarnation = :incarnation
