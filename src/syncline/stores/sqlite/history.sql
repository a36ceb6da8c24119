-- select_place --
-- Which history the log is, the id of the event at a position (none where there is no such event), and the head with its id.
SELECT l.incarnation,
       (SELECT id FROM syncline_event WHERE position = :after),
       coalesce(h.position, 0),
       coalesce(h.id, 0)
  FROM syncline_event_log AS l
  LEFT JOIN syncline_event AS h ON h.position = (SELECT max(position) FROM syncline_event)

-- select_end --
-- Where a batch ends that holds the event at a position: at the last event that was stored with it; its id, and when that was.
-- What an outbox recorded one after the other in one transaction is a chain of ends.
  WITH RECURSIVE ends(position) AS (
         SELECT append_end FROM syncline_event WHERE position = :position
          UNION
         SELECT e.append_end FROM ends JOIN syncline_event AS e ON e.position = ends.position
       )
SELECT position, id, at
  FROM syncline_event
 WHERE position = (SELECT max(position) FROM ends)

-- select_events --
-- Consecutive events after a position.
SELECT position, stream, name, shape, data
  FROM syncline_event
 WHERE position > :after AND position <= :up_to
 ORDER BY position

-- select_causes --
-- Where consecutive events come from.
SELECT position, at, command_id, metadata
  FROM syncline_event
 WHERE position > :after AND position <= :up_to
 ORDER BY position

-- select_stream --
-- The events of one stream from a position on.
SELECT position, stream, name, shape, data
  FROM syncline_event
 WHERE stream = :stream AND position >= :since AND position <= :up_to
 ORDER BY version

-- renew_incarnation --
-- Another history stands under the name of this one: it gets a name of its own, unless somebody gave it one just now.
UPDATE syncline_event_log SET incarnation = lower(hex(randomblob(8))) WHERE incarnation = :incarnation
