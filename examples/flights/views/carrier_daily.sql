-- Each carrier's day: flights, cancellations, delays. Means are whole minutes.
-- key: carrier, flight_date
-- index: flight_date
SELECT f.carrier, f.flight_date,
       COUNT(*) AS flights,
       COUNT(CASE WHEN f.status = 'cancelled' THEN 1 END) AS cancelled,
       COUNT(CASE WHEN f.status IN ('departed', 'arrived', 'diverted') THEN 1 END) AS left_ground,
       COUNT(f.arr_delay) AS arrived,
       CAST(SUM(f.dep_delay) AS bigint) / COUNT(f.dep_delay) AS mean_dep_delay,
       CAST(SUM(f.arr_delay) AS bigint) AS sum_arr_delay,
       CAST(SUM(f.arr_delay) AS bigint) / COUNT(f.arr_delay) AS mean_arr_delay,
       COUNT(CASE WHEN f.arr_delay > 15 THEN 1 END) AS late,
       CAST(SUM(f.booked) AS bigint) AS booked
  FROM operations.flights f
 GROUP BY f.carrier, f.flight_date
