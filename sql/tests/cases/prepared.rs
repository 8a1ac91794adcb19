//! Prepared statements: what their parameters take, and tables that change between two runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use netabase_sql::datafusion::common::ScalarValue;
use netabase_sql::store::{Change, Error, ErrorKind, Settings, Store, TableDef};
use netabase_sql::{
    Cluster, Engine, EngineSettings, LocalCluster, Prepared, ShardSource, WriteReceipt,
};
use tokio::sync::Semaphore;

use crate::common::{engine, rows, run, text_of, value};

/// The statement twice: by the point path where it takes it, and by the planner.
async fn both(engine: &Engine, text: &str) -> [Prepared; 2] {
    let planner = engine.without_point_path();
    [
        engine.prepare(text).await.unwrap(),
        planner.prepare(text).await.unwrap(),
    ]
}

fn float(value: f64) -> ScalarValue {
    ScalarValue::Float64(Some(value))
}

async fn refused(statement: &Prepared, values: &[ScalarValue]) {
    let error = statement.run(values).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("without loss"), "{error}");
    assert!(statement.point(values).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_would_be_rounded_is_refused() {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (price DECIMAL(10, 2) PRIMARY KEY, r REAL, at TIMESTAMP(0), day DATE);
         INSERT INTO t VALUES (1.24, 1.5, '2020-01-01 10:00:00', '2020-01-01')",
    )
    .await;
    for delete in both(&engine, "DELETE FROM t WHERE price = $1").await {
        refused(&delete, &[float(1.239)]).await;
    }
    let insert = "INSERT INTO t VALUES ($1, $2, $3, $4)";
    for (price, insert) in [2.25, 3.25].into_iter().zip(both(&engine, insert).await) {
        let good = [
            float(price),
            float(0.5),
            "3000-01-01 10:00:00".into(),
            "2020-01-02".into(),
        ];
        for (place, bad) in [
            (0, float(1.239)),
            (1, float(1e300)),
            (1, float(0.1)),
            (2, "2020-01-01 10:00:00.5".into()),
            (3, "2020-01-01 10:00:00".into()),
        ] {
            let mut values = good.clone();
            values[place] = bad;
            refused(&insert, &values).await;
        }
        insert.run(&good).await.unwrap();
    }
    let all = rows(&engine, "SELECT price, r, at FROM t ORDER BY price").await;
    let far = "3000-01-01T10:00:00";
    let expected = [
        ["1.24", "1.5", "2020-01-01T10:00:00"],
        ["2.25", "0.5", far],
        ["3.25", "0.5", far],
    ];
    assert_eq!(all, expected);
    for delete in both(&engine, "DELETE FROM t WHERE price = $1").await {
        delete.run(&[float(1.24)]).await.unwrap();
    }
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn types_of_parameters_follow_the_tables() {
    let engine = engine();
    let select = "SELECT v FROM t WHERE id = $1";
    let over_view = "SELECT v FROM s WHERE id = $1";
    let made = |key: &str| {
        format!(
            "CREATE TABLE t (id {key} PRIMARY KEY, v TEXT);
             CREATE OR REPLACE VIEW s AS SELECT id, v FROM t"
        )
    };
    run(&engine, &made("INT")).await;
    let mut statements: Vec<Prepared> = both(&engine, select).await.into();
    statements.extend(both(&engine, over_view).await);
    for (key, literal, bound) in [
        ("DECIMAL(10, 2)", "1.24", float(1.24)),
        ("TEXT", "'abc'", ScalarValue::from("abc")),
        (
            "BIGINT",
            "5000000000",
            ScalarValue::Int64(Some(5_000_000_000)),
        ),
    ] {
        run(&engine, "DROP TABLE t").await;
        run(&engine, &made(key)).await;
        run(
            &engine,
            &format!("INSERT INTO t VALUES ({literal}, 'found')"),
        )
        .await;
        for statement in &statements {
            let ran = statement.run(std::slice::from_ref(&bound)).await;
            let output = ran.unwrap_or_else(|error| panic!("{key}: {error}"));
            let found = text_of(&output.collect().await.unwrap());
            assert_eq!(found, [["found"]], "{key}: {}", statement.text());
        }
        let by_point = statements[0].point(&[bound]).unwrap();
        assert!(by_point.is_some(), "{key}");
    }
}

async fn metric(engine: &Engine, name: &str) -> u64 {
    let ask = format!("SELECT value FROM netabase.metrics WHERE name = '{name}'");
    value(engine, &ask).await.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_about_one_key_are_counted() {
    let engine = engine();
    run(&engine, "CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT)").await;
    // Asking counts as well.
    let before = metric(&engine, "statements").await;
    let (returned, written) = (
        metric(&engine, "rows_returned").await,
        metric(&engine, "rows_written").await,
    );
    let asked = 2;
    for (text, by_point) in [
        ("INSERT INTO t VALUES (1, 'a'), (2, 'b')", true),
        ("SELECT v FROM t WHERE id = 1", true),
        ("SELECT v FROM t WHERE id = 3", true),
        ("UPDATE t SET v = 'c' WHERE id = 1", true),
        ("DELETE FROM t WHERE id = 2", true),
        ("SELECT v FROM t WHERE id + 0 = 1", false),
    ] {
        assert_eq!(engine.point(text).is_some(), by_point, "{text}");
        engine.sql(text).await.unwrap().collect().await.unwrap();
    }
    let key = engine
        .prepare("SELECT v FROM t WHERE id = $1")
        .await
        .unwrap();
    let call = key.point(&[1_i64.into()]).unwrap().unwrap();
    assert!(call.run(true).await.unwrap().is_some());
    let now = metric(&engine, "statements").await;
    assert_eq!(now - before, asked + 7 + 1);
    // One of each look-up that finds something, and one of each question about metrics.
    let returned = metric(&engine, "rows_returned").await - returned;
    assert_eq!(returned, 3 + 3);
    assert_eq!(metric(&engine, "rows_written").await - written, 2 + 1 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_ends_where_the_type_of_its_sides_ends() {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (id INT PRIMARY KEY, small INT, big BIGINT);
         INSERT INTO t VALUES (1, 2147483647, 0)",
    )
    .await;
    for update in both(&engine, "UPDATE t SET big = small + $1 WHERE id = 1").await {
        let error = update
            .run(&[ScalarValue::Int32(Some(1))])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        update.run(&[ScalarValue::Int32(Some(-1))]).await.unwrap();
    }
    assert_eq!(value(&engine, "SELECT big FROM t").await, "2147483646");
}

/// A cluster of which nothing is here: a write waits until it may go on, and fails as it is told.
#[derive(Debug)]
struct Away {
    inner: LocalCluster,
    goes_on: Semaphore,
    panics: AtomicBool,
}

#[async_trait]
impl Cluster for Away {
    fn me(&self) -> &str {
        self.inner.me()
    }
    async fn create_table(&self, def: TableDef) -> Result<Arc<TableDef>, Error> {
        self.inner.create_table(def).await
    }
    async fn alter_table(&self, def: TableDef) -> Result<Arc<TableDef>, Error> {
        self.inner.alter_table(def).await
    }
    async fn drop_table(&self, def: Arc<TableDef>) -> Result<(), Error> {
        self.inner.drop_table(def).await
    }
    async fn write(
        &self,
        def: Arc<TableDef>,
        change: Change,
        parts: Vec<(u32, RecordBatch)>,
    ) -> Result<WriteReceipt, Error> {
        self.goes_on.acquire().await.unwrap().forget();
        assert!(!self.panics.load(Ordering::SeqCst), "on purpose");
        self.inner.write(def, change, parts).await
    }
    fn plan_scan(
        &self,
        def: &Arc<TableDef>,
        partitions: usize,
    ) -> Result<Arc<dyn ShardSource>, Error> {
        self.inner.plan_scan(def, partitions)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_goes_to_others_is_seen() {
    let store = Store::open(Settings::default()).unwrap();
    let cluster = Arc::new(Away {
        inner: LocalCluster::new(store.clone(), "me"),
        goes_on: Semaphore::new(0),
        panics: AtomicBool::new(false),
    });
    let engine = Engine::new(
        store,
        Arc::clone(&cluster) as _,
        EngineSettings::default(),
        Ok,
    );
    let engine = engine.unwrap();
    run(&engine, "CREATE TABLE t (id BIGINT PRIMARY KEY)").await;
    let text = "INSERT INTO t VALUES (1)";
    assert!(engine.point(text).is_some());
    let writer = engine.clone();
    let write = tokio::spawn(async move { writer.sql(text).await.map(|_| ()) });
    let ask = format!("SELECT id, state FROM netabase.queries WHERE text = '{text}'");
    let listed = async {
        loop {
            if let Some(row) = rows(&engine, &ask).await.pop() {
                return row;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let listed = tokio::time::timeout(Duration::from_secs(60), listed).await;
    let row = listed.unwrap();
    assert_eq!(row[1], "writing");
    let refused = engine.cancel(row[0].parse().unwrap()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    cluster.goes_on.add_permits(1);
    write.await.unwrap().unwrap();
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "1");
    // And a panic on the way is an error.
    cluster.panics.store(true, Ordering::SeqCst);
    cluster.goes_on.add_permits(2);
    let call = engine.point("INSERT INTO t VALUES (2)").unwrap();
    let error = call.run(false).await.unwrap_err();
    assert!(error.to_string().contains("on purpose"), "{error}");
    assert!(rows(&engine, &ask).await.is_empty());
}
