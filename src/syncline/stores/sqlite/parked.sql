-- select_parked --
-- Everything that is parked.
SELECT view, key, error, since FROM syncline_parked ORDER BY view, key

-- select_parked_of --
-- The parked keys of one view.
SELECT key FROM syncline_parked WHERE view = :view

-- park --
-- A key that failed, or fails again in another way: since when stays.
INSERT INTO syncline_parked (view, key, error, since) VALUES (:view, :key, :error, :since)
ON CONFLICT (view, key) DO UPDATE SET error = excluded.error

-- unpark --
-- A key whose rows could be computed again.
DELETE FROM syncline_parked WHERE view = :view AND key = :key

-- rename_parked --
-- A build that takes the place of what was live brings its own failures along.
UPDATE syncline_parked SET view = :view WHERE view = :stored

-- forget_parked --
-- A table of view rows that is dropped.
DELETE FROM syncline_parked WHERE view = :view
