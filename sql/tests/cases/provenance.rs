//! Where rows come from: the same answer from memory, from a segment, by an index and after opening again.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{Column, binary, lit};
use netabase_sql::store::{Settings, Store};
use netabase_sql::{
    Engine, EngineSettings, LocalCluster, ScanRequest, decode_request, encode_request,
    objects_table,
};

use crate::common::{engine, engine_in_folder, rows, run, value};

const EVERYTHING: &str = "SELECT *, _version, _author, _expires FROM t ORDER BY id";
/// Few of the rows of a segment, so that an index is asked for them.
const FEW: &str = "SELECT id, _version, _author, _expires FROM t WHERE v = 'v777' AND _version > 0";

#[tokio::test]
async fn stamps_are_the_same_wherever_the_rows_lie() {
    let (engine, dir) = engine_in_folder(2);
    run(
        &engine,
        "CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT) WITH (ttl = '1 day', shards = 1);
         INSERT INTO t SELECT value, 'v' || value FROM generate_series(1, 5000);
         INSERT INTO t SELECT value, 'w' || value FROM generate_series(1, 5000, 7)",
    )
    .await;
    let (all, few) = (rows(&engine, EVERYTHING).await, rows(&engine, FEW).await);
    assert_eq!((all.len(), few.len()), (5000, 1));
    let versions = "SELECT count(DISTINCT _version) FROM t";
    assert_eq!(value(&engine, versions).await, "2");

    run(&engine, "CHECKPOINT; CREATE INDEX by_v ON t (v)").await;
    assert_eq!(rows(&engine, EVERYTHING).await, all);
    assert_eq!(rows(&engine, FEW).await, few);

    // Rows in memory beside those of a segment.
    run(&engine, "UPDATE t SET v = 'new' WHERE id = 5").await;
    let newest = "SELECT id FROM t WHERE _version = (SELECT max(_version) FROM t)";
    assert_eq!(value(&engine, newest).await, "5");
    let all = rows(&engine, EVERYTHING).await;

    drop(engine);
    let settings = Settings {
        data_dir: Some(dir.path().to_path_buf()),
        background: false,
        ..Settings::default()
    };
    let store = Store::open(settings).unwrap();
    let cluster = Arc::new(LocalCluster::new(store.clone(), "somebody else"));
    let engine = Engine::new(store, cluster, EngineSettings::default(), Ok).unwrap();
    assert_eq!(rows(&engine, EVERYTHING).await, all);
    run(&engine, "INSERT INTO t VALUES (1, 'mine')").await;
    let authors = "SELECT _author, count(*) FROM t GROUP BY _author ORDER BY _author";
    let authors = rows(&engine, authors).await;
    assert_eq!(authors, [["me", "4999"], ["somebody else", "1"]]);
}

#[tokio::test]
async fn a_table_that_has_such_a_column_keeps_it() {
    let engine = engine();
    let mut def = objects_table("me", engine.store().clock().now());
    def.name = "old".to_owned();
    def.schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("_version", DataType::Utf8View, true),
    ]));
    engine.store().put_table(def).unwrap();
    run(&engine, "INSERT INTO old (id, _version) VALUES (1, 'mine')").await;
    let all = rows(&engine, "SELECT * FROM old").await;
    assert_eq!(all, [["1", "mine"]]);
    let both = rows(
        &engine,
        "SELECT *, _author FROM old WHERE _version = 'mine'",
    )
    .await;
    assert_eq!(both, [["1", "mine", "me"]]);
    run(
        &engine,
        "UPDATE old SET _version = 'new' WHERE _author = 'me'",
    )
    .await;
    assert_eq!(value(&engine, "SELECT _version FROM old").await, "new");
}

#[tokio::test]
async fn another_peer_reads_them_like_other_columns() {
    let engine = engine();
    run(&engine, "CREATE TABLE t (k BIGINT PRIMARY KEY, v TEXT)").await;
    let def = engine.store().table("t").unwrap();
    let schema = ScanRequest::schema_with_provenance(&def);
    let version = Arc::new(Column::new("_version", 2));
    let predicate = binary(version, Operator::Gt, lit(5i64), &schema).unwrap();
    let request = ScanRequest {
        def: Arc::clone(&def),
        schema,
        projection: vec![4, 0, 3, 2],
        predicate: Some(predicate),
        fetch: None,
        answer: None,
    };
    let bytes = encode_request(&request).unwrap();
    let decoded = decode_request(&bytes, def, &engine.context().task_ctx()).unwrap();
    assert_eq!(decoded.projection, request.projection);
    let names = decoded.output_schema().unwrap();
    let names: Vec<&str> = names.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["_expires", "k", "_author", "_version"]);
    let (before, after) = (request.predicate.unwrap(), decoded.predicate.unwrap());
    assert_eq!(before.to_string(), after.to_string());
}
