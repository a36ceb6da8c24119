-- Where a plane has been.
-- param: tailnum text
-- limit: 500
SELECT flight_id, flight_date, airline, flight, origin, dest, status, arr_delay
  FROM flight_board
 WHERE tailnum = :tailnum
 ORDER BY sched_dep DESC, flight_id
