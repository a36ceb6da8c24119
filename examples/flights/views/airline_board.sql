-- Each airline's year so far, added up from its days: a view that reads another view.
-- key: carrier
SELECT c.carrier, l.name AS airline,
       SUM(c.flights) AS flights,
       SUM(c.cancelled) AS cancelled,
       SUM(c.late) AS late,
       SUM(c.sum_arr_delay) / SUM(c.arrived) AS mean_arr_delay,
       SUM(c.booked) AS booked
  FROM carrier_daily c
  LEFT JOIN fleet.airlines l ON l.carrier = c.carrier
 GROUP BY c.carrier, l.name
