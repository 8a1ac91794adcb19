//! Reading by a value that the primary key or an index begins with.
//!
//! Idea: in every segment, a binary search gives the places of the rows; rows in memory are compared. If
//! there are few enough of them, they are taken by place, and no scan is opened.
//!
//! Invariant: the rows are those of one moment, in the order of a scan. On the caller's thread only a
//! little work is done; where it may be more, nothing is read.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, Scalar, UInt32Array};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{concat, take_arrays};
use arrow::error::ArrowError;
use netabase_store::{Error, KeyRange, SegmentView, SnapshotBatch, TableSnapshot};

use super::PointCall;
use super::fit::comparable;
use super::plan::{Columns, Search};
use crate::access::Order;
use crate::block::segments_of;
use crate::error::from_arrow;
use crate::filter::true_rows;
use crate::local::LocalSource;
use crate::output::{Output, ScanInfo};
use crate::owned::copy;

/// How much a search may do; more is done in parallel, by a general plan.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Rows that are found.
    found: usize,
    /// Pages that have to be decoded: at most one for each of these rows and each column that is read.
    pages: usize,
    /// Segments that are looked into.
    segments: usize,
    /// Rows in memory that are compared one after the other.
    in_memory: usize,
}

/// On a thread of the runtime.
const LIMITS: Limits = Limits {
    found: 1024,
    pages: 1 << 16,
    segments: 4096,
    in_memory: 1 << 20,
};
/// On the caller's thread, where other tasks wait.
const LIMITS_AT_ONCE: Limits = Limits {
    found: 16,
    pages: 64,
    segments: 64,
    in_memory: 1 << 16,
};

impl Limits {
    fn allow(&self, snapshot: &TableSnapshot) -> bool {
        let shards = || snapshot.shards.iter();
        let in_memory = shards().flat_map(|shard| &shard.batches);
        let in_memory: usize = in_memory.map(|batch| batch.rows.num_rows()).sum();
        let segments: usize = shards().map(|shard| shard.segments.len()).sum();
        in_memory <= self.in_memory && segments <= self.segments
    }
}

/// Where rows are. Their numbers ascend.
enum Place<'a> {
    Memory(&'a SnapshotBatch),
    Segment(&'a SegmentView),
}

impl Place<'_> {
    fn take(&self, rows: Vec<u32>, projection: &[usize]) -> Result<Vec<ArrayRef>, Error> {
        match self {
            Self::Memory(batch) => {
                let rows = UInt32Array::from(rows);
                let columns = batch.rows.project(projection).map_err(from_arrow)?;
                take_arrays(columns.columns(), &rows, None).map_err(from_arrow)
            }
            Self::Segment(view) => Ok(view.take(&rows, projection)?.columns().to_vec()),
        }
    }
}

/// A search, as far as it got.
struct Finder<'a> {
    orders: &'a [Order],
    column: usize,
    /// The value as an array, and the keys that begin with it.
    value: ArrayRef,
    range: KeyRange,
    /// How many more rows may be found, and how many are wanted.
    left: usize,
    wanted: usize,
    places: Vec<(Place<'a>, Vec<u32>)>,
}

