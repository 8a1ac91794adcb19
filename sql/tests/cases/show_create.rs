//! SHOW CREATE TABLE gives statements that make the same table.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use netabase_sql::store::{Codec, ErrorKind, TableDef};
use netabase_sql::{Engine, objects_table};

use crate::common::{engine, failure, rows, run};

/// Definitions of a table `t`, each with something of its own.
const DEFINITIONS: [&str; 22] = [
    "CREATE TABLE t (k INT PRIMARY KEY)",
    "CREATE TABLE t (a INT, b TEXT NOT NULL, c DOUBLE, PRIMARY KEY (b, a)) WITH (shards = 3, replicas = 1)",
    "CREATE TABLE t (k BIGINT PRIMARY KEY, a TINYINT, b SMALLINT, c INTEGER NOT NULL, d REAL, e FLOAT, f BOOLEAN)",
    "CREATE TABLE t (k BIGINT UNSIGNED PRIMARY KEY, a TINYINT UNSIGNED, b SMALLINT UNSIGNED, c INT UNSIGNED)",
    "CREATE TABLE t (k DATE PRIMARY KEY, a TIME, b TIMESTAMP, c TIMESTAMPTZ, d INTERVAL)",
    "CREATE TABLE t (k TIMESTAMP(3) PRIMARY KEY, a TIMESTAMP(0), b TIMESTAMP(6), c TIMESTAMP(9))",
    "CREATE TABLE t (k TIMESTAMP(3) WITH TIME ZONE PRIMARY KEY, a TIMESTAMP WITH TIME ZONE)",
    "CREATE TABLE t (k DECIMAL(10, 2) PRIMARY KEY, a DECIMAL(38, 0), b DECIMAL(50, 5), c NUMERIC(7))",
    "CREATE TABLE t (k VARCHAR PRIMARY KEY, a BYTEA, b TEXT, c CHAR(3))",
    "CREATE TABLE t (k INT PRIMARY KEY, a INT[], b TEXT[][], c BIGINT[3])",
    "CREATE TABLE t (k INT PRIMARY KEY, a MAP(TEXT, INT), b MAP(INT, STRUCT<x MAP(DATE, TEXT[])>)[])",
    "CREATE TABLE t (k INT PRIMARY KEY, a STRUCT<x INT, \"Y y\" TEXT>, b STRUCT<z STRUCT<w DATE>>[])",
    "CREATE TABLE \"t\" (\"K k\" INT, \"select\" INT, \"Say \"\"hi\"\"\" TEXT, \"primary\" INT, \"1st\" INT, \
     größe INT, _x INT, PRIMARY KEY (\"select\", \"K k\"))",
    "CREATE TABLE t (\"key\" INT PRIMARY KEY, value INT, name TEXT, date DATE, \"user\" TEXT, \"order\" INT, \
     \"group\" INT, \"check\" INT, \"unique\" INT, \"end\" INT, \"like\" INT, \"left\" INT)",
    "CREATE TABLE t (a INT, b INT, c INT, PRIMARY KEY (a, b, c)) WITH (shard_by = 'a, b', shards = 1)",
    "CREATE TABLE t (k INT PRIMARY KEY) WITH (local = true, ttl = '90 min', compression = 'lz4')",
    "CREATE TABLE t (a INT, b TEXT)",
    "CREATE TABLE t (k INT PRIMARY KEY, a TEXT DEFAULT 'a''''b', b TEXT CHECK (b <> '''''\\'''))",
    "CREATE TABLE t (k INT PRIMARY KEY, a INT DEFAULT 1 + 1, b TEXT DEFAULT 'it''s' NOT NULL, \
     c INT GENERATED ALWAYS AS (a * 2) STORED, d DATE COMMENT 'the day''s date')",
    "CREATE TABLE t (k INT PRIMARY KEY, a INT CHECK (a > 0), CONSTRAINT \"No b\" CHECK (k <> 7 OR a = 1)); \
     COMMENT ON TABLE t IS 'what it''s for'",
    "CREATE TABLE t (k INT PRIMARY KEY, a INT UNIQUE, b INT, UNIQUE (a, b)) WITH (local = true)",
    "CREATE TABLE t (k INT PRIMARY KEY, \"B b\" TEXT, c DATE) WITH (ttl = '7 days', compression = 'zstd'); \
     CREATE INDEX by_b ON t (\"B b\"); CREATE INDEX \"By c\" ON t (c, \"B b\")",
];

/// What a statement decides about a table.
fn shape(def: &TableDef) -> TableDef {
    let mut shape = def.clone();
    let plain = TableDef {
        schema: Arc::new(Schema::empty()),
        ..objects_table("nobody", Default::default())
    };
    (shape.id, shape.owner, shape.created) = (plain.id, plain.owner, plain.created);
    shape.placement = Vec::new();
    shape.attachment = Vec::new();
    shape.options.revision = 0;
    shape
}

fn table(engine: &Engine) -> TableDef {
    shape(&engine.store().table("t").unwrap())
}

async fn shown(engine: &Engine) -> String {
    let rows = rows(engine, "SHOW CREATE TABLE t").await;
    assert_eq!((rows.len(), rows[0][0].as_str()), (1, "t"));
    rows[0][1].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_makes_the_same_table() {
    for definition in DEFINITIONS {
        let engine = engine();
        run(&engine, definition).await;
        let (made, text) = (table(&engine), shown(&engine).await);
        run(&engine, &format!("DROP TABLE t; {text}")).await;
        assert_eq!(table(&engine), made, "{definition}\n{text}");
        // It is its own definition, too.
        assert_eq!(shown(&engine).await, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_statement_makes_is_said() {
    let engine = engine();
    let def = |schema: Schema| TableDef {
        name: "t".to_owned(),
        schema: Arc::new(schema),
        ..objects_table("me", engine.store().clock().now())
    };
    let key = Field::new("key", DataType::Binary, false);
    let odd = Field::new("odd", DataType::LargeUtf8, true);
    let stored = def(Schema::new(vec![key.clone(), odd]));
    engine.store().put_table(stored).unwrap();
    let (kind, text) = failure(&engine, "SHOW CREATE TABLE t").await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(
        text.contains("column \"odd\" has the Arrow type LargeUtf8"),
        "{text}"
    );
    run(&engine, "DROP TABLE t").await;
    let mut stored = def(Schema::new(vec![key]));
    stored.options.codec = Some(Codec::Zstd(19));
    engine.store().put_table(stored).unwrap();
    let (_, text) = failure(&engine, "SHOW CREATE TABLE t").await;
    assert!(text.contains("its compression or time to live"), "{text}");
    let (kind, text) = failure(&engine, "SHOW CREATE TABLE netabase.tables").await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(text.contains("its rows are computed"), "{text}");
}

#[tokio::test]
async fn comments_of_materialized_views_are_shown() {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE base (k INT PRIMARY KEY);
         CREATE MATERIALIZED VIEW t AS SELECT k FROM base;
         COMMENT ON MATERIALIZED VIEW t IS 'what it''s for';
         COMMENT ON COLUMN t.k IS 'a key'",
    )
    .await;
    let text = shown(&engine).await;
    assert!(text.contains("a key"), "{text}");
    run(&engine, &format!("DROP MATERIALIZED VIEW t; {text}")).await;
    assert_eq!(shown(&engine).await, text);
}
