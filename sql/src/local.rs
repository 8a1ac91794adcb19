//! A lone peer: every shard is in the local store.
//!
//! Purpose: [`LocalCluster`] and [`LocalSource`], the seam's simplest implementation and the one
//! that the network layer falls back to for its own shards.
//!
//! Invariant: a [`LocalSource`] reads the snapshot that was frozen when it was planned, whatever is
//! written later; its statistics are exact.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::common::exec_err;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use netabase_store::{
    Author, BulkLoad, Change, Error, PendingWrite, ShardBatch, Stamp, Store, TableDef,
    TableSnapshot,
};
use parking_lot::Mutex;

use crate::block::is_ordered;
use crate::cluster::{
    BulkSink, Cluster, ScanRequest, ShardRef, ShardSource, SourceStatistics, StartedWrite,
    TableWrite, WriteReceipt,
};
use crate::error::{capacity, conflict, interrupted};
use crate::estimate::Estimates;
use crate::index_answer::IndexAnswer;
use crate::index_rows;
use crate::layout::{ColumnSummary, Layout};
use crate::lookup::{self, IndexMetrics};
use crate::revision::{as_dropped, next_revision};
use crate::scan::{Counted, scan_snapshot_counted};
use crate::scan_statistics::column_width;
use crate::write::{logical_bytes, split_to};

/// Bytes of rows in one atomic frame; half of what the store accepts, because the size of the
/// encoding is an estimate.
const FRAME_BYTES: usize = 32 << 20;
/// What rows may take more than before once they are split by shard.
const SPLIT_BYTES: usize = FRAME_BYTES / 8;
/// Bytes of rows that are checked and encoded on a thread that should not block for long.
const SMALL_WRITE_BYTES: usize = 64 << 10;
/// Rows below which a further partition costs more than it gains.
const MIN_PARTITION_ROWS: usize = 4096;
/// The most partitions of a scan by shards, whatever the table's shards: each costs a task and a
/// hash table in every join above.
const MAX_SHARD_PARTITIONS: usize = 64;
/// Batches that are measured to estimate the size of a table.
const SAMPLED_BATCHES: usize = 64;

/// A cluster of one: the store's own peer.
pub struct LocalCluster {
    store: Store,
    me: Author,
    /// Held while a definition is checked and stored, so that a name is given once.
    naming: Arc<Mutex<()>>,
    estimates: Arc<Estimates>,
}

impl fmt::Debug for LocalCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCluster")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

impl LocalCluster {
    /// A cluster whose only peer is `me`, over `store`.
    pub fn new(store: Store, me: impl Into<String>) -> Self {
        Self {
            store,
            me: Author::from(me.into()),
            naming: Arc::default(),
            estimates: Arc::default(),
        }
    }
}

/// What a write of these rows to one store reaches, once it is done.
fn receipt_of(me: &Author, parts: &[(u32, RecordBatch)]) -> WriteReceipt {
    let mut shards: Vec<u32> = parts.iter().map(|(shard, _)| *shard).collect();
    shards.sort_unstable();
    shards.dedup();
    WriteReceipt {
        rows: parts.iter().map(|(_, rows)| rows.num_rows() as u64).sum(),
        shards: shards.len(),
        peers: vec![me.to_string()],
        replicas: 1,
        bytes: 0,
    }
}

/// The bytes of rows that [`write_here`] takes.
#[must_use]
pub fn write_here_limit() -> usize {
    FRAME_BYTES
}

/// Writes to this store alone, all together or nothing: one entry of its log. Blocks.
///
/// # Errors
/// `Capacity` for more than one entry holds; whatever the store refuses.
pub fn write_here(
    store: &Store,
    me: &Author,
    writes: Vec<TableWrite>,
) -> Result<Vec<WriteReceipt>, Error> {
    let receipts = writes.iter().map(|write| receipt_of(me, &write.parts));
    let receipts = receipts.collect();
    let stamp = Stamp {
        version: store.clock().now(),
        author: Arc::clone(me),
    };
    let mut frame = Vec::new();
    for write in writes {
        let TableWrite { def, change, parts } = write;
        frame.extend(frames(&def, change, &stamp, parts).into_iter().flatten());
    }
    let bytes: usize = frame.iter().map(|batch| logical_bytes(&batch.rows)).sum();
    if bytes > FRAME_BYTES + SPLIT_BYTES {
        return Err(capacity(format!(
            "the transaction has {bytes} bytes of rows, but at most {FRAME_BYTES} can take effect \
             together; nothing was written: COMMIT more often"
        )));
    }
    store.write(frame)?;
    Ok(receipts)
}

