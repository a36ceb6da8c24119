-- select_tables --
-- Which of the tables that tell of commands are here.
SELECT to_regclass('syncline.event_log') IS NOT NULL, to_regclass('syncline.table_command') IS NOT NULL

-- select_log --
-- What an event log tells of itself at a glance: commands that took effect, its newest position and when that was stored.
SELECT commands,
       coalesce((SELECT max(position) FROM syncline.event), 0),
       (SELECT at FROM syncline.event ORDER BY position DESC LIMIT 1)
  FROM syncline.event_log

-- count_table_commands --
-- How many commands took effect on a table service.
SELECT count(*) FROM syncline.table_command
