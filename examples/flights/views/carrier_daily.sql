-- Each carrier's day: flights, cancellations, delays. Means are whole minutes.
-- key: carrier, flight_date
-- index: flight_date
SELECT f.carrier, f.flight_date,
       COUNT(*) AS flights,
       SUM(f.status = 'cancelled') AS cancelled,
       SUM(f.status IN ('departed', 'arrived', 'diverted')) AS left_ground,
       COUNT(f.arr_delay) AS arrived,
       SUM(f.dep_delay) / COUNT(f.dep_delay) AS mean_dep_delay,
       SUM(f.arr_delay) AS sum_arr_delay,
       SUM(f.arr_delay) / COUNT(f.arr_delay) AS mean_arr_delay,
       COUNT(CASE WHEN f.arr_delay > 15 THEN 1 END) AS late,
       SUM(f.booked) AS booked
  FROM operations.flights f
 GROUP BY f.carrier, f.flight_date