/// Hands few rows to a store without blocking; `None` if they are not few, or would have to wait.
///
/// # Errors
/// Whatever the store refuses.
pub fn begin_small_write(
    store: &Store,
    parts: &[(u32, RecordBatch)],
    batch: impl Fn(u32, RecordBatch) -> ShardBatch,
) -> Result<Option<PendingWrite>, Error> {
    let bytes: usize = parts.iter().map(|(_, rows)| logical_bytes(rows)).sum();
    if bytes > SMALL_WRITE_BYTES {
        return Ok(None);
    }
    let parts = parts.iter();
    let batches = parts.map(|(shard, rows)| batch(*shard, rows.clone()));
    store.begin_write(batches.collect())
}

/// Runs a store call where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(call)
        .await
        .map_err(|error| interrupted(&error))?
}

/// Groups the parts of a write into frames.
fn frames(
    def: &TableDef,
    change: Change,
    stamp: &Stamp,
    parts: Vec<(u32, RecordBatch)>,
) -> Vec<Vec<ShardBatch>> {
    let mut frames = Vec::new();
    let mut frame = Vec::new();
    let mut bytes = 0;
    for (shard, rows) in parts {
        for rows in split_to(rows, FRAME_BYTES) {
            let size = logical_bytes(&rows);
            if bytes + size > FRAME_BYTES && !frame.is_empty() {
                frames.push(std::mem::take(&mut frame));
                bytes = 0;
            }
            bytes += size;
            frame.push(ShardBatch {
                table: def.id,
                shard,
                change,
                stamp: stamp.clone(),
                rows,
            });
        }
    }
    if !frame.is_empty() {
        frames.push(frame);
    }
    frames
}

#[async_trait]
impl Cluster for LocalCluster {
    fn me(&self) -> &str {
        &self.me
    }

    async fn create_table(&self, mut def: TableDef) -> Result<Arc<TableDef>, Error> {
        def.owner = Arc::clone(&self.me);
        def.placement = vec![vec![self.me.to_string()]; def.shards as usize];
        let (store, naming) = (self.store.clone(), Arc::clone(&self.naming));
        blocking(move || {
            let _held = naming.lock();
            let known = crate::catalog::live_table(&store, &def.name);
            if known.is_some_and(|known| def.is_kept_out_by(&known)) {
                return Err(conflict(format!("table \"{}\" exists already", def.name)));
            }
            let stored = Arc::new(def.clone());
            store.put_table(def)?;
            Ok(stored)
        })
        .await
    }

    async fn alter_table(&self, mut def: TableDef) -> Result<Arc<TableDef>, Error> {
        let (store, naming) = (self.store.clone(), Arc::clone(&self.naming));
        blocking(move || {
            let _held = naming.lock();
            next_revision(&store, &mut def)?;
            let stored = Arc::new(def.clone());
            store.put_table(def)?;
            Ok(stored)
        })
        .await
    }

    async fn drop_table(&self, def: Arc<TableDef>) -> Result<(), Error> {
        let (store, naming) = (self.store.clone(), Arc::clone(&self.naming));
        blocking(move || {
            let _held = naming.lock();
            let dropped = as_dropped(&store, &def)?;
            store.put_table(dropped).map(|_| ())
        })
        .await
    }

    async fn write(
        &self,
        def: Arc<TableDef>,
        change: Change,
        parts: Vec<(u32, RecordBatch)>,
    ) -> Result<WriteReceipt, Error> {
        if let Some(started) = self.begin_write(&def, change, &parts)? {
            return started.finish().await;
        }
        let receipt = receipt_of(&self.me, &parts);
        let store = self.store.clone();
        let author = Arc::clone(&self.me);
        blocking(move || {
            let stamp = Stamp {
                version: store.clock().now(),
                author,
            };
            for frame in frames(&def, change, &stamp, parts) {
                store.write(frame)?;
            }
            Ok(receipt)
        })
        .await
    }

