//! The seam between SQL and the network.
//!
//! Purpose: this layer plans and runs statements without knowing where a shard lives. Whoever owns
//! the rows implements [`Cluster`]: [`LocalCluster`] for a lone peer, the layer above for a network.
//!
//! Invariant: a [`ShardSource`] names every shard of its table exactly once, and each of its
//! partitions (of each task, where the layer above spreads a scan over tasks) reads a disjoint part
//! of them. A shard that nobody can read is an error of [`Cluster::plan_scan`], never a gap.
//!
//! Not here: retry policy, placement, signatures.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use netabase_store::{Change, Error, PendingWrite, TableDef};

use crate::index_answer::IndexAnswer;
use crate::layout::{ColumnSummary, Layout};
use crate::lookup::IndexMetrics;
use crate::provenance::with_provenance;

/// What a scan must return, independent of who executes it.
#[derive(Debug, Clone)]
pub struct ScanRequest {
    /// The table that is read.
    pub def: Arc<TableDef>,
    /// The columns that can be read: the table's, and perhaps `_version`, `_author` and `_expires`
    /// behind them; see [`ScanRequest::schema_with_provenance`].
    pub schema: SchemaRef,
    /// Indices into `schema`, in output order.
    pub projection: Vec<usize>,
    /// A boolean expression over the whole of `schema`, by its column indices. Every row
    /// is checked against it; a row for which it is not true is not returned.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    /// At most this many rows are needed from each partition.
    pub fetch: Option<usize>,
    /// What an index answers of this request. With the first rows in some order, others may be left
    /// out that come later; with their number, the rows have no columns. Whoever does not understand
    /// it returns all rows that pass the predicate.
    pub answer: Option<Arc<IndexAnswer>>,
}

impl ScanRequest {
    /// The schema of the batches that answer this request.
    pub fn output_schema(&self) -> Result<SchemaRef, DataFusionError> {
        Ok(Arc::new(self.schema.project(&self.projection)?))
    }

    /// The columns of a table, and behind them those that say where a row comes from, as far as the
    /// table has none of the same name.
    pub fn schema_with_provenance(def: &TableDef) -> SchemaRef {
        with_provenance(&def.schema)
    }
}

/// One shard and the peer that a plan chose to read it from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRef {
    /// Shard number, below the table's shard count.
    pub shard: u32,
    /// Peer id of the chosen holder.
    pub holder: String,
    /// Live rows, as the holder last said.
    pub rows: u64,
    /// The holder's digest of the shard, as it last said (hex); empty when unknown.
    pub digest: String,
}

/// What is known about the size of a scan before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceStatistics {
    /// Live rows of all shards.
    pub rows: u64,
    /// Bytes in memory of all shards, all columns.
    pub bytes: u64,
    /// Whether `rows` is exactly what the scan will read (a frozen local snapshot), or what holders
    /// said a moment ago.
    pub exact: bool,
}

/// The shards of one table, bound to the peers that will be asked, for one query.
pub trait ShardSource: Any + Debug + Send + Sync {
    /// Every shard of the table, once.
    fn shards(&self) -> &[ShardRef];

    /// How many partitions [`open`](Self::open) accepts. At least one.
    fn partitions(&self) -> usize;

    /// Size of the whole scan, without its filter.
    fn statistics(&self) -> SourceStatistics;

    /// How the rows lie. What it says is relied upon.
    fn layout(&self) -> Layout {
        Layout::default()
    }

    /// What is known about each column of the table, without the scan's filter.
    fn summaries(&self) -> Option<Arc<[ColumnSummary]>> {
        None
    }

    /// Reads one partition.
    ///
    /// # Errors
    /// When the partition is out of range, or its rows cannot be read.
    fn open(
        &self,
        partition: usize,
        request: &ScanRequest,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream, DataFusionError>;

    /// Like [`open`](Self::open), and counts what indexes did, where they are used.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    fn open_counted(
        &self,
        partition: usize,
        request: &ScanRequest,
        context: &Arc<TaskContext>,
        metrics: &IndexMetrics,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let _ = metrics;
        self.open(partition, request, context)
    }

    /// The index that answers a request, or `primary key`; `None` if rows are scanned, or if it is
    /// not known here. For EXPLAIN only: each segment decides for itself when it is read.
    fn index_of(&self, request: &ScanRequest) -> Option<String> {
        let _ = request;
        None
    }

    /// Whether the source would let an index answer a request in this way, and save work by it.
    fn takes(&self, answer: &IndexAnswer) -> bool {
        let _ = answer;
        false
    }

    /// For downcasts by the layer that made the source.
    fn as_any(&self) -> &dyn Any;
}

/// What a write reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteReceipt {
    /// Rows sent (each counted once, however many replicas took it).
    pub rows: u64,
    /// Shards that were written.
    pub shards: usize,
    /// Peers that hold the rows durably.
    pub peers: Vec<String>,
    /// The fewest durable replicas that any written shard has.
    pub replicas: usize,
    /// Bytes sent to other peers.
    pub bytes: u64,
}

/// Rows of one table that are written together with others.
#[derive(Debug, Clone)]
pub struct TableWrite {
    /// The table.
    pub def: Arc<TableDef>,
    /// What is done with the rows.
    pub change: Change,
    /// The rows by shard.
    pub parts: Vec<(u32, RecordBatch)>,
}

/// A small write that was handed over to the disk.
#[derive(Debug)]
#[must_use = "only its outcome says whether the rows are on disk"]
pub struct StartedWrite {
    pending: PendingWrite,
    receipt: WriteReceipt,
}

