CREATE TABLE IF NOT EXISTS planes (
    tailnum TEXT NOT NULL,
    year BIGINT,
    type TEXT,
    manufacturer TEXT,
    model TEXT,
    engines BIGINT,
    seats BIGINT,
    speed BIGINT,
    engine TEXT,
    PRIMARY KEY (tailnum)
) WITH (shards = 4, replicas = 2);
