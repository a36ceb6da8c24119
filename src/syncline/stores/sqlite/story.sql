-- select_tables --
-- Which of the tables that a story is in are there.
SELECT name FROM sqlite_master WHERE name IN ('syncline_event', 'syncline_command')

-- select_of_streams --
-- The newest events of streams.
SELECT position, stream, version, name, data, at, command_id, metadata FROM syncline_event
 WHERE stream IN (SELECT value FROM json_each(:ids)) ORDER BY position DESC LIMIT :limit

-- select_of_commands --
-- The events that commands decided.
SELECT e.position, e.stream, e.version, e.name, e.data, e.at, e.command_id, e.metadata
  FROM syncline_command AS c
  JOIN syncline_event AS e ON e.position > c.position - c.count AND e.position <= c.position
 WHERE c.id IN (SELECT value FROM json_each(:ids)) LIMIT :limit

-- select_correlated --
-- Of the newest events, those that say they belong together with, or were caused by, one of these ids. No index finds them, so
-- that no append pays for it.
SELECT position, stream, version, name, data, at, command_id, metadata FROM syncline_event
 WHERE position > (SELECT max(position) FROM syncline_event) - :newest AND metadata IS NOT NULL
   AND (json_extract(metadata, '$.correlation_id') IN (SELECT value FROM json_each(:ids))
        OR json_extract(metadata, '$.causation_id') IN (SELECT value FROM json_each(:ids)))
 ORDER BY position DESC LIMIT :limit
