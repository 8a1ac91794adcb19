//! Statements are ended: by CANCEL QUERY, by the engine, by dropping their output, by the clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use futures::StreamExt;
use netabase_sql::Engine;
use netabase_sql::store::ErrorKind;
use tempfile::TempDir;

use crate::common::{engine, engine_in_folder, failure, rows, run, value};

/// How long a condition may take to hold, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Queries that would run for hours, each by another operator; `t` has 3000 rows.
const ENDLESS: [(&str, &str); 10] = [
    (
        "recursion",
        "WITH RECURSIVE n(i) AS (SELECT k FROM t WHERE k = 1 UNION ALL SELECT i + 1 FROM n) \
         SELECT count(*) FROM n",
    ),
    (
        "cross join",
        "SELECT count(*) FROM t a, t b, t c, t d WHERE a.k + b.k + c.k + d.k < 0",
    ),
    (
        "join with an inequality",
        "SELECT count(*) FROM t a JOIN t b ON a.k < b.k JOIN t c ON c.k < b.k JOIN t d ON d.k < a.k",
    ),
    (
        "sort",
        "SELECT s.value FROM generate_series(1, 100000000000) s, t WHERE t.k = 1 \
         ORDER BY s.value % 7919, s.value DESC",
    ),
    (
        "aggregate",
        "SELECT s.value, count(*) FROM generate_series(1, 100000000000) s, t WHERE t.k = 1 \
         GROUP BY s.value",
    ),
    (
        "distinct",
        "SELECT count(DISTINCT s.value) FROM generate_series(1, 100000000000) s, t WHERE t.k = 1",
    ),
    (
        "window",
        "SELECT row_number() OVER (ORDER BY s.value % 10) FROM \
         generate_series(1, 100000000000) s, t WHERE t.k = 1",
    ),
    (
        "window that waits",
        "SELECT count(*) FROM (SELECT lag(s.value) OVER (PARTITION BY t.v), \
         lead(s.value, 1000000000) OVER (PARTITION BY t.v) FROM \
         generate_series(1, 100000000000) s, t WHERE t.k = 1) w",
    ),
    (
        "hash join",
        "SELECT count(*) FROM (SELECT s.value FROM generate_series(1, 100000000000) s, t \
         WHERE t.k = 1) a JOIN (SELECT s.value FROM generate_series(1, 100000000000) s, t \
         WHERE t.k = 2) b ON a.value = b.value",
    ),
    (
        "a slow function",
        "SELECT count(*) FROM t a, t b, t c, t d WHERE slow(a.k + d.k) < 0",
    ),
];

/// An engine with the table `t` and the function `slow`, which sleeps.
async fn prepared() -> (Engine, TempDir) {
    let (engine, dir) = engine_in_folder(2);
    run(
        &engine,
        "SET netabase.memory_limit = '4GB';
         CREATE TABLE t (k BIGINT PRIMARY KEY, v TEXT);
         INSERT INTO t SELECT value, 'v' || value FROM generate_series(1, 3000)",
    )
    .await;
    engine.store().flush_to_segments().unwrap();
    let slow = create_udf(
        "slow",
        vec![DataType::Int64],
        DataType::Int64,
        Volatility::Volatile,
        Arc::new(|values: &[ColumnarValue]| {
            std::thread::sleep(Duration::from_millis(20));
            Ok(values[0].clone())
        }),
    );
    engine.context().register_udf(slow);
    (engine, dir)
}

/// Bytes in memory and on disk, and snapshots, that queries hold.
fn held(engine: &Engine) -> (usize, u64, u64) {
    let runtime = engine.context().runtime_env();
    (
        runtime.memory_pool.reserved(),
        runtime.disk_manager.used_disk_space(),
        engine.store().stats().snapshots,
    )
}

