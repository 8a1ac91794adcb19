CREATE TABLE IF NOT EXISTS airlines (
    carrier TEXT NOT NULL,
    name TEXT,
    PRIMARY KEY (carrier)
) WITH (shards = 1, replicas = 2);
