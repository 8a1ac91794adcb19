CREATE TABLE IF NOT EXISTS airports (
    faa TEXT NOT NULL,
    name TEXT,
    lat DOUBLE,
    lon DOUBLE,
    alt BIGINT,
    tz BIGINT,
    dst TEXT,
    tzone TEXT,
    PRIMARY KEY (faa)
) WITH (shards = 2, replicas = 2);
