CREATE TABLE partsupp (
    ps_partkey BIGINT NOT NULL,
    ps_suppkey BIGINT NOT NULL,
    ps_availqty INT NOT NULL,
    ps_supplycost DECIMAL(15, 2) NOT NULL,
    ps_comment TEXT NOT NULL,
    PRIMARY KEY (ps_partkey, ps_suppkey)
) WITH (shard_by = 'ps_partkey')
