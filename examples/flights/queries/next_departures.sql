-- Which flights leave an airport next.
-- param: origin text = 'JFK'
-- param: after text = '2013-01-01'
-- limit: 20
SELECT flight_id, sched_dep, airline, flight, dest_name, model, booked
  FROM flight_board
 WHERE status = 'scheduled' AND origin = :origin AND sched_dep > :after
 ORDER BY sched_dep, flight_id
