//! Counts that the optimizer answers from statistics are exact.

use datafusion::common::stats::Precision;
use netabase_sql::ShardScan;

use crate::common::{engine, rows, run, value};

async fn filled() -> netabase_sql::Engine {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT) WITH (shards = 4);
         INSERT INTO t SELECT value, value % 10 FROM generate_series(1, 20000);
         DELETE FROM t WHERE k % 3 = 0;
         INSERT INTO t SELECT value, 11 FROM generate_series(1, 1000)",
    )
    .await;
    engine
}

#[tokio::test]
async fn count_after_deletes_and_upserts_is_right() {
    let engine = filled().await;
    // 20000 - 6666 deleted + 333 of them written again.
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "13667");
    assert_eq!(
        value(&engine, "SELECT count(*) FROM t WHERE v = 11").await,
        "1000"
    );
    assert_eq!(value(&engine, "SELECT count(k) FROM t").await, "13667");
    assert_eq!(
        value(&engine, "SELECT count(*) FROM (SELECT k FROM t LIMIT 100)").await,
        "100"
    );
    let all = rows(&engine, "SELECT k FROM t").await;
    assert_eq!(all.len(), 13667);
}

#[tokio::test]
async fn a_count_without_filter_reads_nothing_and_still_names_its_shards() {
    let engine = filled().await;
    let output = engine.sql("SELECT count(*) FROM t").await.unwrap();
    let plan = datafusion::physical_plan::displayable(output.plan().unwrap().as_ref())
        .indent(false)
        .to_string();
    assert!(!plan.contains("ShardScan"), "{plan}");
    assert_eq!(output.scans().len(), 1);
    assert_eq!(output.scans()[0].table, "t");
    assert_eq!(output.scans()[0].shards.len(), 4);
    let rows: u64 = output.scans()[0]
        .shards
        .iter()
        .map(|shard| shard.rows)
        .sum();
    assert_eq!(rows, 13667);
}

#[tokio::test]
async fn only_a_whole_scan_has_an_exact_count() {
    let engine = filled().await;
    for (text, exact) in [
        ("SELECT k FROM t", true),
        ("SELECT k FROM t WHERE v = 1", false),
        ("SELECT k FROM t LIMIT 5", false),
    ] {
        let output = engine.sql(text).await.unwrap();
        let mut node = output.plan().unwrap();
        while ShardScan::of(&node).is_none() {
            let child = std::sync::Arc::clone(node.children()[0]);
            node = child;
        }
        let context = datafusion::physical_plan::StatisticsContext::new();
        let args = datafusion::physical_plan::StatisticsArgs::new();
        let statistics = context.compute(node.as_ref(), &args).unwrap();
        assert_eq!(
            matches!(statistics.num_rows, Precision::Exact(_)),
            exact,
            "{text}"
        );
    }
}
