-- Each airline's year so far, added up from its days: a view that reads another view.
-- key: carrier
SELECT c.carrier, l.name AS airline,
       CAST(SUM(c.flights) AS bigint) AS flights,
       CAST(SUM(c.cancelled) AS bigint) AS cancelled,
       CAST(SUM(c.late) AS bigint) AS late,
       CAST(SUM(c.sum_arr_delay) AS bigint) / CAST(SUM(c.arrived) AS bigint) AS mean_arr_delay,
       CAST(SUM(c.booked) AS bigint) AS booked
  FROM carrier_daily c
  LEFT JOIN fleet.airlines l ON l.carrier = c.carrier
 GROUP BY c.carrier, l.name
