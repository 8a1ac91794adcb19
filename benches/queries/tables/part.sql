CREATE TABLE part (
    p_partkey BIGINT NOT NULL,
    p_name TEXT NOT NULL,
    p_mfgr TEXT NOT NULL,
    p_brand TEXT NOT NULL,
    p_type TEXT NOT NULL,
    p_size INT NOT NULL,
    p_container TEXT NOT NULL,
    p_retailprice DECIMAL(15, 2) NOT NULL,
    p_comment TEXT NOT NULL,
    PRIMARY KEY (p_partkey)
)
