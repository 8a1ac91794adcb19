//! Reading blocks.
//!
//! Purpose: [`scan_blocks`] turns a list of blocks into a stream of record batches: filtered,
//! projected, stripped of hidden rows and coalesced. [`scan_snapshot`] does so for a slice of a
//! frozen table.
//!
//! Invariant: rows come out in the order of the blocks and of the rows within them. Over all slices
//! of a snapshot every live row is seen exactly once, whoever reads them, as long as they read the
//! same snapshot. A column is fetched only when a row is left that needs it, and a block whose zones
//! prove that no row passes is not touched.
//!
//! Not here: which shards to read, and from whom.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::{ArrayRef, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::BatchCoalescer;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::exec_datafusion_err;
use datafusion::error::DataFusionError;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::physical_plan::coop::cooperative;
use futures::Stream;
use netabase_store::TableSnapshot;

use crate::block::{Block, BlockRows, blocks_of, slice_of};
use crate::cluster::ScanRequest;
use crate::filter::Filter;
use crate::lookup::{IndexMetrics, narrow};
use crate::owned::owned;
use crate::provenance::{Provenance, value_of};
use crate::prune::Pruner;

/// Chunks that one poll may read without finding a row before it lets other tasks run.
const CHUNKS_PER_POLL: usize = 16;
/// A poll that has fetched columns of a block this large lets other tasks run: they may have been
/// decoded from a file.
const LARGE_BLOCK: usize = 16 * 1024;

/// Reads slice `slice.0` of `slice.1` of the named shards.
///
/// The split is deterministic: over all `slice.1` slices every live row appears exactly once. Rows
/// are checked against the request's predicate, projected, and returned in batches of about
/// `batch_size` rows; reading stops as soon as `request.fetch` rows were found.
///
/// # Errors
/// When the slice is out of range, a shard is not in the snapshot, or the request does not fit the
/// table's schema.
pub fn scan_snapshot(
    snapshot: &TableSnapshot,
    shards: &[u32],
    slice: (usize, usize),
    request: &ScanRequest,
    batch_size: usize,
) -> Result<SendableRecordBatchStream, DataFusionError> {
    let counted = Counted {
        batch_size,
        metrics: &IndexMetrics::default(),
    };
    scan_snapshot_counted(snapshot, shards, slice, request, counted)
}

/// How a scan is run, and what counts its use of indexes.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    /// About how many rows a batch has.
    pub batch_size: usize,
    /// What is counted.
    pub metrics: &'a IndexMetrics,
}

/// Like [`scan_snapshot`], and counts what indexes did.
///
/// # Errors
/// Those of [`scan_snapshot`].
pub fn scan_snapshot_counted(
    snapshot: &TableSnapshot,
    shards: &[u32],
    slice: (usize, usize),
    request: &ScanRequest,
    counted: Counted<'_>,
) -> Result<SendableRecordBatchStream, DataFusionError> {
    let parts = slice_of(blocks_of(snapshot, shards)?, slice)?;
    let blocks = narrow(parts, request, counted.metrics)?;
    scan_blocks(blocks, request, counted.batch_size)
}

/// Reads blocks in their order, in batches of about `batch_size` rows, until there are
/// `request.fetch` of them.
///
/// # Errors
/// When the request does not fit the table's schema.
pub fn scan_blocks(
    blocks: impl IntoIterator<Item = BlockRows>,
    request: &ScanRequest,
    batch_size: usize,
) -> Result<SendableRecordBatchStream, DataFusionError> {
    let batch_size = batch_size.max(1);
    let table = &request.schema;
    let filter = match &request.predicate {
        Some(predicate) => Some(Filter::new(predicate, table)?),
        None => None,
    };
    let pruner = request.predicate.as_ref();
    let pruner = pruner.map(|predicate| Pruner::new(Arc::clone(predicate), Arc::clone(table)));
    let schema = request.output_schema()?;
    let stream = ScanStream {
        waiting: blocks.into_iter().collect(),
        open: None,
        pruner,
        reader: Reader {
            filter,
            projection: request.projection.clone(),
            schema: Arc::clone(&schema),
            coalescer: BatchCoalescer::new(schema, batch_size)
                .with_biggest_coalesce_batch_size(Some(batch_size / 2)),
            batch_size,
        },
        columns: Columns::of(request),
        remaining: request.fetch.unwrap_or(usize::MAX),
        input_done: false,
    };
    Ok(Box::pin(cooperative(stream)))
}

/// What a table's columns are: those that blocks have, and those made of the rows' stamps.
#[derive(Clone)]
struct Columns {
    stored: usize,
    provenance: Arc<[Provenance]>,
}

impl Columns {
    fn of(request: &ScanRequest) -> Self {
        let stored = request.def.schema.fields().len();
        let others = request.schema.fields().iter().skip(stored);
        let provenance = others.map(|field| Provenance::of(&request.def, field.name()));
        Self {
            stored,
            provenance: provenance.collect(),
        }
    }

    /// All values of a column in a block.
    fn read(&self, block: &dyn Block, index: usize) -> Result<ArrayRef, DataFusionError> {
        let provenance = index.checked_sub(self.stored);
        match provenance.and_then(|place| self.provenance.get(place)) {
            Some(column) => value_of(*column, block),
            None => block.column(index),
        }
    }
}

