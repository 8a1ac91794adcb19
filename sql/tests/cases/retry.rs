//! A query that fails before its first row is planned again; one that fails later is not.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, stream};
use netabase_sql::store::{Change, Error, ErrorKind, Settings, Store, TableDef};
use netabase_sql::{
    Cluster, Engine, EngineSettings, LocalCluster, ScanRequest, ShardRef, ShardSource,
    SourceStatistics, WriteReceipt, error_to_datafusion,
};

use crate::common::{failure, run, value};

/// A cluster whose first `failures` scans fail after `good` batches.
#[derive(Debug)]
struct Flaky {
    inner: LocalCluster,
    failures: AtomicUsize,
    good: usize,
    plans: AtomicUsize,
    asked: AtomicUsize,
    at_planning: bool,
}

#[derive(Debug)]
struct FlakySource {
    inner: Arc<dyn ShardSource>,
    good: usize,
}

fn lost() -> Error {
    Error::new(ErrorKind::Unavailable, "peer p1 is gone")
}

impl ShardSource for FlakySource {
    fn shards(&self) -> &[ShardRef] {
        self.inner.shards()
    }
    fn partitions(&self) -> usize {
        1
    }
    fn statistics(&self) -> SourceStatistics {
        SourceStatistics {
            exact: false,
            ..self.inner.statistics()
        }
    }
    fn open(
        &self,
        partition: usize,
        request: &ScanRequest,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let inner = self.inner.open(partition, request, context)?;
        let schema = inner.schema();
        let broken = stream::once(async { Err(error_to_datafusion(lost())) });
        let stream = inner.take(self.good).chain(broken);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[async_trait]
impl Cluster for Flaky {
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
        self.inner.write(def, change, parts).await
    }
    fn plan_scan(
        &self,
        def: &Arc<TableDef>,
        _target_partitions: usize,
    ) -> Result<Arc<dyn ShardSource>, Error> {
        self.plans.fetch_add(1, Ordering::SeqCst);
        let inner = self.inner.plan_scan(def, 1)?;
        let left = self.failures.load(Ordering::SeqCst);
        if left == 0 {
            return Ok(inner);
        }
        self.failures.store(left - 1, Ordering::SeqCst);
        if self.at_planning {
            return Err(lost());
        }
        Ok(Arc::new(FlakySource {
            inner,
            good: self.good,
        }))
    }
    async fn should_retry(&self, error: &DataFusionError, attempt: usize) -> bool {
        assert!(error.to_string().contains("p1"), "{error}");
        self.asked.fetch_add(1, Ordering::SeqCst);
        attempt <= 2
    }
}

async fn flaky(failures: usize, good: usize, at_planning: bool) -> (Engine, Arc<Flaky>) {
    let store = Store::open(Settings::default()).unwrap();
    let cluster = Arc::new(Flaky {
        inner: LocalCluster::new(store.clone(), "me"),
        failures: AtomicUsize::new(0),
        good,
        plans: AtomicUsize::new(0),
        asked: AtomicUsize::new(0),
        at_planning,
    });
    let settings = EngineSettings {
        batch_size: 100,
        ..EngineSettings::default()
    };
    let engine = Engine::new(store, Arc::clone(&cluster) as _, settings, Ok).unwrap();
    run(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY);
         INSERT INTO t SELECT value FROM generate_series(1, 1000)",
    )
    .await;
    cluster.plans.store(0, Ordering::SeqCst);
    cluster.failures.store(failures, Ordering::SeqCst);
    (engine, cluster)
}

#[tokio::test]
async fn a_failure_before_the_first_row_is_planned_again() {
    for at_planning in [false, true] {
        let (engine, cluster) = flaky(1, 0, at_planning).await;
        assert_eq!(value(&engine, "SELECT sum(k) FROM t").await, "500500");
        assert_eq!(cluster.asked.load(Ordering::SeqCst), 1);
        assert_eq!(cluster.plans.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn an_aggregate_that_fails_midway_has_given_no_row() {
    let (engine, cluster) = flaky(2, 3, false).await;
    assert_eq!(value(&engine, "SELECT sum(k) FROM t").await, "500500");
    assert_eq!(cluster.plans.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_cluster_says_when_to_stop() {
    let (engine, cluster) = flaky(9, 0, false).await;
    let (kind, text) = failure(&engine, "SELECT sum(k) FROM t").await;
    assert_eq!(
        (kind, text.as_str()),
        (ErrorKind::Unavailable, "peer p1 is gone")
    );
    assert_eq!(cluster.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn after_the_first_row_the_error_is_the_answer() {
    let (engine, cluster) = flaky(1, 2, false).await;
    let (kind, text) = failure(&engine, "SELECT k FROM t").await;
    assert_eq!(
        (kind, text.as_str()),
        (ErrorKind::Unavailable, "peer p1 is gone")
    );
    assert_eq!(cluster.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_insert_reads_again_and_writes_once() {
    let (engine, _cluster) = flaky(1, 0, false).await;
    run(&engine, "CREATE TABLE u (k BIGINT PRIMARY KEY)").await;
    run(&engine, "INSERT INTO u SELECT k + 1 FROM t").await;
    assert_eq!(value(&engine, "SELECT count(*) FROM u").await, "1000");
}
