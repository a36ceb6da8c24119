-- Planes with no flight: none of theirs has left the ground so far this year.
-- key: tailnum
-- index: owner
SELECT p.tailnum, p.owner, p.manufacturer, p.model, p.seats
  FROM fleet.planes p
 WHERE NOT EXISTS (SELECT 1
                     FROM operations.flights f
                    WHERE f.tailnum = p.tailnum
                      AND f.status IN ('departed', 'arrived', 'diverted'))
