-- create_count --
-- One row: how many groups of commands took effect, and a name for this history of the database.
CREATE TABLE IF NOT EXISTS syncline.table_group (
  id int PRIMARY KEY CHECK (id = 1),
  incarnation text NOT NULL,
  n bigint NOT NULL
)

-- insert_count --
-- A new count begins; an old one goes on.
INSERT INTO syncline.table_group (id, incarnation, n)
VALUES (1, 'groups-' || substr(md5(random()::text || clock_timestamp()::text), 1, 12), 0)
ON CONFLICT (id) DO NOTHING

-- count_group --
-- One more, in the transaction of its effect. Groups take turns for this row.
UPDATE syncline.table_group SET n = n + 1 RETURNING incarnation, n

-- select_count --
-- The count, as whoever asks sees it.
SELECT incarnation, n FROM syncline.table_group

-- is_counted --
-- Whether groups are counted here.
SELECT to_regclass('syncline.table_group') IS NOT NULL

-- renew_count --
-- The history gets another name.
UPDATE syncline.table_group
   SET incarnation = 'groups-' || substr(md5(random()::text || clock_timestamp()::text), 1, 12)
RETURNING incarnation
