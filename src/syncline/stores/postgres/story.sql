-- select_tables --
-- Whether the tables that a story is in are there.
SELECT to_regclass('syncline.event') IS NOT NULL AND to_regclass('syncline.command') IS NOT NULL

-- select_of_streams --
-- The newest events of streams.
SELECT position, stream, version, name, data, at, command_id, metadata FROM syncline.event
 WHERE stream = ANY(:ids) ORDER BY position DESC LIMIT :limit

-- select_of_commands --
-- The events that commands decided.
SELECT e.position, e.stream, e.version, e.name, e.data, e.at, e.command_id, e.metadata
  FROM syncline.command AS c
  JOIN syncline.event AS e ON e.position > c.position - c.count AND e.position <= c.position
 WHERE c.id = ANY(:ids) LIMIT :limit

-- select_correlated --
-- Of the newest events, those that say they belong together with, or were caused by, one of these ids. No index finds them, so
-- that no append pays for it.
SELECT position, stream, version, name, data, at, command_id, metadata FROM syncline.event
 WHERE position > (SELECT max(position) FROM syncline.event) - :newest AND metadata IS NOT NULL
   AND (metadata::json ->> 'correlation_id' = ANY(:ids) OR metadata::json ->> 'causation_id' = ANY(:ids))
 ORDER BY position DESC LIMIT :limit
