-- Which airlines are late most often, of those with so many flights: two views, one state.
-- param: min_flights integer = 1
SELECT a.airline, a.flights, a.late, a.late * 100 / a.flights AS late_percent, MAX(c.flight_date) AS last_day
  FROM airline_board a
  JOIN carrier_daily c ON c.carrier = a.carrier
 WHERE a.flights >= :min_flights
 GROUP BY a.airline, a.flights, a.late
 ORDER BY late_percent DESC, a.airline
