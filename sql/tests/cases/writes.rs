//! What becomes of a statement that has begun to write, and of rows that a program hands over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use async_trait::async_trait;
use netabase_sql::store::{Change, Error, ErrorKind, Settings, Store, TableDef};
use netabase_sql::{
    BulkSink, Cluster, Engine, EngineSettings, LocalCluster, ShardSource, TableWrite, WriteReceipt,
};
use tokio::sync::Semaphore;

use crate::common::{engine, failure, rows, run, value};

/// How long a condition may take to hold, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster whose writes wait until they are let through; each write is one permit.
#[derive(Debug)]
struct Gated {
    inner: LocalCluster,
    gate: Semaphore,
    begun: AtomicUsize,
    /// Whether more than one table or change takes effect together.
    together: bool,
    bulk: Arc<Bulk>,
}

/// Bulk loads, whose rows go nowhere.
#[derive(Debug, Default)]
struct Bulk {
    offered: AtomicBool,
    finishing: AtomicBool,
    let_through: AtomicBool,
}

struct Sink {
    bulk: Arc<Bulk>,
    rows: u64,
}

impl BulkSink for Sink {
    fn push(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        self.rows += rows.num_rows() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<WriteReceipt, Error> {
        self.bulk.finishing.store(true, Ordering::SeqCst);
        let began = Instant::now();
        while !self.bulk.let_through.load(Ordering::SeqCst) && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(WriteReceipt {
            rows: self.rows,
            ..WriteReceipt::default()
        })
    }
}

impl Gated {
    async fn pass(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
    }
}

#[async_trait]
impl Cluster for Gated {
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
        self.pass().await;
        self.inner.write(def, change, parts).await
    }

    async fn write_together(&self, writes: Vec<TableWrite>) -> Result<Vec<WriteReceipt>, Error> {
        self.pass().await;
        self.inner.write_together(writes).await
    }

    fn bulk_sink(&self, _def: &Arc<TableDef>) -> Result<Option<Box<dyn BulkSink>>, Error> {
        let bulk = Arc::clone(&self.bulk);
        let sink = Box::new(Sink { bulk, rows: 0 }) as Box<dyn BulkSink>;
        Ok(self.bulk.offered.load(Ordering::SeqCst).then_some(sink))
    }

    fn together_limit(&self, def: &TableDef) -> Option<usize> {
        self.together.then(|| self.inner.together_limit(def))?
    }

    fn plan_scan(
        &self,
        def: &Arc<TableDef>,
        target_partitions: usize,
    ) -> Result<Arc<dyn ShardSource>, Error> {
        self.inner.plan_scan(def, target_partitions)
    }
}

/// An engine over such a cluster, with the rows 1 to 10 in `t`.
async fn gated(together: bool) -> (Engine, Arc<Gated>) {
    let store = Store::open(Settings::default()).unwrap();
    let cluster = Arc::new(Gated {
        inner: LocalCluster::new(store.clone(), "me"),
        gate: Semaphore::new(1),
        begun: AtomicUsize::new(0),
        together,
        bulk: Arc::default(),
    });
    let shared = Arc::clone(&cluster) as Arc<dyn Cluster>;
    let engine = Engine::new(store, shared, EngineSettings::default(), Ok).unwrap();
    let script = "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT);
                  INSERT INTO t SELECT value, 0 FROM generate_series(1, 10)";
    run(&engine, script).await;
    cluster.begun.store(0, Ordering::SeqCst);
    (engine, cluster)
}

/// Inserts 11, changes the even ones, removes the odd ones.
const MERGE: &str = "MERGE INTO t USING generate_series(1, 11) AS s(k) ON t.k = s.k \
     WHEN MATCHED AND s.k % 2 = 1 THEN DELETE \
     WHEN MATCHED THEN UPDATE SET v = 1 \
     WHEN NOT MATCHED THEN INSERT VALUES (s.k, 1)";
