CREATE TABLE supplier (
    s_suppkey BIGINT NOT NULL,
    s_name TEXT NOT NULL,
    s_address TEXT NOT NULL,
    s_nationkey BIGINT NOT NULL,
    s_phone TEXT NOT NULL,
    s_acctbal DECIMAL(15, 2) NOT NULL,
    s_comment TEXT NOT NULL,
    PRIMARY KEY (s_suppkey)
)
