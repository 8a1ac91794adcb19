//! Reading the few rows of a segment that an index, or the primary key, points to, or counting them.
//!
//! Idea: per segment, the most selective access is found by counting, which takes a few binary
//! searches; if it leaves few enough rows, the segment's groups are replaced by blocks of these rows
//! alone, whose columns are read by position. Where the request says that an index answers it, the
//! blocks have the first rows alone, or none but their number.
//!
//! Invariant: the blocks keep every row that is wanted, in the order of the segment,
//! and lie within the rows that they replace; so slices stay disjoint and complete, whether or not
//! an index was ready when each of them was opened. A count has no positions: the slice that has the
//! segment's first row counts the whole segment, and reads it where there is no index, the others
//! have nothing of it.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat, take};
use datafusion::common::{exec_datafusion_err, internal_err};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use netabase_store::{Error, SegmentView, TableSnapshot};

use crate::access::{Access, Order, accesses};
use crate::block::{Block, BlockRows, SlicedRows, Zone, blocks_of_segment};
use crate::cluster::ScanRequest;
use crate::error::error_to_datafusion;
use crate::index_answer::{IndexAnswer, Question};
use crate::index_rows::{count_rows, first_rows};

/// An access is used if it leaves at most one row in so many; reading more of them one by one takes
/// longer than reading all.
const SELECTIVE: u64 = 50;
/// So few rows are read one by one in any case.
const FEW_ROWS: u64 = 16;
/// Rows of one block.
const BLOCK_ROWS: usize = 8192;
/// Segments that are asked which access they would take, for EXPLAIN.
const EXPLAINED_SEGMENTS: usize = 4;

/// What indexes did for a scan.
#[derive(Debug, Clone, Default)]
pub struct IndexMetrics {
    /// Segments in which an index, or the primary key, was asked instead of reading all rows.
    pub lookups: Count,
    /// Live rows that it pointed to.
    pub rows: Count,
}

impl IndexMetrics {
    /// Counters `index_lookups` and `index_rows` of one partition.
    pub fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let counter = |name| MetricBuilder::new(metrics).counter(name, partition);
        Self {
            lookups: counter("index_lookups"),
            rows: counter("index_rows"),
        }
    }
}

/// Some rows of a segment, by position.
#[derive(Debug)]
struct PickedBlock {
    view: SegmentView,
    rows: Vec<u32>,
}

impl Block for PickedBlock {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn live(&self) -> Option<BooleanBuffer> {
        None
    }

    fn column(&self, column: usize) -> Result<ArrayRef, DataFusionError> {
        let taken = self
            .view
            .take(&self.rows, &[column])
            .map_err(error_to_datafusion)?;
        let values = taken.columns().first().cloned();
        values.ok_or_else(|| exec_datafusion_err!("a segment has no column {column}"))
    }

    fn versions(&self) -> Result<ArrayRef, DataFusionError> {
        self.of_groups(|group| self.view.versions(group))
    }

    fn authors(&self) -> Result<ArrayRef, DataFusionError> {
        self.of_groups(|group| self.view.authors(group))
    }

    fn zone(&self, _column: usize) -> Option<Zone> {
        None
    }
}

impl PickedBlock {
    /// The rows' values out of those of their groups.
    fn of_groups(
        &self,
        values_of: impl Fn(usize) -> Result<ArrayRef, Error>,
    ) -> Result<ArrayRef, DataFusionError> {
        // All groups but the last have as many rows as the first.
        let whole = self.view.group_rows(0).max(1) as u32;
        let mut parts = Vec::new();
        for rows in self.rows.chunk_by(|a, b| a / whole == b / whole) {
            let Some(group) = rows.first().map(|row| row / whole) else {
                continue;
            };
            let values = values_of(group as usize).map_err(error_to_datafusion)?;
            let places = rows.iter().map(|row| row % whole);
            let places = UInt32Array::from_iter_values(places);
            parts.push(take(&values, &places, None)?);
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(concat(&parts)?)
    }
}

/// A number of rows that pass the request's predicate, for a scan that wants none of their columns.
#[derive(Debug)]
struct CountedBlock(usize);

impl Block for CountedBlock {
    fn rows(&self) -> usize {
        self.0
    }

    fn live(&self) -> Option<BooleanBuffer> {
        None
    }

    fn column(&self, column: usize) -> Result<ArrayRef, DataFusionError> {
        internal_err!("rows that were counted have no column {column}")
    }

    fn zone(&self, _column: usize) -> Option<Zone> {
        None
    }

