//! Time and memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use netabase_sql::store::{ErrorKind, Settings, Store};
use netabase_sql::{Engine, EngineSettings, LocalCluster};

use crate::common::{engine, engine_with, failure, run, text_of, value};

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_ends_when_its_time_is_up() {
    let settings = EngineSettings {
        statement_timeout: Duration::from_millis(300),
        target_partitions: 2,
        ..EngineSettings::default()
    };
    let engine = engine_with(settings);
    let started = Instant::now();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                   SELECT count(*) FROM n";
    let (kind, text) = failure(&engine, endless).await;
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(text.contains("statement_timeout"), "{text}");
    // Rows that come one after the other are cut off too.
    let slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT * FROM n";
    let (kind, _) = failure(&engine, slow).await;
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(value(&engine, "SELECT 1").await, "1");
}

#[tokio::test]
async fn an_insert_beyond_its_memory_writes_nothing() {
    let engine = engine_with(EngineSettings {
        max_insert_bytes: 100_000,
        ..EngineSettings::default()
    });
    run(&engine, "CREATE TABLE t (k BIGINT PRIMARY KEY)").await;
    let insert = "INSERT INTO t SELECT value FROM generate_series(1, 100000)";
    let (kind, text) = failure(&engine, insert).await;
    assert_eq!(kind, ErrorKind::Capacity);
    assert!(text.contains("max_insert_bytes"), "{text}");
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sort_of_wide_rows_goes_on_by_way_of_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Settings {
        data_dir: Some(folder.path().to_owned()),
        ..Settings::default()
    })
    .unwrap();
    let cluster = Arc::new(LocalCluster::new(store.clone(), "me"));
    let settings = EngineSettings {
        target_partitions: 1,
        ..EngineSettings::default()
    };
    let engine = Engine::new(store, cluster, settings, Ok).unwrap();
    // A decoded column of a group of rows, counted twice as a sort does, is more than it may have.
    let script =
        "CREATE TABLE wide (k BIGINT PRIMARY KEY, place BIGINT, text TEXT) WITH (shards = 1);
         INSERT INTO wide SELECT value, value * 7919 % 80000, repeat(value::TEXT || '.', 100)
         FROM generate_series(0, 79999);
         SET netabase.memory_limit = '64MB'";
    run(&engine, script).await;
    engine.store().flush_to_segments().unwrap();
    let query = "SELECT place, k, text FROM wide ORDER BY place";
    let output = engine.sql(query).await.unwrap();
    let plan = output.plan().unwrap();
    let mut stream = output.stream();
    let mut next = 0;
    while let Some(batch) = stream.next().await {
        for row in text_of(&[batch.unwrap()]) {
            let key: u64 = row[1].parse().unwrap();
            assert_eq!(row[0], next.to_string());
            assert_eq!(key * 7919 % 80_000, next);
            assert_eq!(row[2], format!("{key}.").repeat(100));
            next += 1;
        }
    }
    assert_eq!(next, 80_000);
    assert!(spills(plan.as_ref()) > 0);
}

/// How often the operators of a plan have spilled.
fn spills(plan: &dyn ExecutionPlan) -> usize {
    let own = plan.metrics().and_then(|metrics| metrics.spill_count());
    let below = plan.children().into_iter();
    own.unwrap_or(0) + below.map(|child| spills(child.as_ref())).sum::<usize>()
}

#[test]
fn settings_out_of_range_are_named() {
    let wrong = EngineSettings {
        batch_size: 0,
        ..EngineSettings::default()
    };
    assert!(
        wrong
            .validate()
            .unwrap_err()
            .to_string()
            .contains("batch_size")
    );
    let wrong = EngineSettings {
        memory_limit: 1,
        ..EngineSettings::default()
    };
    assert!(
        wrong
            .validate()
            .unwrap_err()
            .to_string()
            .contains("memory_limit")
    );
    let wrong = EngineSettings {
        statement_timeout: Duration::ZERO,
        ..EngineSettings::default()
    };
    assert!(
        wrong
            .validate()
            .unwrap_err()
            .to_string()
            .contains("statement_timeout")
    );
}

#[tokio::test]
async fn one_statement_and_scripts() {
    let engine = engine();
    let (kind, text) = failure(&engine, "SELECT 1; SELECT 2").await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(text.contains("run_script"), "{text}");
    assert!(failure(&engine, " ; ").await.1.contains("no statement"));
    let outputs = engine
        .script(
            "CREATE TABLE t (k INT PRIMARY KEY); INSERT INTO t VALUES (1), (2); SELECT * FROM t;",
        )
        .await
        .unwrap();
    assert_eq!(outputs.len(), 3);
    assert_eq!(outputs[1].receipt().unwrap().rows, 2);
    let error = engine
        .script("INSERT INTO t VALUES (3); SELECT nothing")
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("statement 2: "), "{error}");
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "3");
}
