//! Time and memory.

use std::time::{Duration, Instant};

use netabase_sql::EngineSettings;
use netabase_sql::store::ErrorKind;

use crate::common::{engine, engine_with, failure, run, value};

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
