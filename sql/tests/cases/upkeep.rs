//! CHECKPOINT, COMPACT TABLE, and what the store says about itself.

use std::sync::Arc;

use netabase_sql::store::{ErrorKind, Settings, Store};
use netabase_sql::{Engine, EngineSettings, LocalCluster};

use crate::common::{engine, failure, rows, run, value};

fn on_disk(dir: &std::path::Path) -> Engine {
    let store = Store::open(Settings {
        data_dir: Some(dir.to_path_buf()),
        // Nothing is compacted before the statement that does it.
        background: false,
        ..Settings::default()
    })
    .unwrap();
    let cluster = Arc::new(LocalCluster::new(store.clone(), "me"));
    Engine::new(store, cluster, EngineSettings::default(), Ok).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_and_compactions_are_made_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let engine = on_disk(dir.path());
    run(
        &engine,
        "CREATE TABLE \"T x\" (k BIGINT PRIMARY KEY, v TEXT) WITH (shards = 2)",
    )
    .await;
    for _ in 0..2 {
        run(
            &engine,
            "INSERT INTO \"T x\" SELECT value, 'v' FROM generate_series(1, 100000)",
        )
        .await;
        engine.store().flush_to_segments().unwrap();
    }
    let dead = "SELECT dead_bytes > 0 FROM netabase.tables WHERE name = 'T x'";
    assert_eq!(value(&engine, dead).await, "true");
    let output = engine.sql("ChecKpoint").await.unwrap();
    assert_eq!(output.schema().fields().len(), 0);
    assert!(output.receipt().is_none() && output.collect().await.unwrap().is_empty());
    run(
        &engine,
        "CHECKPOINT; compact table public.\"T x\"; checkpoint;",
    )
    .await;
    assert_eq!(value(&engine, dead).await, "false");
    let sizes = "SELECT name, shards, rows, segments, live_bytes = segment_bytes, index_bytes > 0 \
                 FROM netabase.netabase.tables";
    let wanted = ["T x", "2", "100000", "2", "true", "true"].map(str::to_owned);
    assert_eq!(rows(&engine, sizes).await, [wanted.to_vec()]);
    let store = "SELECT checkpoints >= 5, compactions, snapshots FROM netabase.store";
    let wanted = ["true", "2", "0"].map(str::to_owned);
    assert_eq!(rows(&engine, store).await, [wanted.to_vec()]);
}

#[tokio::test]
async fn what_is_wrong_with_them_is_told() {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY); CHECKPOINT; COMPACT TABLE t",
    )
    .await;
    let wrong = [
        ("CHECKPOINT now", ErrorKind::InvalidInput, "now"),
        ("CHECKPOINT TABLE t", ErrorKind::InvalidInput, "TABLE"),
        ("COMPACT", ErrorKind::InvalidInput, "TABLE"),
        ("COMPACT t", ErrorKind::InvalidInput, "TABLE"),
        ("COMPACT TABLE t u", ErrorKind::InvalidInput, "u"),
        ("COMPACT TABLE", ErrorKind::InvalidInput, "expected a name"),
        ("COMPACT TABLE nowhere", ErrorKind::NotFound, "nowhere"),
        (
            "COMPACT TABLE netabase.tables",
            ErrorKind::InvalidInput,
            "read-only",
        ),
        ("\"CHECKPOINT\"", ErrorKind::InvalidInput, "CHECKPOINT"),
        ("EXPLAIN CHECKPOINT", ErrorKind::InvalidInput, "CHECKPOINT"),
    ];
    for (text, kind, part) in wrong {
        let (found, error) = failure(&engine, text).await;
        assert_eq!(found, kind, "{text}: {error}");
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[tokio::test]
async fn the_schema_of_the_store_is_read_only() {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE tables (k BIGINT PRIMARY KEY); INSERT INTO tables VALUES (1)",
    )
    .await;
    for text in [
        "CREATE TABLE netabase.tables (k BIGINT PRIMARY KEY)",
        "CREATE TABLE netabase.netabase.mine (k BIGINT PRIMARY KEY)",
        "DROP TABLE netabase.tables",
        "DROP TABLE IF EXISTS netabase.store",
        "INSERT INTO netabase.store VALUES (1, 2, 3, 4, 5, 6, 7, 8, 9)",
        "DELETE FROM netabase.tables",
        "COPY netabase.tables FROM 'x.csv'",
    ] {
        let (kind, error) = failure(&engine, text).await;
        assert_eq!(kind, ErrorKind::InvalidInput, "{text}");
        assert!(error.contains("read-only"), "{text}: {error}");
    }
    // A user's table of that name is another one.
    assert_eq!(value(&engine, "SELECT k FROM tables").await, "1");
    assert_eq!(
        value(&engine, "SELECT rows FROM netabase.tables").await,
        "1"
    );
    let (kind, _) = failure(&engine, "SELECT * FROM netabase.nothing").await;
    assert_eq!(kind, ErrorKind::NotFound);
}
