//! Reading one slice of a frozen table.
//!
//! Purpose: [`scan_snapshot`] turns part of a snapshot into a stream of record batches: projected,
//! filtered, stripped of hidden rows and coalesced.
//!
//! Invariant: the physical rows of the named shards form one range; slice `i` of `n` reads the
//! `i`-th of `n` equal parts of it. Over all slices every live row is seen exactly once, whoever
//! reads them, as long as they read the same snapshot.
//!
//! Not here: which shards to read, and from whom.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{BatchCoalescer, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::{ScalarValue, exec_datafusion_err, exec_err};
use datafusion::error::DataFusionError;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_plan::coop::cooperative;
use futures::Stream;
use netabase_store::{SnapshotBatch, TableSnapshot};

use crate::cluster::ScanRequest;

/// Chunks that one poll may read without finding a row before it lets other tasks run.
const CHUNKS_PER_POLL: usize = 16;

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
    let (part, of) = slice;
    if part >= of {
        return exec_err!("slice {part} of {of} does not exist");
    }
    let batches = batches_of(snapshot, shards)?;
    let batch_size = batch_size.max(1);
    let filter = match &request.predicate {
        Some(predicate) => Some(Filter::new(predicate, request)?),
        None => None,
    };
    let schema = request.output_schema()?;
    let stream = ScanStream {
        pieces: pieces_of(&batches, (part, of), &request.projection, filter.as_ref())?,
        predicate: filter.map(|filter| filter.predicate),
        coalescer: BatchCoalescer::new(Arc::clone(&schema), batch_size)
            .with_biggest_coalesce_batch_size(Some(batch_size / 2)),
        schema,
        batch_size,
        remaining: request.fetch.unwrap_or(usize::MAX),
        input_done: false,
    };
    Ok(Box::pin(cooperative(stream)))
}

/// The batches of the named shards, in the order they are named.
fn batches_of<'a>(
    snapshot: &'a TableSnapshot,
    shards: &[u32],
) -> Result<Vec<&'a SnapshotBatch>, DataFusionError> {
    let mut batches = Vec::new();
    for shard in shards {
        let found = snapshot
            .shards
            .iter()
            .find(|s| s.shard == *shard)
            .ok_or_else(|| {
                exec_datafusion_err!("shard {shard} of table {} is not here", snapshot.def.name)
            })?;
        batches.extend(found.batches.iter());
    }
    Ok(batches)
}

/// A range of one batch: no copies, only references to its columns.
#[derive(Debug)]
struct Piece {
    /// The columns to return.
    output: RecordBatch,
    /// The columns that the predicate reads.
    input: Option<RecordBatch>,
    live: Option<BooleanBuffer>,
    /// Rows that were read already.
    offset: usize,
}

impl Piece {
    fn slice(&self, offset: usize, rows: usize) -> Self {
        Self {
            output: self.output.slice(offset, rows),
            input: self.input.as_ref().map(|input| input.slice(offset, rows)),
            live: self.live.as_ref().map(|live| live.slice(offset, rows)),
            offset: 0,
        }
    }
}

/// Cuts one of several equal ranges of physical rows out of the batches.
fn pieces_of(
    batches: &[&SnapshotBatch],
    (part, of): (usize, usize),
    projection: &[usize],
    filter: Option<&Filter>,
) -> Result<VecDeque<Piece>, DataFusionError> {
    let total: usize = batches.iter().map(|b| b.rows.num_rows()).sum();
    let start = share(total, part, of);
    let end = share(total, part + 1, of);
    let mut pieces = VecDeque::new();
    let mut offset = 0;
    for batch in batches {
        let rows = batch.rows.num_rows();
        let from = start.clamp(offset, offset + rows) - offset;
        let to = end.clamp(offset, offset + rows) - offset;
        offset += rows;
        if from == to || batch.live_rows == 0 {
            continue;
        }
        let input = match filter {
            Some(filter) => Some(batch.rows.project(&filter.columns)?),
            None => None,
        };
        let output = batch.rows.project(projection)?;
        let whole = Piece {
            output,
            input,
            live: batch.live.clone(),
            offset: 0,
        };
        pieces.push_back(whole.slice(from, to - from));
    }
    Ok(pieces)
}

/// `total * part / of` without overflow.
fn share(total: usize, part: usize, of: usize) -> usize {
    let wide = (total as u128) * (part as u128) / (of.max(1) as u128);
    usize::try_from(wide).unwrap_or(total)
}

