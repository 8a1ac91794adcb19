CREATE TABLE IF NOT EXISTS weather (
    origin TEXT NOT NULL,
    year BIGINT,
    month BIGINT,
    day BIGINT,
    hour BIGINT,
    temp DOUBLE,
    dewp DOUBLE,
    humid DOUBLE,
    wind_dir BIGINT,
    wind_speed DOUBLE,
    wind_gust DOUBLE,
    precip DOUBLE,
    pressure DOUBLE,
    visib DOUBLE,
    time_hour TIMESTAMP(6) WITH TIME ZONE NOT NULL,
    PRIMARY KEY (origin, time_hour)
) WITH (shards = 8, replicas = 2);