    async fn write_together(&self, writes: Vec<TableWrite>) -> Result<Vec<WriteReceipt>, Error> {
        let (store, me) = (self.store.clone(), Arc::clone(&self.me));
        blocking(move || write_here(&store, &me, writes)).await
    }

    fn together_limit(&self, _def: &TableDef) -> Option<usize> {
        Some(write_here_limit())
    }

    fn begin_write(
        &self,
        def: &Arc<TableDef>,
        change: Change,
        parts: &[(u32, RecordBatch)],
    ) -> Result<Option<StartedWrite>, Error> {
        let stamp = Stamp {
            version: self.store.clock().now(),
            author: Arc::clone(&self.me),
        };
        let pending = begin_small_write(&self.store, parts, |shard, rows| ShardBatch {
            table: def.id,
            shard,
            change,
            stamp: stamp.clone(),
            rows,
        })?;
        Ok(pending.map(|pending| StartedWrite::new(pending, receipt_of(&self.me, parts))))
    }

    fn read_here(&self, def: &Arc<TableDef>, _shard: u32) -> Result<Option<Vec<ShardRef>>, Error> {
        let Some(heads) = self.store.shard_heads(def.id)? else {
            return Ok(Some(self.plan_scan(def, 1)?.shards().to_vec()));
        };
        let numbered = (0..).zip(heads);
        let shards = numbered.map(|(shard, head)| ShardRef {
            shard,
            holder: self.me.to_string(),
            rows: head.rows,
            digest: head.digest.to_string(),
        });
        Ok(Some(shards.collect()))
    }

    fn bulk_sink(&self, def: &Arc<TableDef>) -> Result<Option<Box<dyn BulkSink>>, Error> {
        if self.store.data_dir().is_none() {
            return Ok(None);
        }
        let stamp = Stamp {
            version: self.store.clock().now(),
            author: Arc::clone(&self.me),
        };
        let receipt = WriteReceipt {
            rows: 0,
            shards: def.shards as usize,
            peers: vec![self.me.to_string()],
            replicas: 1,
            bytes: 0,
        };
        let load = self.store.bulk_load(def.id, stamp)?;
        Ok(Some(Box::new(LocalSink { load, receipt })))
    }

    fn plan_scan(
        &self,
        def: &Arc<TableDef>,
        target_partitions: usize,
    ) -> Result<Arc<dyn ShardSource>, Error> {
        let snapshot = Arc::new(self.store.snapshot(def.id)?);
        let source = LocalSource::new(snapshot, &self.me, target_partitions);
        Ok(Arc::new(source.with_estimates(&self.estimates)))
    }
}

/// A bulk load of the store.
struct LocalSink {
    load: BulkLoad,
    receipt: WriteReceipt,
}

impl BulkSink for LocalSink {
    fn push(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        self.receipt.rows += rows.num_rows() as u64;
        self.load.push(rows)
    }

    fn finish(self: Box<Self>) -> Result<WriteReceipt, Error> {
        self.load.finish()?;
        Ok(self.receipt)
    }
}

/// All shards of one table, frozen.
pub struct LocalSource {
    snapshot: Arc<TableSnapshot>,
    numbers: Vec<u32>,
    shards: Vec<ShardRef>,
    partitions: usize,
    by_shard: bool,
    ordered: bool,
    statistics: SourceStatistics,
    /// Where to ask what is known about the columns: that may take a while.
    estimates: Option<Arc<Estimates>>,
}

impl fmt::Debug for LocalSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSource")
            .field("table", &self.snapshot.def.name)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

