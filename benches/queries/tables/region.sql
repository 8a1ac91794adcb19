CREATE TABLE region (
    r_regionkey BIGINT NOT NULL,
    r_name TEXT NOT NULL,
    r_comment TEXT NOT NULL,
    PRIMARY KEY (r_regionkey)
)