const MERGED: &str = "SELECT count(*), sum(v), min(k), max(k) FROM t";

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Begins to write, and forgets about it.
async fn dropped_while_it_writes(engine: &Engine, cluster: &Gated, statement: &str) {
    let running = engine.sql(statement);
    tokio::select! {
        done = running => panic!("{statement} did not wait: {done:?}"),
        () = until("it writes", async || cluster.begun.load(Ordering::SeqCst) > 0) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_nobody_waits_for_writes_all_of_its_rows() {
    for together in [true, false] {
        let (engine, cluster) = gated(together).await;
        dropped_while_it_writes(&engine, &cluster, MERGE).await;
        let listed = "SELECT state FROM netabase.queries WHERE text LIKE 'MERGE%'";
        assert_eq!(value(&engine, listed).await, "writing");
        cluster.gate.add_permits(10);
        let whole = async || rows(&engine, MERGED).await == [["6", "6", "2", "11"]];
        until("all of it is written", whole).await;
        let begun = cluster.begun.load(Ordering::SeqCst);
        assert_eq!(begun, if together { 1 } else { 2 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_waits_for_what_is_written_and_lets_nothing_begin() {
    let (engine, cluster) = gated(false).await;
    dropped_while_it_writes(&engine, &cluster, MERGE).await;
    let late = engine.close_writes(Duration::from_millis(20)).await;
    let late = late.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Unavailable);
    assert!(late.to_string().contains("1 statements"), "{late}");
    cluster.gate.add_permits(10);
    engine.close_writes(PATIENCE).await.unwrap();
    assert_eq!(rows(&engine, MERGED).await, [["6", "6", "2", "11"]]);
    let (kind, text) = failure(&engine, "DELETE FROM t").await;
    assert_eq!(kind, ErrorKind::Unavailable, "{text}");
    assert_eq!(rows(&engine, MERGED).await, [["6", "6", "2", "11"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_writes_is_not_ended() {
    let (engine, cluster) = gated(true).await;
    run(&engine, "SET netabase.statement_timeout = '300ms'").await;
    let other = engine.clone();
    let writing = tokio::spawn(async move { run(&other, MERGE).await });
    until("it writes", async || {
        cluster.begun.load(Ordering::SeqCst) > 0
    })
    .await;
    let id = "SELECT id FROM netabase.queries WHERE state = 'writing'";
    let id: u64 = value(&engine, id).await.parse().unwrap();
    let refused = engine.cancel(id).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    tokio::time::sleep(Duration::from_millis(400)).await;
    cluster.gate.add_permits(10);
    writing.await.unwrap();
    assert_eq!(rows(&engine, MERGED).await, [["6", "6", "2", "11"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_load_is_not_ended_while_it_finishes() {
    let (engine, cluster) = gated(true).await;
    run(&engine, "CREATE TABLE b (k BIGINT PRIMARY KEY, s TEXT)").await;
    cluster.bulk.offered.store(true, Ordering::SeqCst);
    let insert = "INSERT INTO b SELECT value, repeat('x', 4000) FROM generate_series(1, 10000)";
    let other = engine.clone();
    let running =
        tokio::spawn(async move { other.sql(insert).await.map(|done| done.receipt().cloned()) });
    let finishing = async || cluster.bulk.finishing.load(Ordering::SeqCst);
    until("it finishes", finishing).await;
    let id = "SELECT id FROM netabase.queries WHERE state = 'writing'";
    let id: u64 = value(&engine, id).await.parse().unwrap();
    let refused = engine.cancel(id).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    cluster.bulk.let_through.store(true, Ordering::SeqCst);
    let receipt = running.await.unwrap().unwrap().unwrap();
    assert_eq!(receipt.rows, 10_000);
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn wide(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_program_are_cast_as_those_of_an_insert() {
    let engine = engine();
    run(&engine, "CREATE TABLE t (k INT PRIMARY KEY, v INT, s TEXT)").await;
    let refused = [
        (
            batch(vec![("k", wide(vec![3_000_000_000]))]),
            "column \"k\"",
        ),
        (
            batch(vec![
                ("k", wide(vec![1])),
                ("v", Arc::new(Float64Array::from(vec![1.5]))),
            ]),
            "DOUBLE values would be changed",
        ),
        (
            batch(vec![
                ("k", wide(vec![1])),
                ("v", Arc::new(StringArray::from(vec!["x"]))),
            ]),
            "column \"v\"",
        ),
    ];
    for (rows, part) in refused {
        let error = engine.insert_rows("t", rows).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "0");
    let good = batch(vec![("v", wide(vec![5, 6])), ("k", wide(vec![1, 2]))]);
    assert_eq!(engine.insert_rows("t", good).await.unwrap().rows, 2);
    assert_eq!(
        rows(&engine, "SELECT k, v, s IS NULL FROM t ORDER BY k").await,
        [["1", "5", "true"], ["2", "6", "true"]]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_program_are_those_of_the_table() {
    let engine = engine();
    let script = "CREATE TABLE t (a INT, b INT, v INT, PRIMARY KEY (a, b));
                  INSERT INTO t VALUES (1, 2, 3), (2, 1, 4)";
    run(&engine, script).await;
    let one = |value: i32| Arc::new(Int32Array::from(vec![value])) as ArrayRef;
    let wrong = [
        vec![("b", one(1)), ("a", one(2))],
        vec![("a", one(1)), ("b", one(2)), ("v", one(3))],
        vec![("a", one(1))],
        vec![("x", one(1)), ("y", one(2))],
    ];
    for keys in wrong {
        let error = engine.delete_rows("t", batch(keys)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("(a, b)"), "{error}");
    }
    let large = vec![("a", wide(vec![1 << 40])), ("b", wide(vec![2]))];
    let error = engine.delete_rows("t", batch(large)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "2");
    let keys = vec![("a", wide(vec![1])), ("b", wide(vec![2]))];
    engine.delete_rows("t", batch(keys)).await.unwrap();
    assert_eq!(rows(&engine, "SELECT a, b FROM t").await, [["2", "1"]]);
}