impl<'a> Finder<'a> {
    /// Finds the rows of a table. `false` if they are too many, or an index is not ready.
    fn find(&mut self, snapshot: &'a TableSnapshot) -> Result<bool, Error> {
        for shard in &snapshot.shards {
            for batch in &shard.batches {
                let rows = self.equal_rows(batch).map_err(from_arrow)?;
                if !self.add(Place::Memory(batch), Some(rows)) {
                    return Ok(false);
                }
            }
            for view in segments_of(shard) {
                let rows = self.pointed_to(view)?;
                if !self.add(Place::Segment(view), rows) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn add(&mut self, place: Place<'a>, rows: Option<Vec<u32>>) -> bool {
        let Some(mut rows) = rows.filter(|rows| rows.len() <= self.left) else {
            return false;
        };
        self.left -= rows.len();
        rows.truncate(self.wanted);
        self.wanted -= rows.len();
        if !rows.is_empty() {
            self.places.push((place, rows));
        }
        true
    }

    /// The live rows of a batch with the value.
    fn equal_rows(&self, batch: &SnapshotBatch) -> Result<Vec<u32>, ArrowError> {
        let missing = || ArrowError::SchemaError(format!("there is no column {}", self.column));
        let column = batch.rows.columns().get(self.column);
        let equal = eq(column.ok_or_else(missing)?, &Scalar::new(&self.value))?;
        let is_live = |row: &usize| batch.live.as_ref().is_none_or(|live| live.value(*row));
        let equal = true_rows(&equal);
        let rows = equal.set_indices().filter(is_live);
        Ok(rows.map(|row| row as u32).collect())
    }

    /// The live rows of a segment with the value; `None` if they are too many, or cannot be found yet.
    fn pointed_to(&self, view: &SegmentView) -> Result<Option<Vec<u32>>, Error> {
        let few = |rows: usize| rows <= self.left;
        for order in self.orders {
            let rows = match order {
                Order::PrimaryKey { .. } => {
                    let rows = view.rows_in(&self.range)?;
                    few(rows.len()).then(|| rows.collect::<Vec<u32>>())
                }
                Order::Index(index) => {
                    match view.lookup(index, &self.range, self.left.saturating_add(1))? {
                        Some(rows) => few(rows.len()).then_some(rows),
                        // Another index may have been made earlier.
                        None => continue,
                    }
                }
            };
            return Ok(rows.map(|mut rows| {
                rows.retain(|row| view.is_live(*row));
                rows
            }));
        }
        Ok(None)
    }
}

impl PointCall {
    /// Reads the rows with a value; with `at_once`, if that is not much work.
    pub(super) fn search(&self, search: &Search, at_once: bool) -> Result<Option<Output>, Error> {
        let def = &self.plan.def;
        // To know which rows are expired, files may have to be read.
        if at_once && def.options.ttl_millis.is_some() {
            return Ok(None);
        }
        let limits = if at_once { LIMITS_AT_ONCE } else { LIMITS };
        let Some(mut finder) = self.finder(search, limits) else {
            return Ok(None);
        };
        let source = self.engine.cluster().plan_scan(def, 1).ok();
        let local = source.as_ref();
        let Some(local) = local.and_then(|of| of.as_any().downcast_ref::<LocalSource>()) else {
            return Ok(None);
        };
        if !limits.allow(local.snapshot()) || !finder.find(local.snapshot())? {
            return Ok(None);
        }
        let rows = rows_of(finder.places, &search.output)?;
        let schema = Arc::clone(&search.output.schema);
        let scans = vec![ScanInfo::new(def, local)];
        Ok(Some(Output::ready(schema, rows, scans)))
    }

    fn finder<'a>(&self, search: &'a Search, limits: Limits) -> Option<Finder<'a>> {
        let value = comparable(&self.value(&search.value)?, self.type_of(search.column)?)?;
        let value = value.to_array().ok()?;
        Some(Finder {
            orders: &search.orders,
            column: search.column,
            range: KeyRange::prefix(std::slice::from_ref(&value)).ok()?,
            value,
            left: limits
                .found
                .min(limits.pages / search.output.projection.len().max(1)),
            wanted: self.fetch(&search.limit)?,
            places: Vec::new(),
        })
    }
}

/// Some columns of rows, as one batch that keeps nothing else in memory; none if there are no rows.
fn rows_of(places: Vec<(Place<'_>, Vec<u32>)>, of: &Columns) -> Result<Vec<RecordBatch>, Error> {
    let count: usize = places.iter().map(|(_, rows)| rows.len()).sum();
    if count == 0 {
        return Ok(Vec::new());
    }
    let parts = places.into_iter();
    let parts = parts.map(|(place, rows)| place.take(rows, &of.projection));
    let parts: Vec<Vec<ArrayRef>> = parts.collect::<Result<_, _>>()?;
    let joined = (0..of.projection.len()).map(|column| {
        let of_parts = parts.iter().filter_map(|part| part.get(column));
        let of_parts: Vec<&dyn Array> = of_parts.map(AsRef::as_ref).collect();
        copy(&concat(&of_parts)?)
    });
    let joined = joined.collect::<Result<_, _>>().map_err(from_arrow)?;
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let batch = RecordBatch::try_new_with_options(Arc::clone(&of.schema), joined, &options);
    Ok(vec![batch.map_err(from_arrow)?])
}
