-- The ten routes of each month whose flights arrived latest, of those with at least ten arrivals.
-- key: month, place
SELECT r.month, r.place, r.origin, r.dest, r.mean_arr_delay, r.arrived
  FROM (SELECT m.month, m.origin, m.dest, m.mean_arr_delay, m.arrived,
               ROW_NUMBER() OVER (PARTITION BY m.month
                                  ORDER BY m.mean_arr_delay DESC, m.origin, m.dest) AS place
          FROM route_monthly m
         WHERE m.arrived >= 10) r
 WHERE r.place <= 10