/// A predicate rewritten to read only the columns it needs.
#[derive(Debug)]
struct Filter {
    predicate: Arc<dyn PhysicalExpr>,
    columns: Vec<usize>,
}

impl Filter {
    fn new(
        predicate: &Arc<dyn PhysicalExpr>,
        request: &ScanRequest,
    ) -> Result<Self, DataFusionError> {
        let mut columns: Vec<usize> = collect_columns(predicate)
            .iter()
            .map(|column| column.index())
            .collect();
        columns.sort_unstable();
        columns.dedup();
        let schema = request.def.schema.project(&columns)?;
        let predicate = reassign_expr_columns(Arc::clone(predicate), &schema)?;
        Ok(Self { predicate, columns })
    }
}

/// One bit per row, whether the predicate is true for it; `None` when it is for all of them.
fn mask(
    predicate: &dyn PhysicalExpr,
    input: &RecordBatch,
) -> Result<Option<BooleanArray>, DataFusionError> {
    let value = match predicate.evaluate(input)? {
        ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))) => return Ok(None),
        other => other.into_array(input.num_rows())?,
    };
    let mask = value
        .as_boolean_opt()
        .ok_or_else(|| exec_datafusion_err!("the predicate {predicate} is not boolean"))?;
    Ok(Some(match mask.null_count() {
        0 => mask.clone(),
        _ => prep_null_mask_filter(mask),
    }))
}

/// The stream behind [`scan_snapshot`].
struct ScanStream {
    pieces: VecDeque<Piece>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    coalescer: BatchCoalescer,
    batch_size: usize,
    remaining: usize,
    input_done: bool,
}

impl ScanStream {
    /// Cuts the next chunk of at most `batch_size` rows.
    fn next_chunk(&mut self) -> Option<Piece> {
        let piece = self.pieces.front_mut()?;
        let left = piece.output.num_rows() - piece.offset;
        if left <= self.batch_size {
            let piece = self.pieces.pop_front()?;
            return Some(piece.slice(piece.offset, left));
        }
        let chunk = piece.slice(piece.offset, self.batch_size);
        piece.offset += self.batch_size;
        Some(chunk)
    }

    /// Filters one chunk into the coalescer.
    fn push(&mut self, chunk: Piece) -> Result<(), DataFusionError> {
        let selected = match (&self.predicate, &chunk.input) {
            (Some(predicate), Some(input)) => mask(predicate.as_ref(), input)?,
            _ => None,
        };
        let mask = match (selected, chunk.live) {
            (selected, None) => selected,
            (None, Some(live)) => Some(BooleanArray::new(live, None)),
            (Some(selected), Some(live)) => {
                Some(BooleanArray::new(selected.values() & &live, None))
            }
        };
        // The coalescer passes on batches of which every row is wanted, and drops the others.
        match mask {
            None => self.coalescer.push_batch(chunk.output)?,
            Some(mask) => self.coalescer.push_batch_with_filter(chunk.output, &mask)?,
        }
        Ok(())
    }

    /// Hands out a batch, cut to what is still wanted.
    fn emit(&mut self, batch: RecordBatch) -> RecordBatch {
        let batch = if batch.num_rows() > self.remaining {
            batch.slice(0, self.remaining)
        } else {
            batch
        };
        self.remaining -= batch.num_rows();
        batch
    }

    /// Reads until a batch is ready, the input ends, or `CHUNKS_PER_POLL` chunks were read.
    fn advance(&mut self) -> Result<Poll<Option<RecordBatch>>, DataFusionError> {
        for _ in 0..CHUNKS_PER_POLL {
            if self.remaining == 0 {
                self.pieces.clear();
                return Ok(Poll::Ready(None));
            }
            if let Some(batch) = self.coalescer.next_completed_batch() {
                return Ok(Poll::Ready(Some(self.emit(batch))));
            }
            if self.input_done {
                return Ok(Poll::Ready(None));
            }
            match self.next_chunk() {
                Some(chunk) => self.push(chunk)?,
                None => self.finish()?,
            }
            // A small limit is answered as soon as enough rows are buffered.
            if self.coalescer.get_buffered_rows() >= self.remaining {
                self.coalescer.finish_buffered_batch()?;
            }
        }
        Ok(Poll::Pending)
    }

    fn finish(&mut self) -> Result<(), DataFusionError> {
        self.input_done = true;
        Ok(self.coalescer.finish_buffered_batch()?)
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
        Arc::clone(&self.schema)
    }
}
