//! Counts how often a statement was planned again.
//!
//! Purpose: the engine asks its cluster whether a failed query may be retried; this wrapper passes
//! every call on and counts the retries in the statement that asked.
//! Invariant: a count belongs to one statement, however many run at the same time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use netabase_sql::{
    BulkSink, Cluster, ShardRef, ShardSource, StartedWrite, TableWrite, WriteReceipt,
};
use netabase_store::{Change, Error, TableDef};

tokio::task_local! {
    static RETRIES: Arc<AtomicUsize>;
}

/// Runs a statement and says how often it was planned again.
pub(crate) async fn count_retries<F: Future>(statement: F) -> (F::Output, usize) {
    let retries = Arc::new(AtomicUsize::new(0));
    let result = RETRIES.scope(Arc::clone(&retries), statement).await;
    (result, retries.load(Ordering::Relaxed))
}

/// A cluster whose retries are counted.
#[derive(Debug)]
pub(crate) struct WatchedCluster(pub(crate) Arc<dyn Cluster>);

#[async_trait::async_trait]
impl Cluster for WatchedCluster {
    fn me(&self) -> &str {
        self.0.me()
    }

    async fn create_table(&self, def: TableDef) -> Result<Arc<TableDef>, Error> {
        self.0.create_table(def).await
    }

    async fn alter_table(&self, def: TableDef) -> Result<Arc<TableDef>, Error> {
        self.0.alter_table(def).await
    }

    async fn drop_table(&self, def: Arc<TableDef>) -> Result<(), Error> {
        self.0.drop_table(def).await
    }

    async fn write(
        &self,
        def: Arc<TableDef>,
        change: Change,
        parts: Vec<(u32, RecordBatch)>,
    ) -> Result<WriteReceipt, Error> {
        self.0.write(def, change, parts).await
    }

    async fn write_together(&self, writes: Vec<TableWrite>) -> Result<Vec<WriteReceipt>, Error> {
        self.0.write_together(writes).await
    }

    fn together_limit(&self, def: &TableDef) -> Option<usize> {
        self.0.together_limit(def)
    }

    fn begin_write(
        &self,
        def: &Arc<TableDef>,
        change: Change,
        parts: &[(u32, RecordBatch)],
    ) -> Result<Option<StartedWrite>, Error> {
        self.0.begin_write(def, change, parts)
    }

    fn read_here(&self, def: &Arc<TableDef>, shard: u32) -> Result<Option<Vec<ShardRef>>, Error> {
        self.0.read_here(def, shard)
    }

    fn bulk_sink(&self, def: &Arc<TableDef>) -> Result<Option<Box<dyn BulkSink>>, Error> {
        self.0.bulk_sink(def)
    }

    fn plan_scan(
        &self,
        def: &Arc<TableDef>,
        target_partitions: usize,
    ) -> Result<Arc<dyn ShardSource>, Error> {
        self.0.plan_scan(def, target_partitions)
    }

    async fn should_retry(&self, error: &DataFusionError, attempt: usize) -> bool {
        let again = self.0.should_retry(error, attempt).await;
        if again {
            // Outside a statement of this crate there is nobody to tell.
            let _ = RETRIES.try_with(|retries| retries.fetch_add(1, Ordering::Relaxed));
        }
        again
    }
}