impl StartedWrite {
    /// A write that has this receipt once it is on disk.
    pub fn new(pending: PendingWrite, receipt: WriteReceipt) -> Self {
        Self { pending, receipt }
    }

    /// Waits for the disk, on any executor.
    ///
    /// # Errors
    /// Whatever the store fails with; nothing was written then.
    pub async fn finish(self) -> Result<WriteReceipt, Error> {
        self.pending.await?;
        Ok(self.receipt)
    }
}

/// Takes many rows of one table. None of them is visible before `finish`; dropping it leaves nothing.
pub trait BulkSink: Send {
    /// Takes rows with all columns of the table, in any order. May block.
    ///
    /// # Errors
    /// `InvalidInput` when a row does not fit, `Conflict` when a key comes twice; either may be
    /// noticed later, by another call. The load has failed then.
    fn push(&mut self, rows: &RecordBatch) -> Result<(), Error>;

    /// Makes all rows durable and visible at once. Blocks.
    ///
    /// # Errors
    /// Those of `push`; then nothing was written.
    fn finish(self: Box<Self>) -> Result<WriteReceipt, Error>;
}

/// Who owns the rows: definitions, writes and the choice of holders.
#[async_trait]
pub trait Cluster: Debug + Send + Sync + 'static {
    /// This peer's id.
    fn me(&self) -> &str;

    /// Places, signs, stores and spreads a definition; `def.owner` and `def.placement` are filled
    /// here. Returns the definition as stored.
    ///
    /// # Errors
    /// `Conflict` when a live table of that name is known here or to a reachable peer.
    async fn create_table(&self, def: TableDef) -> Result<Arc<TableDef>, Error>;

    /// Lets a definition with other options take effect, here and on every reachable peer: `def` is
    /// the known definition with changed options, whose revision is counted up here. Returns the
    /// definition as stored.
    ///
    /// # Errors
    /// `NotFound` when the table is not known any more; `Conflict` when its options were changed
    /// meanwhile, when another statement holds it frozen, or when its name is another table's;
    /// `InvalidInput` when somebody else owns it.
    async fn alter_table(&self, def: TableDef) -> Result<Arc<TableDef>, Error>;

    /// Marks a table dropped, here and on every reachable peer; in favour of another one, if `def` says so.
    ///
    /// # Errors
    /// `NotFound` when the table is gone already; `Conflict` when it is dropped in favour of another one,
    /// and was changed since `def`.
    async fn drop_table(&self, def: Arc<TableDef>) -> Result<(), Error>;

    /// Applies rows, already split by shard, on every replica. Returns when they are durable there.
    ///
    /// # Errors
    /// `Unavailable` naming shard and peer when a replica cannot be reached: the rows are not
    /// acknowledged then, and writing them again is safe. Whatever the store refuses.
    async fn write(
        &self,
        def: Arc<TableDef>,
        change: Change,
        parts: Vec<(u32, RecordBatch)>,
    ) -> Result<WriteReceipt, Error>;

    /// Applies the writes of a transaction. Where one store holds everything, they take effect together
    /// or not at all; by default they are written one after the other, each shard as a whole.
    ///
    /// # Errors
    /// Those of [`write`](Self::write), and `Capacity` for more than can take effect together: then
    /// nothing was written.
    async fn write_together(&self, writes: Vec<TableWrite>) -> Result<Vec<WriteReceipt>, Error> {
        let mut receipts = Vec::with_capacity(writes.len());
        for write in writes {
            receipts.push(self.write(write.def, write.change, write.parts).await?);
        }
        Ok(receipts)
    }

    /// The bytes of rows of a table that `write_together` lets take effect together, with those of other
    /// tables that have a limit; `None` where it does not promise that, and takes any number.
    fn together_limit(&self, def: &TableDef) -> Option<usize> {
        let _ = def;
        None
    }

    /// Like `write`, for few rows that concern this peer alone: hands them over without waiting for
    /// anything. `None` where they concern others, or where something would have to be waited for;
    /// then nothing was done. Needs no runtime.
    ///
    /// # Errors
    /// Whatever the store refuses.
    fn begin_write(
        &self,
        def: &Arc<TableDef>,
        change: Change,
        parts: &[(u32, RecordBatch)],
    ) -> Result<Option<StartedWrite>, Error> {
        let _ = (def, change, parts);
        Ok(None)
    }

    /// The shards of a table as `plan_scan` names them, if it would read `shard` from this peer's own
    /// store, so that a row of it may be looked up there; `None` if not. Must not block, and needs no
    /// runtime.
    ///
    /// # Errors
    /// Those of `plan_scan`.
    fn read_here(&self, def: &Arc<TableDef>, shard: u32) -> Result<Option<Vec<ShardRef>>, Error> {
        let _ = (def, shard);
        Ok(None)
    }

    /// A way to load many rows at once, where there is one: without it they are written in chunks.
    ///
    /// # Errors
    /// Whatever the store refuses.
    fn bulk_sink(&self, def: &Arc<TableDef>) -> Result<Option<Box<dyn BulkSink>>, Error> {
        let _ = def;
        Ok(None)
    }

    /// Chooses one holder for each shard. Must not block.
    ///
    /// # Errors
    /// `Unavailable` naming the table, the missing shards and their last known holders.
    fn plan_scan(
        &self,
        def: &Arc<TableDef>,
        target_partitions: usize,
    ) -> Result<Arc<dyn ShardSource>, Error>;

    /// Called when a query failed before its first row: whether planning it once more can help
    /// (for instance because a holder died and another replica is known). May wait a little.
    async fn should_retry(&self, error: &DataFusionError, attempt: usize) -> bool {
        let _ = (error, attempt);
        false
    }
}
