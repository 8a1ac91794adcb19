//! Rows that come in the order of their key: the same answers, and fewer sorts.

use std::any::Any;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use netabase_sql::store::{Change, Error, TableDef, TableSnapshot};
use netabase_sql::{
    Block, BlockRows, Cluster, Layout, LocalCluster, LocalSource, ScanRequest, ShardRef,
    ShardSource, SourceStatistics, WriteReceipt, Zone, scan_blocks,
};

use super::colocate::{IN_PLACE, MOVED, tables};
use crate::common::tables::{Session, Tables, plain, plain_rows, rows_and_plan};

/// A local cluster whose scans sort what they return.
#[derive(Debug)]
struct Sorted(Arc<LocalCluster>, netabase_sql::store::Store);

/// One shard in each partition, sorted.
#[derive(Debug)]
struct SortedSource {
    inner: LocalSource,
    snapshot: Arc<TableSnapshot>,
}

#[derive(Debug)]
struct Rows(RecordBatch);

impl Block for Rows {
    fn rows(&self) -> usize {
        self.0.num_rows()
    }

    fn live(&self) -> Option<BooleanBuffer> {
        None
    }

    fn column(&self, column: usize) -> Result<ArrayRef, DataFusionError> {
        Ok(Arc::clone(self.0.column(column)))
    }

    fn zone(&self, _column: usize) -> Option<Zone> {
        None
    }
}

fn sorted(def: &TableDef, batches: &[RecordBatch]) -> RecordBatch {
    let all = concat_batches(&def.schema, batches).unwrap();
    let key = def.primary_key.iter().map(|column| SortColumn {
        values: Arc::clone(all.column(*column)),
        options: None,
    });
    let order = lexsort_to_indices(&key.collect::<Vec<_>>(), None).unwrap();
    take_record_batch(&all, &order).unwrap()
}

impl ShardSource for SortedSource {
    fn shards(&self) -> &[ShardRef] {
        self.inner.shards()
    }

    fn partitions(&self) -> usize {
        self.snapshot.shards.len()
    }

    fn statistics(&self) -> SourceStatistics {
        self.inner.statistics()
    }

    fn layout(&self) -> Layout {
        Layout {
            by_shard: true,
            ordered: true,
        }
    }

    fn open(
        &self,
        partition: usize,
        request: &ScanRequest,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let shard = &self.snapshot.shards[partition];
        let rows: Vec<RecordBatch> = shard.batches.iter().map(|b| b.rows.clone()).collect();
        let rows = sorted(&request.def, &rows);
        // Two blocks, so that their order matters.
        let half = rows.num_rows() / 2;
        let blocks = [
            rows.slice(0, half),
            rows.slice(half, rows.num_rows() - half),
        ];
        let blocks = blocks.map(|rows| BlockRows::all(Arc::new(Rows(rows))));
        scan_blocks(blocks, request, context.session_config().batch_size())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[async_trait]
impl Cluster for Sorted {
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

    fn plan_scan(
        &self,
        def: &Arc<TableDef>,
        target_partitions: usize,
    ) -> Result<Arc<dyn ShardSource>, Error> {
        let snapshot = Arc::new(self.1.snapshot(def.id)?);
        let inner = LocalSource::new(Arc::clone(&snapshot), "me", target_partitions);
        Ok(Arc::new(SortedSource { inner, snapshot }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same() {
    let source = tables(3);
    let stored = Tables::new(&source).await;
    let context = plain(&source);
    let cluster = Arc::new(Sorted(Arc::clone(&stored.cluster), stored.store.clone()));
    for colocate in [true, false] {
        let session = Session {
            colocate,
            ..Session::default()
        };
        let engine = stored.engine_of(session, Arc::clone(&cluster) as Arc<dyn Cluster>);
        for text in IN_PLACE.iter().chain(MOVED) {
            let expected = plain_rows(&context, text).await;
            let (found, plan) = rows_and_plan(&engine, text).await;
            assert!(found == expected, "co-located {colocate}: {text}\n{plan}");
        }
    }
}

#[tokio::test]
async fn what_is_sorted_is_not_sorted_again() {
    let stored = Tables::new(&tables(3)).await;
    let cluster = Sorted(Arc::clone(&stored.cluster), stored.store.clone());
    let engine = stored.engine_of(Session::default(), Arc::new(cluster));
    for (text, sign) in [
        (
            "SELECT k, n FROM a ORDER BY k, n",
            "SortPreservingMergeExec",
        ),
        (
            "SELECT k, n FROM a WHERE k = 7 ORDER BY n",
            "SortPreservingMergeExec",
        ),
        ("SELECT k, sum(v) FROM a GROUP BY k", "ordering_mode=Sorted"),
        (
            "SELECT v, k, sum(n) FROM a GROUP BY v, k",
            "ordering_mode=PartiallySorted",
        ),
        (
            "SELECT k, sum(v) FROM a GROUP BY k ORDER BY k",
            "SinglePartitioned",
        ),
        (
            "SELECT k, n, row_number() OVER (PARTITION BY k ORDER BY n) FROM a",
            "ByShardExec",
        ),
        (
            "SELECT k, n, sum(v) OVER (PARTITION BY k, n) FROM a",
            "ByShardExec",
        ),
    ] {
        let (_, plan) = rows_and_plan(&engine, text).await;
        assert!(plan.contains(sign), "{text}\n{plan}");
        assert!(!plan.contains("SortExec"), "{text}\n{plan}");
        assert!(!plan.contains("RepartitionExec"), "{text}\n{plan}");
    }
    let (_, plan) = rows_and_plan(&engine, "SELECT n FROM a ORDER BY n").await;
    assert!(
        plan.contains("SortExec"),
        "n alone is no prefix of the key\n{plan}"
    );
}
