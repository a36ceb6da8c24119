-- insert_log --
-- A new log gets an incarnation; an old one keeps it.
INSERT OR IGNORE INTO syncline_event_log (id, format, incarnation) VALUES (1, ?, lower(hex(randomblob(8))))

-- append --
-- One event after the newest. It is one statement that writes, so that the position is read under the writer's lock and in the
-- newest state, or not at all. `remaining` events of the same append follow it.
INSERT INTO syncline_event (position, stream, version, name, shape, data, id, append_end, at, command_id, metadata)
SELECT log.head + 1, ?, mine.version + 1, ?, ?, ?, ?, log.head + 1 + ?, ?, ?, ?
  FROM (SELECT coalesce(max(position), 0) AS head FROM syncline_event) AS log,
       (SELECT coalesce(max(version), 0) AS version FROM syncline_event WHERE stream = ?) AS mine

-- select_newest --
-- The newest position, as whoever asks sees it.
SELECT coalesce(max(position), 0) FROM syncline_event

-- extend --
-- The append that ended at this position goes on to the newest event: they are of one transaction. Only its last event tells, so
-- that it costs the same however many there are.
UPDATE syncline_event SET append_end = (SELECT max(position) FROM syncline_event) WHERE position = ?

-- select_file --
-- The file of the main database; none for one in memory.
SELECT file FROM pragma_database_list WHERE name = 'main'