/// A block that is being read: columns are fetched once, when they are first needed.
struct OpenBlock {
    part: BlockRows,
    live: Option<BooleanBuffer>,
    columns: Columns,
    read: Vec<Option<ArrayRef>>,
}

impl OpenBlock {
    fn new(part: BlockRows, columns: Columns) -> Self {
        Self {
            live: part.block.live(),
            part,
            read: vec![None; columns.stored + columns.provenance.len()],
            columns,
        }
    }

    /// Some rows of a column.
    fn column(
        &mut self,
        index: usize,
        offset: usize,
        rows: usize,
    ) -> Result<ArrayRef, DataFusionError> {
        let known = self.read.get_mut(index);
        let known = known.ok_or_else(|| exec_datafusion_err!("a table has no column {index}"))?;
        let whole = match known {
            Some(whole) => whole,
            None => known.insert(self.columns.read(self.part.block.as_ref(), index)?),
        };
        if offset + rows > whole.len() {
            return Err(exec_datafusion_err!(
                "a block of {} rows has {} in column {index}",
                self.part.block.rows(),
                whole.len()
            ));
        }
        if rows == whole.len() {
            return Ok(Arc::clone(whole));
        }
        Ok(whole.slice(offset, rows))
    }
}

/// Turns rows of a block into batches.
struct Reader {
    filter: Option<Filter>,
    projection: Vec<usize>,
    schema: SchemaRef,
    coalescer: BatchCoalescer,
    batch_size: usize,
}

impl Reader {
    /// Reads the next chunk of a block.
    fn read(&mut self, block: &mut OpenBlock) -> Result<(), DataFusionError> {
        let offset = block.part.rows.start;
        let rows = block.part.rows.len().min(self.batch_size);
        block.part.rows.start += rows;
        let mut kept = block.live.as_ref().map(|live| live.slice(offset, rows));
        let filter = self.filter.as_ref();
        if let Some(filter) = filter.filter(|_| !block.part.block.all_pass()) {
            kept = filter.check(rows, kept, |index| block.column(index, offset, rows))?;
        }
        if kept.as_ref().is_some_and(|kept| !kept.has_true()) {
            return Ok(());
        }
        let columns = self.projection.iter();
        let columns = columns.map(|index| block.column(*index, offset, rows));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.schema);
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        // The coalescer passes on batches of which every row is wanted.
        match kept {
            None => self.coalescer.push_batch(batch)?,
            Some(kept) => self
                .coalescer
                .push_batch_with_filter(batch, &BooleanArray::new(kept, None))?,
        }
        Ok(())
    }
}

/// The stream behind [`scan_blocks`].
struct ScanStream {
    waiting: VecDeque<BlockRows>,
    open: Option<OpenBlock>,
    pruner: Option<Pruner>,
    reader: Reader,
    columns: Columns,
    remaining: usize,
    input_done: bool,
}

impl ScanStream {
    /// Opens the next block, if there is one.
    fn open_next(&mut self) {
        if let Some(pruner) = &mut self.pruner {
            pruner.prune(&mut self.waiting);
        }
        let columns = self.columns.clone();
        let next = self.waiting.pop_front();
        self.open = next.map(|part| OpenBlock::new(part, columns));
    }

    /// Hands out a batch, cut to what is still wanted.
    fn emit(&mut self, batch: RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let batch = if batch.num_rows() > self.remaining {
            batch.slice(0, self.remaining)
        } else {
            batch
        };
        self.remaining -= batch.num_rows();
        Ok(owned(batch)?)
    }

    /// Reads one chunk, or finds that there is none. Whether a large block ended.
    fn step(&mut self) -> Result<bool, DataFusionError> {
        if self.open.is_none() {
            self.open_next();
        }
        let Some(block) = &mut self.open else {
            self.input_done = true;
            self.reader.coalescer.finish_buffered_batch()?;
            return Ok(false);
        };
        self.reader.read(block)?;
        let mut large = false;
        if block.part.rows.is_empty() {
            large = block.part.block.rows() >= LARGE_BLOCK;
            self.open = None;
        }
        // A small limit is answered as soon as enough rows are buffered.
        if self.reader.coalescer.get_buffered_rows() >= self.remaining {
            self.reader.coalescer.finish_buffered_batch()?;
        }
        Ok(large)
    }

    /// Reads until a batch is ready, the input ends, or other tasks should have their turn.
    fn advance(&mut self) -> Result<Poll<Option<RecordBatch>>, DataFusionError> {
        for _ in 0..CHUNKS_PER_POLL {
            if self.remaining == 0 {
                self.waiting.clear();
                self.open = None;
                return Ok(Poll::Ready(None));
            }
            if let Some(batch) = self.reader.coalescer.next_completed_batch() {
                return Ok(Poll::Ready(Some(self.emit(batch)?)));
            }
            if self.input_done {
                return Ok(Poll::Ready(None));
            }
            if self.step()? {
                break;
            }
        }
        Ok(Poll::Pending)
    }
}

impl Stream for ScanStream {
    type Item = Result<RecordBatch, DataFusionError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.advance() {
            Ok(Poll::Ready(batch)) => Poll::Ready(batch.map(Ok)),
            Ok(Poll::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Err(error) => {
                self.remaining = 0;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl RecordBatchStream for ScanStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.reader.schema)
    }
}
