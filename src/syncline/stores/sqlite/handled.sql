-- select_tables --
-- Which of the tables that tell of commands are here.
SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('syncline_event_log', 'syncline_table_command')

-- select_log --
-- What an event log tells of itself at a glance: commands that took effect, its newest position and when that was stored.
SELECT commands,
       coalesce((SELECT max(position) FROM syncline_event), 0),
       (SELECT at FROM syncline_event ORDER BY position DESC LIMIT 1)
  FROM syncline_event_log

-- count_table_commands --
-- How many commands took effect on a table service.
SELECT count(*) FROM syncline_table_command