/// Waits until nothing is held any more; how long that took.
async fn freed(engine: &Engine) -> Duration {
    let began = Instant::now();
    while held(engine) != (0, 0, 0) {
        assert!(began.elapsed() < PATIENCE, "still held: {:?}", held(engine));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    began.elapsed()
}

/// Waits until the statement that begins like this is listed; its id.
async fn listed(engine: &Engine, text: &str) -> u64 {
    let began = Instant::now();
    let query = format!(
        "SELECT id FROM netabase.queries WHERE state <> 'starting' AND starts_with(text, '{}')",
        text.replace('\'', "''")
    );
    loop {
        if let Some(row) = rows(engine, &query).await.first() {
            return row[0].parse().unwrap();
        }
        assert!(began.elapsed() < PATIENCE, "{text} is not listed");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Runs a query elsewhere, and cancels it after a while; how long it took until all was freed.
async fn cancel_while_running(engine: &Engine, query: &str, busy: Duration) -> Duration {
    let (other, text) = (engine.clone(), query.to_owned());
    let running = tokio::spawn(async move { failure(&other, &text).await });
    let id = listed(engine, query).await;
    tokio::time::sleep(busy).await;
    if running.is_finished() {
        panic!("{query} has ended: {:?}", running.await);
    }
    assert!(held(engine).2 > 0, "{query} has ended");
    let cancelled = Instant::now();
    run(engine, &format!("CANCEL QUERY {id}")).await;
    freed(engine).await;
    let took = cancelled.elapsed();
    let (kind, text) = running.await.unwrap();
    assert_eq!(kind, ErrorKind::Unavailable, "{query}: {text}");
    assert_eq!(text, format!("statement {id} was cancelled"));
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_query_frees_what_it_holds() {
    let (engine, _dir) = prepared().await;
    for (operator, query) in ENDLESS {
        let took = cancel_while_running(&engine, query, Duration::from_millis(30)).await;
        println!("{operator}: freed after {took:?}");
    }
    let counted = "SELECT value FROM netabase.metrics WHERE name = 'cancelled_statements'";
    assert_eq!(value(&engine, counted).await, ENDLESS.len().to_string());
    // Nothing of it is left, and others go on.
    assert_eq!(
        value(&engine, "SELECT count(*) FROM netabase.queries").await,
        "1"
    );
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "3000");
}

/// Prints how long each operator takes: `cargo test --release … -- --ignored --nocapture latency`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; says nothing about right and wrong"]
async fn latency_of_cancelling() {
    let (engine, _dir) = prepared().await;
    for (operator, query) in ENDLESS {
        let mut times = Vec::new();
        for busy in [50, 200, 500] {
            times.push(cancel_while_running(&engine, query, Duration::from_millis(busy)).await);
        }
        println!("{operator}: {times:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_listed_until_its_last_row_was_read() {
    let (engine, _dir) = prepared().await;
    run(&engine, "SELECT 1; SELECT 2").await;
    let query = "SELECT a.k FROM t a, t b";
    let mut stream = engine.sql(query).await.unwrap().stream();
    let shown = "SELECT text, state, rows > 0, elapsed_ms >= 0, started <= now() \
                 FROM netabase.queries WHERE text LIKE 'SELECT a.k%'";
    assert_eq!(
        rows(&engine, shown).await,
        [[query, "reading", "false", "true", "true"]
            .map(str::to_owned)
            .to_vec()]
    );
    let first = stream.next().await.unwrap().unwrap();
    assert!(first.num_rows() > 0);
    let read = "SELECT rows FROM netabase.queries WHERE text LIKE 'SELECT a.k%'";
    assert_eq!(value(&engine, read).await, first.num_rows().to_string());
    let mut count = first.num_rows();
    while let Some(batch) = stream.next().await {
        count += batch.unwrap().num_rows();
    }
    assert_eq!(count, 9_000_000);
    drop(stream);
    assert!(rows(&engine, read).await.is_empty());
    freed(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_is_freed_when_it_is_cancelled() {
    let (engine, _dir) = prepared().await;
    let query = "SELECT a.k FROM t a, t b, t c";
    let mut stream = engine.sql(query).await.unwrap().stream();
    let id = listed(&engine, query).await;
    assert_ne!(held(&engine), (0, 0, 0));
    engine.cancel(id).unwrap();
    // Without a single look at the stream.
    freed(&engine).await;
    let state = format!("SELECT state FROM netabase.queries WHERE id = {id}");
    assert_eq!(value(&engine, &state).await, "ended");
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("was cancelled"), "{error}");
    assert!(stream.next().await.is_none());
    assert_eq!(engine.cancel(id).unwrap_err().kind(), ErrorKind::NotFound);
    drop(stream);
    assert!(rows(&engine, &state).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_is_freed_at_its_deadline() {
    let (engine, _dir) = prepared().await;
    run(&engine, "SET statement_timeout = '300ms'").await;
    let output = engine.sql("SELECT a.k FROM t a, t b, t c").await.unwrap();
    freed(&engine).await;
    let error = output.collect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("longer than 300ms"), "{error}");
    let counted = "SELECT value FROM netabase.metrics WHERE name = 'timed_out_statements'";
    assert_eq!(value(&engine, counted).await, "1");
    // Without a limit it goes on.
    run(&engine, "SET statement_timeout = 0").await;
    let output = engine.sql("SELECT a.k FROM t a, t b").await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let batches = output.collect().await.unwrap();
    assert_eq!(
        batches.iter().map(|batch| batch.num_rows()).sum::<usize>(),
        9_000_000
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operator_ends_at_its_deadline() {
    let (engine, _dir) = prepared().await;
    run(&engine, "SET netabase.statement_timeout = '200ms'").await;
    for (operator, query) in ENDLESS {
        let began = Instant::now();
        let (kind, text) = failure(&engine, query).await;
        let failed = began.elapsed();
        let freed = freed(&engine).await;
        println!("{operator}: failed after {failed:?}, freed {freed:?} later");
        assert_eq!(kind, ErrorKind::Unavailable, "{operator}: {text}");
        assert!(text.contains("longer than 200ms"), "{operator}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_answer_frees_what_it_holds() {
    let (engine, _dir) = prepared().await;
    run(&engine, "SET netabase.memory_limit = '64MB'").await;
    let sorted =
        "SELECT s.value, t.k FROM generate_series(1, 1000) s, t ORDER BY s.value % 7919, t.k";
    let output = engine.sql(sorted).await.unwrap();
    let memory = "SELECT memory_bytes > 0 FROM netabase.queries WHERE text LIKE '%7919%' \
                  AND id < (SELECT max(id) FROM netabase.queries)";
    assert_eq!(value(&engine, memory).await, "true");
    let spilled = "SELECT value > 0 FROM netabase.metrics WHERE name = 'query_spill_bytes'";
    assert_eq!(value(&engine, spilled).await, "true");
    drop(output);
    freed(&engine).await;
    // Before the first row, too.
    let waiting = engine.sql(ENDLESS[0].1);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), waiting)
            .await
            .is_err()
    );
    freed(&engine).await;
    assert_eq!(
        value(&engine, "SELECT count(*) FROM netabase.queries").await,
        "1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_insert_writes_nothing() {
    let (engine, _dir) = engine_in_folder(2);
    run(&engine, "CREATE TABLE t (k BIGINT PRIMARY KEY)").await;
    let insert = "INSERT INTO t SELECT value FROM generate_series(1, 100000000000)";
    let other = engine.clone();
    let running = tokio::spawn(async move { failure(&other, insert).await });
    let id = listed(&engine, insert).await;
    // Long enough for some of it to be on its way to segments.
    tokio::time::sleep(Duration::from_millis(500)).await;
    engine.cancel(id).unwrap();
    let (kind, text) = running.await.unwrap();
    assert_eq!(kind, ErrorKind::Unavailable, "{text}");
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "0");
    freed(&engine).await;
}

#[tokio::test]
async fn what_is_wrong_with_cancelling_is_told() {
    let engine = engine();
    for (text, kind, part) in [
        ("CANCEL QUERY 77", ErrorKind::NotFound, "netabase.queries"),
        ("CANCEL 7", ErrorKind::InvalidInput, "QUERY"),
        ("CANCEL QUERY", ErrorKind::InvalidInput, "syntax error"),
        ("CANCEL QUERY x", ErrorKind::InvalidInput, "x"),
        ("CANCEL QUERY 1 2", ErrorKind::InvalidInput, "2"),
    ] {
        let (found, error) = failure(&engine, text).await;
        assert_eq!(found, kind, "{text}: {error}");
        assert!(error.contains(part), "{text}: {error}");
    }
}
