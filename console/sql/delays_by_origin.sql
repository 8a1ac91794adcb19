-- The same by the airport of departure, joined with the weather of the hour. Averages of measured
-- values are rounded, because sums of fractions depend on the order of their rows in the last digit.
SELECT
    airports.name AS origin,
    count(*) AS flights,
    avg(flights.arr_delay) AS avg_arr_delay,
    sum(flights.distance) AS total_distance,
    round(avg(weather.wind_speed), 6) AS avg_wind_speed,
    round(avg(weather.precip), 6) AS avg_precip
FROM flights
JOIN airports ON airports.faa = flights.origin
JOIN weather ON weather.origin = flights.origin AND weather.time_hour = flights.time_hour
GROUP BY airports.name
ORDER BY avg_arr_delay DESC NULLS LAST, origin;
