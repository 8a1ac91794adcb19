//! What sessions see of each other's transactions.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use netabase_sql::Engine;
use netabase_sql::store::ErrorKind;

use crate::common::engine;

async fn sum(engine: &Engine) -> i64 {
    let text = "SELECT coalesce(sum(v), 0) FROM t";
    let rows = engine.sql(text).await.unwrap().collect().await.unwrap();
    let rows = rows.iter().find(|rows| rows.num_rows() > 0).unwrap();
    rows.column(0).as_primitive::<Int64Type>().value(0)
}

async fn run(engine: &Engine, text: &str) {
    engine.script(text).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn others_see_a_transaction_when_it_is_committed() {
    let first = engine();
    run(
        &first,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT); INSERT INTO t VALUES (1, 1)",
    )
    .await;
    let second = first.session();
    run(
        &second,
        "BEGIN; INSERT INTO t VALUES (2, 10); UPDATE t SET v = 100 WHERE k = 1",
    )
    .await;
    assert_eq!((sum(&first).await, sum(&second).await), (1, 110));
    // What others commit meanwhile is seen, and what the transaction wrote stays on top of it.
    run(&first, "INSERT INTO t VALUES (3, 1000), (1, 5)").await;
    assert_eq!((sum(&first).await, sum(&second).await), (1005, 1110));
    run(&second, "COMMIT").await;
    assert_eq!((sum(&first).await, sum(&second).await), (1110, 1110));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_transaction_stays_that_is_rolled_back_or_dropped() {
    let first = engine();
    run(
        &first,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT); INSERT INTO t VALUES (1, 1)",
    )
    .await;
    let second = first.session();
    run(&second, "BEGIN; DELETE FROM t; ROLLBACK").await;
    run(&second, "BEGIN; INSERT INTO t VALUES (2, 2)").await;
    drop(second);
    assert_eq!(sum(&first).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_one_entry_of_the_log() {
    let first = engine();
    run(
        &first,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT); CREATE TABLE u (k BIGINT PRIMARY KEY); \
         BEGIN; INSERT INTO t SELECT value, 1 FROM generate_series(1, 500); \
         INSERT INTO u SELECT value FROM generate_series(1, 500); DELETE FROM t WHERE k > 400",
    )
    .await;
    let versions = |table: &'static str| {
        let store = first.store().clone();
        let def = store.table(table).unwrap();
        let snapshot = store.snapshot(def.id).unwrap();
        let shards = snapshot.shards.into_iter();
        shards.map(|shard| shard.newest).max().unwrap()
    };
    run(&first, "COMMIT").await;
    assert_eq!(sum(&first).await, 400);
    assert_eq!(versions("t"), versions("u"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_altered_meanwhile_takes_nothing() {
    let first = engine();
    run(
        &first,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT); INSERT INTO t VALUES (1, 1)",
    )
    .await;
    let second = first.session();
    run(&second, "BEGIN; INSERT INTO t VALUES (2, 2)").await;
    run(&first, "ALTER TABLE t ADD COLUMN w INT").await;
    let error = second.sql("COMMIT").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!((sum(&first).await, sum(&second).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_prepared_statements_are_a_sessions_own() {
    let first = engine();
    let second = first.session();
    run(
        &first,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT); PREPARE p AS SELECT 1",
    )
    .await;
    run(&first, "SET datafusion.execution.batch_size = 17").await;
    assert!(second.sql("EXECUTE p").await.is_err());
    let size = |engine: &Engine| engine.context().state().config().batch_size();
    assert_eq!(size(&first), 17);
    assert_ne!(size(&second), 17);
}

/// How long many statements in one transaction take: `cargo test … -- --ignored --nocapture many`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; says nothing about right and wrong"]
async fn many_statements_in_a_transaction() {
    for statements in [2_500, 5_000, 10_000] {
        let engine = engine();
        run(
            &engine,
            "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT); BEGIN",
        )
        .await;
        let began = std::time::Instant::now();
        for key in 0..statements {
            run(&engine, &format!("INSERT INTO t VALUES ({key}, 1)")).await;
        }
        let inserted = began.elapsed();
        run(&engine, "COMMIT").await;
        println!(
            "{statements} inserts: {inserted:?}, and COMMIT: {:?}",
            began.elapsed()
        );
        assert_eq!(sum(&engine).await, statements);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_commit_cannot_take_is_told_by_the_statement() {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT, s TEXT); BEGIN; INSERT INTO t VALUES (0, 7, '')",
    )
    .await;
    let twenty_mib =
        "INSERT INTO t SELECT value, 0, repeat('x', 1000) FROM generate_series(1, 20000)";
    run(&engine, twenty_mib).await;
    // The same keys again: what is replaced takes no room.
    run(&engine, twenty_mib).await;
    run(&engine, twenty_mib).await;
    let more =
        "INSERT INTO t SELECT value, 0, repeat('x', 1000) FROM generate_series(20001, 40000)";
    let refused = engine.sql(more).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Capacity);
    assert!(
        refused.to_string().contains("COMMIT before it"),
        "{refused}"
    );
    // Nothing is lost, and there is room for less.
    run(&engine, "UPDATE t SET s = '' WHERE k > 10000").await;
    run(&engine, "INSERT INTO t VALUES (50000, 1, 'y'); COMMIT").await;
    assert_eq!(sum(&engine).await, 8);
    let all = engine.sql("SELECT count(*) FROM t").await.unwrap();
    let all = all.collect().await.unwrap();
    assert_eq!(
        all[0].column(0).as_primitive::<Int64Type>().value(0),
        20_002
    );
}
