CREATE TABLE nation (
    n_nationkey BIGINT NOT NULL,
    n_name TEXT NOT NULL,
    n_regionkey BIGINT NOT NULL,
    n_comment TEXT NOT NULL,
    PRIMARY KEY (n_nationkey)
)
