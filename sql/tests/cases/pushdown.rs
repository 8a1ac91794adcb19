//! What the optimizer hands to the scan.

use netabase_sql::Engine;

use crate::common::{engine, rows, run};

async fn plan(engine: &Engine, query: &str) -> String {
    let rows = rows(engine, &format!("EXPLAIN {query}")).await;
    rows.into_iter()
        .find(|row| row[0] == "physical_plan")
        .unwrap()
        .remove(1)
}

async fn filled() -> Engine {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT, s TEXT);
         INSERT INTO t SELECT value, value % 7, 'text ' || value FROM generate_series(1, 30000);
         CREATE TABLE d (v BIGINT PRIMARY KEY, name TEXT);
         INSERT INTO d VALUES (3, 'three')",
    )
    .await;
    engine
}

#[tokio::test]
async fn filter_projection_and_limit_reach_the_scan() {
    let engine = filled().await;
    let plan = plan(&engine, "SELECT s FROM t WHERE v = 3 AND k > 10 LIMIT 5").await;
    assert!(!plan.contains("FilterExec"), "{plan}");
    assert!(!plan.contains("ProjectionExec"), "{plan}");
    assert!(
        plan.contains("ShardScan: table=t, shards=8, peers=1, projection=[s]"),
        "{plan}"
    );
    assert!(plan.contains("fetch=5"), "{plan}");
    assert!(
        plan.contains("v@1 = 3") && plan.contains("k@0 > 10"),
        "{plan}"
    );
}

#[tokio::test]
async fn a_limit_below_a_filter_stays_below() {
    let engine = filled().await;
    let query = "SELECT count(*) FROM (SELECT v FROM t LIMIT 50) WHERE v = 3";
    let count: u64 = rows(&engine, query).await[0][0].parse().unwrap();
    assert!(count < 50, "the filter was applied before the limit");
}

#[tokio::test]
async fn volatile_filters_stay_above() {
    let engine = filled().await;
    let plan = plan(&engine, "SELECT k FROM t WHERE random() < 2 AND v = 1").await;
    assert!(plan.contains("FilterExec: random()"), "{plan}");
}

#[tokio::test]
async fn joins_and_top_k_give_dynamic_filters() {
    let engine = filled().await;
    let broad = "SELECT a.s FROM t a JOIN t b ON a.k = b.k";
    assert!(
        !plan(&engine, broad).await.contains("DynamicFilter"),
        "where most rows match, telling costs more than it saves"
    );
    let narrow = "SELECT count(*), min(a.s) FROM t a JOIN (SELECT k FROM t WHERE s = 'text 77') b \
                  ON a.k = b.k";
    let join = plan(&engine, narrow).await;
    assert!(join.contains("DynamicFilter"), "{join}");
    assert_eq!(rows(&engine, narrow).await, [["1", "text 77"]]);
    let off = "SET datafusion.optimizer.enable_join_dynamic_filter_pushdown = false";
    engine.sql(off).await.unwrap();
    assert!(!plan(&engine, narrow).await.contains("DynamicFilter"));
    assert_eq!(rows(&engine, narrow).await, [["1", "text 77"]]);
    let top = plan(&engine, "SELECT k, s FROM t ORDER BY v DESC, k LIMIT 3").await;
    assert!(top.contains("DynamicFilter"), "{top}");
    let joined = rows(
        &engine,
        "SELECT count(*), min(t.k) FROM t JOIN d ON t.v = d.v",
    )
    .await;
    assert_eq!(joined, [["4286", "3"]]);
    let best = rows(&engine, "SELECT k FROM t ORDER BY v DESC, k LIMIT 3").await;
    assert_eq!(best, [["6"], ["13"], ["20"]]);
}

#[tokio::test]
async fn analyze_counts_the_rows_of_a_scan() {
    let engine = filled().await;
    let text = format!(
        "{:?}",
        rows(&engine, "EXPLAIN ANALYZE SELECT s FROM t WHERE v = 3").await
    );
    assert!(
        text.contains("ShardScan") && text.contains("output_rows=4.29 K"),
        "{text}"
    );
}
