-- The board: every flight with its airline, airports, plane and weather. Four services, one row.
-- key: flight_id
-- index: status, sched_dep
-- index: tailnum
SELECT f.flight_id, f.flight_date, f.sched_dep, f.carrier, l.name AS airline, f.flight,
       f.sched_arr_time, f.origin, o.name AS origin_name, f.dest, d.name AS dest_name,
       f.tailnum, p.manufacturer, p.model, p.seats, f.booked,
       f.status, f.dep_delay, f.arr_delay, w.temp, w.wind_speed, w.visib
  FROM operations.flights f
  LEFT JOIN fleet.airlines l ON l.carrier = f.carrier
  LEFT JOIN fleet.planes p ON p.tailnum = f.tailnum
  LEFT JOIN airports.airports o ON o.faa = f.origin
  LEFT JOIN airports.airports d ON d.faa = f.dest
  LEFT JOIN weather.observations w ON w.origin = f.origin AND w.time_hour = f.time_hour
