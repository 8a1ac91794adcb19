CREATE TABLE customer (
    c_custkey BIGINT NOT NULL,
    c_name TEXT NOT NULL,
    c_address TEXT NOT NULL,
    c_nationkey BIGINT NOT NULL,
    c_phone TEXT NOT NULL,
    c_acctbal DECIMAL(15, 2) NOT NULL,
    c_mktsegment TEXT NOT NULL,
    c_comment TEXT NOT NULL,
    PRIMARY KEY (c_custkey)
)