    fn all_pass(&self) -> bool {
        true
    }
}

/// Replaces groups of segments by the rows that can pass the request's predicate, where an access
/// leaves few of them; or by what an index answers.
pub(crate) fn narrow(
    parts: Vec<SlicedRows>,
    request: &ScanRequest,
    metrics: &IndexMetrics,
) -> Result<Vec<BlockRows>, DataFusionError> {
    let accesses = accesses(&request.def, request.predicate.as_ref());
    let mut narrowed = Vec::with_capacity(parts.len());
    for of_segment in parts.chunk_by(|a, b| a.segment.is_some() && a.segment == b.segment) {
        let Some(view) = of_segment.first().and_then(|first| first.view.as_ref()) else {
            narrowed.extend(of_segment.iter().map(|part| part.rows.clone()));
            continue;
        };
        let counting = request.answer.as_ref().filter(|answer| answer.is_count());
        if let Some(answer) = counting {
            if of_segment.first().is_some_and(|first| first.begins_segment) {
                narrowed.extend(counted(view, answer, metrics).map_err(error_to_datafusion)?);
            }
            continue;
        }
        let wanted = request.answer.as_deref();
        let picked = pick(view, wanted, &accesses).map_err(error_to_datafusion)?;
        match picked {
            Some(rows) => narrowed.extend(blocks(view, rows, positions(of_segment), metrics)),
            None => narrowed.extend(of_segment.iter().map(|part| part.rows.clone())),
        }
    }
    Ok(narrowed)
}

/// What stands for a whole segment whose rows are counted: their number, or all of them.
fn counted(
    view: &SegmentView,
    answer: &IndexAnswer,
    metrics: &IndexMetrics,
) -> Result<Vec<BlockRows>, Error> {
    let found = match &answer.question {
        Question::Count(ranges) => count_rows(view, &answer.order, ranges)?,
        Question::First(_) => None,
    };
    let Some(rows) = found.and_then(|rows| usize::try_from(rows).ok()) else {
        return Ok(blocks_of_segment(view));
    };
    metrics.lookups.add(1);
    metrics.rows.add(rows);
    Ok(vec![BlockRows::all(Arc::new(CountedBlock(rows)))])
}

/// The access that most rows of a snapshot would be reached by, if any.
pub(crate) fn explain(snapshot: &TableSnapshot, request: &ScanRequest) -> Option<String> {
    let accesses = accesses(&request.def, request.predicate.as_ref());
    if accesses.is_empty() {
        return None;
    }
    let shards = snapshot.shards.iter();
    let mut segments: Vec<&SegmentView> = shards.flat_map(|shard| &shard.segments).collect();
    segments.sort_by_key(|segment| std::cmp::Reverse(segment.rows()));
    let mut chosen = segments.into_iter().take(EXPLAINED_SEGMENTS);
    // What cannot be read here fails when it is scanned.
    chosen.find_map(|segment| {
        let access = choose(segment, &accesses).ok()??;
        Some(access.order.name().to_owned())
    })
}

/// The physical rows that the parts of one segment span.
fn positions(parts: &[SlicedRows]) -> Range<u32> {
    let of = |part: &SlicedRows| {
        // All groups but the last have as many rows as the first.
        let whole = part.view.as_ref().map_or(0, |view| view.group_rows(0));
        let first = (part.group * whole) as u32;
        first + part.rows.rows.start as u32..first + part.rows.rows.end as u32
    };
    match (parts.first(), parts.last()) {
        (Some(first), Some(last)) => of(first).start..of(last).end,
        _ => 0..0,
    }
}

/// The live ones of some rows as blocks.
fn blocks(
    view: &SegmentView,
    mut rows: Vec<u32>,
    within: Range<u32>,
    metrics: &IndexMetrics,
) -> Vec<BlockRows> {
    rows.retain(|row| within.contains(row) && view.is_live(*row));
    metrics.lookups.add(1);
    metrics.rows.add(rows.len());
    rows.chunks(BLOCK_ROWS)
        .map(|rows| {
            let (view, rows) = (view.clone(), rows.to_vec());
            BlockRows::all(Arc::new(PickedBlock { view, rows }))
        })
        .collect()
}

/// The rows of a segment that come first, or that the best access leaves, ascending, if they are few
/// enough.
fn pick(
    view: &SegmentView,
    answer: Option<&IndexAnswer>,
    accesses: &[Access],
) -> Result<Option<Vec<u32>>, Error> {
    if let Some(IndexAnswer { order, question }) = answer
        && let Question::First(first) = question
        && let Some(rows) = first_rows(view, order, first)?
    {
        return Ok(Some(rows));
    }
    match choose(view, accesses)? {
        Some(access) => rows_of(view, access),
        None => Ok(None),
    }
}

/// The access that leaves the fewest rows of a segment, if they are few enough.
fn choose<'a>(view: &SegmentView, accesses: &'a [Access]) -> Result<Option<&'a Access>, Error> {
    let mut best: Option<(&Access, u64)> = None;
    for access in accesses {
        let most = match best {
            Some((_, 0)) => break,
            Some((_, rows)) => rows - 1,
            None => few(view),
        };
        if let Some(rows) = count(view, access, most)? {
            best = Some((access, rows));
        }
    }
    Ok(best.map(|(access, _)| access))
}

/// How many rows of a segment are read one by one at most.
pub(crate) fn few(view: &SegmentView) -> u64 {
    (view.rows() / SELECTIVE).max(FEW_ROWS)
}

/// How many rows an access leaves; `None` if more than `most`, or if the index is not ready.
fn count(view: &SegmentView, access: &Access, most: u64) -> Result<Option<u64>, Error> {
    let mut rows = 0;
    for range in &access.ranges {
        rows += match &access.order {
            Order::PrimaryKey { unique: true } => u64::from(view.row_at(range)?.is_some()),
            Order::PrimaryKey { .. } => view.rows_in(range)?.len() as u64,
            Order::Index(index) => match view.count(index, range)? {
                Some(rows) => rows,
                None => return Ok(None),
            },
        };
        if rows > most {
            return Ok(None);
        }
    }
    Ok(Some(rows))
}

/// The rows of an access, ascending; `None` if the index is not ready.
fn rows_of(view: &SegmentView, access: &Access) -> Result<Option<Vec<u32>>, Error> {
    let mut rows = Vec::new();
    for range in &access.ranges {
        match &access.order {
            Order::PrimaryKey { unique: true } => rows.extend(view.row_at(range)?),
            Order::PrimaryKey { .. } => rows.extend(view.rows_in(range)?),
            Order::Index(index) => match view.lookup(index, range, usize::MAX)? {
                Some(found) => rows.extend(found),
                None => return Ok(None),
            },
        }
    }
    rows.sort_unstable();
    rows.dedup();
    Ok(Some(rows))
}