impl LocalSource {
    /// A source over a snapshot, held by `me`. A table of some size is read by shard; one with a
    /// single shard in at most `target_partitions` slices; a small one at once.
    pub fn new(snapshot: Arc<TableSnapshot>, me: &str, target_partitions: usize) -> Self {
        let shard_ref = |shard: &netabase_store::ShardSnapshot| ShardRef {
            shard: shard.shard,
            holder: me.to_string(),
            rows: shard.rows,
            digest: shard.digest.to_string(),
        };
        let shards: Vec<ShardRef> = snapshot.shards.iter().map(shard_ref).collect();
        let numbers = shards.iter().map(|shard| shard.shard).collect();
        let rows = shards.iter().map(|shard| shard.rows).sum();
        let physical: u64 = snapshot.shards.iter().map(|s| s.stored_rows()).sum();
        let physical = usize::try_from(physical).unwrap_or(usize::MAX);
        let bytes = estimate_bytes(&snapshot, physical);
        let large = physical / MIN_PARTITION_ROWS >= 2;
        let by_shard = shards.len() > 1 && large && target_partitions > 1;
        let partitions = match by_shard {
            true => shard_partitions(shards.len()),
            false => target_partitions.min(physical / MIN_PARTITION_ROWS).max(1),
        };
        // A partition of several shards has them one after the other.
        let one_shard_each = partitions == shards.len() || shards.len() == 1;
        let ordered = one_shard_each && snapshot.shards.iter().all(is_ordered);
        let statistics = SourceStatistics {
            rows,
            bytes,
            exact: true,
        };
        Self {
            snapshot,
            numbers,
            shards,
            partitions,
            by_shard,
            ordered,
            statistics,
            estimates: None,
        }
    }

    /// With what is known about its columns.
    #[must_use]
    fn with_estimates(mut self, estimates: &Arc<Estimates>) -> Self {
        self.estimates = Some(Arc::clone(estimates));
        self
    }

    /// The frozen rows.
    pub fn snapshot(&self) -> &Arc<TableSnapshot> {
        &self.snapshot
    }
}

/// Partitions for a number of shards: as many, or an equal part of them, so that tables of the same
/// number of shards are always cut alike.
fn shard_partitions(shards: usize) -> usize {
    let mut partitions = shards;
    while partitions > MAX_SHARD_PARTITIONS {
        partitions = partitions.div_ceil(2);
    }
    partitions
}

/// Bytes of all rows in memory, decoded: measured on the first few batches, or, where there are
/// only segments, told from the types of the columns.
fn estimate_bytes(snapshot: &TableSnapshot, rows: usize) -> u64 {
    let batches = snapshot.shards.iter().flat_map(|shard| &shard.batches);
    let (mut seen_rows, mut seen_bytes) = (0u64, 0u64);
    for batch in batches.take(SAMPLED_BATCHES) {
        seen_rows += batch.rows.num_rows() as u64;
        seen_bytes += batch.rows.get_array_memory_size() as u64;
    }
    if seen_rows == 0 {
        let fields = snapshot.def.schema.fields().iter();
        let width: usize = fields.map(|field| column_width(field.data_type())).sum();
        (seen_rows, seen_bytes) = (1, width as u64);
    }
    let bytes = u128::from(seen_bytes) * rows as u128 / u128::from(seen_rows);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl ShardSource for LocalSource {
    fn shards(&self) -> &[ShardRef] {
        &self.shards
    }

    fn partitions(&self) -> usize {
        self.partitions
    }

    fn statistics(&self) -> SourceStatistics {
        self.statistics
    }

    fn layout(&self) -> Layout {
        Layout {
            by_shard: self.by_shard,
            ordered: self.ordered,
        }
    }

    fn summaries(&self) -> Option<Arc<[ColumnSummary]>> {
        let estimates = self.estimates.as_ref()?;
        Some(estimates.of(&self.snapshot))
    }

    fn open(
        &self,
        partition: usize,
        request: &ScanRequest,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        self.open_counted(partition, request, context, &IndexMetrics::default())
    }

    fn open_counted(
        &self,
        partition: usize,
        request: &ScanRequest,
        context: &Arc<TaskContext>,
        metrics: &IndexMetrics,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let counted = Counted {
            batch_size: context.session_config().batch_size(),
            metrics,
        };
        if !self.by_shard {
            let slice = (partition, self.partitions);
            return scan_snapshot_counted(&self.snapshot, &self.numbers, slice, request, counted);
        }
        if partition >= self.partitions {
            return exec_err!("partition {partition} of {}", self.partitions);
        }
        let mine = |shard: &&u32| **shard as usize % self.partitions == partition;
        let shards: Vec<u32> = self.numbers.iter().filter(mine).copied().collect();
        scan_snapshot_counted(&self.snapshot, &shards, (0, 1), request, counted)
    }

    fn index_of(&self, request: &ScanRequest) -> Option<String> {
        lookup::explain(&self.snapshot, request)
    }

    fn takes(&self, answer: &IndexAnswer) -> bool {
        index_rows::is_worth_it(&self.snapshot, answer)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
