-- Each route's month.
-- key: month, origin, dest
SELECT substr(f.flight_date, 1, 7) AS month, f.origin, f.dest,
       COUNT(*) AS flights,
       COUNT(f.arr_delay) AS arrived,
       CAST(SUM(f.arr_delay) AS bigint) AS sum_arr_delay,
       CAST(SUM(f.arr_delay) AS bigint) / COUNT(f.arr_delay) AS mean_arr_delay
  FROM operations.flights f
 GROUP BY substr(f.flight_date, 1, 7), f.origin, f.dest
