-- Which airlines are late, and with whose planes? Worst average first, unknown averages last.
SELECT
    airlines.name AS airline,
    planes.manufacturer AS manufacturer,
    count(*) AS flights,
    avg(flights.arr_delay) AS avg_arr_delay,
    sum(flights.distance) AS total_distance
FROM flights
JOIN airlines ON airlines.carrier = flights.carrier
JOIN planes ON planes.tailnum = flights.tailnum
GROUP BY airlines.name, planes.manufacturer
ORDER BY avg_arr_delay DESC NULLS LAST, airline, manufacturer;
