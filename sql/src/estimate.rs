//! What the columns of a table hold, from a sample.
//!
//! Purpose: without the number of distinct values the planner takes every column for a key, believes
//! that a join of a large and a small table is small, and builds hash tables on the large side;
//! without bounds it takes every range for a fifth of the rows.
//!
//! The estimator is GEE of Charikar et al., "Towards Estimation Error Guarantees for Distinct
//! Values" (PODS 2000): values seen once in a sample of n of N rows count as sqrt(N / n) values each,
//! the others as one. Invariant: nothing here is marked as exact except what the table's definition
//! says. Non-goal: exactness; nothing but the choice of a plan depends on it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{SortOptions, concat, sort_to_indices};
use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::common::stats::Precision;
use netabase_store::{DistinctSketch, SegmentView, TableDef, TableId, TableSnapshot};
use parking_lot::Mutex;

use crate::layout::ColumnSummary;

/// Rows that are looked at, of all batches together.
const SAMPLE_ROWS: usize = 8192;
/// Rows taken from one place.
const RUN_ROWS: usize = 256;
/// Tables whose estimates are kept.
const MAX_TABLES: usize = 1024;
/// A table is sampled again when it has grown or shrunk by one part in this many.
const TOLERANCE: u64 = 8;

/// Summaries by column of a table's schema.
type Summaries = Arc<[ColumnSummary]>;

/// Estimates of tables, made when they are first needed and when a table has changed much.
#[derive(Debug, Default)]
pub struct Estimates {
    known: Mutex<HashMap<TableId, (u64, Summaries)>>,
}

impl Estimates {
    /// The estimates for a table, from the rows in a snapshot of it.
    pub fn of(&self, snapshot: &TableSnapshot) -> Arc<[ColumnSummary]> {
        let rows = snapshot.shards.iter().map(|shard| shard.rows).sum::<u64>();
        if let Some((then, summaries)) = self.known.lock().get(&snapshot.def.id)
            && then.abs_diff(rows) <= rows / TOLERANCE
        {
            return Arc::clone(summaries);
        }
        let summaries = estimate(snapshot, rows);
        let mut known = self.known.lock();
        if known.len() >= MAX_TABLES {
            known.clear();
        }
        known.insert(snapshot.def.id, (rows, Arc::clone(&summaries)));
        summaries
    }
}

fn estimate(snapshot: &TableSnapshot, rows: u64) -> Summaries {
    let columns = 0..snapshot.def.schema.fields().len();
    let in_segments: u64 = segments(snapshot).map(SegmentView::live_rows).sum();
    if in_segments * 2 > rows {
        return columns
            .map(|column| noted(snapshot, column, rows))
            .collect();
    }
    let sample = sample(snapshot);
    let of = |column: usize| {
        let arrays: Vec<&ArrayRef> = sample.iter().map(|batch| batch.column(column)).collect();
        summary(&snapshot.def, column, &arrays, rows)
    };
    columns.map(of).collect()
}

fn segments(snapshot: &TableSnapshot) -> impl Iterator<Item = &SegmentView> {
    snapshot.shards.iter().flat_map(|shard| &shard.segments)
}

/// What the segments have noted of a column; the few rows in memory are taken to be like theirs.
fn noted(snapshot: &TableSnapshot, column: usize, rows: u64) -> ColumnSummary {
    let def = &snapshot.def;
    let mut sketch = DistinctSketch::default();
    let (mut nulls, mut sketched) = (0, true);
    let (mut mins, mut maxes) = (Vec::new(), Vec::new());
    for segment in segments(snapshot) {
        // What cannot be read here fails when the column is read.
        let Some(noted) = segment.summaries().ok().and_then(|all| all.get(column)) else {
            return ColumnSummary::default();
        };
        nulls += noted.nulls;
        match &noted.sketch {
            Some(other) => sketch.merge(other),
            None => sketched = false,
        }
        mins.extend(noted.min.clone());
        maxes.extend(noted.max.clone());
    }
    let inexact = |rows: u64| Precision::Inexact(usize::try_from(rows).unwrap_or(usize::MAX));
    let bound = |bounds: Vec<ArrayRef>, least: bool| {
        let bounds: Vec<&ArrayRef> = bounds.iter().collect();
        let found = bounds_of(&bounds).map(|(min, max)| if least { min } else { max });
        found
            .flatten()
            .map_or(Precision::Absent, Precision::Inexact)
    };
    let not_null = !def.schema.field(column).is_nullable() || def.primary_key.contains(&column);
    ColumnSummary {
        nulls: match not_null {
            true => Precision::Exact(0),
            false => inexact(nulls),
        },
        min: bound(mins, true),
        max: bound(maxes, false),
        distinct: match (def.primary_key == [column], sketched) {
            (true, _) => inexact(rows),
            (false, true) => inexact(sketch.estimate().clamp(1, rows.max(1))),
            (false, false) => Precision::Absent,
        },
    }
}

fn summary(def: &TableDef, column: usize, arrays: &[&ArrayRef], rows: u64) -> ColumnSummary {
    let whole_key = def.primary_key == [column];
    let distinct = match whole_key {
        true => Some(rows),
        false => distinct(arrays.iter().copied(), rows),
    };
    let (min, max) = bounds_of(arrays).unwrap_or_default();
    let not_null = !def.schema.field(column).is_nullable() || def.primary_key.contains(&column);
    let inexact = |rows: u64| Precision::Inexact(usize::try_from(rows).unwrap_or(usize::MAX));
    ColumnSummary {
        nulls: match not_null {
            true => Precision::Exact(0),
            false => nulls(arrays, rows).map_or(Precision::Absent, inexact),
        },
        min: min.map_or(Precision::Absent, Precision::Inexact),
        max: max.map_or(Precision::Absent, Precision::Inexact),
        distinct: distinct.map_or(Precision::Absent, inexact),
    }
}

/// NULLs among all rows, if the sample is like them.
fn nulls(arrays: &[&ArrayRef], rows: u64) -> Option<u64> {
    let sampled: usize = arrays.iter().map(|array| array.len()).sum();
    let nulls: usize = arrays.iter().map(|array| array.null_count()).sum();
    let scaled = u128::from(rows) * nulls as u128 / (sampled as u128).max(1);
    u64::try_from(scaled).ok()
}

/// The least and the greatest value of a sample; nothing where they cannot be compared.
fn bounds_of(arrays: &[&ArrayRef]) -> Option<(Option<ScalarValue>, Option<ScalarValue>)> {
    let arrays: Vec<&dyn Array> = arrays.iter().map(|array| array.as_ref()).collect();
    let all = concat(&arrays).ok()?;
    let first = |descending: bool| {
        let options = SortOptions::new(descending, false);
        let order = sort_to_indices(&all, Some(options), Some(1)).ok()?;
        let index = usize::try_from(*order.values().first()?).ok()?;
        let value = ScalarValue::try_from_array(&all, index).ok()?;
        (!value.is_null()).then_some(value)
    };
    Some((first(false), first(true)))
}

/// Runs of rows, spread evenly over the batches.
fn sample(snapshot: &TableSnapshot) -> Vec<RecordBatch> {
    let batches = || snapshot.shards.iter().flat_map(|shard| &shard.batches);
    let all: usize = batches().map(|batch| batch.rows.num_rows()).sum();
    let step = (all / (SAMPLE_ROWS / RUN_ROWS)).max(RUN_ROWS);
    let mut runs = Vec::new();
    let mut next = 0;
    let mut before = 0;
    for batch in batches() {
        let end = before + batch.rows.num_rows();
        while next < end {
            let start = next - before;
            let length = RUN_ROWS.min(batch.rows.num_rows() - start);
            runs.push(batch.rows.slice(start, length));
            next += step;
        }
        before = end;
    }
    runs
}

fn distinct<'a>(arrays: impl Iterator<Item = &'a ArrayRef>, rows: u64) -> Option<u64> {
    let state = RandomState::default();
    let mut seen = HashMap::<u64, u32>::new();
    let mut sampled = 0u64;
    for array in arrays {
        let mut hashes = vec![0; array.len()];
        create_hashes([array], &state, &mut hashes).ok()?;
        sampled += hashes.len() as u64;
        for hash in hashes {
            *seen.entry(hash).or_default() += 1;
        }
    }
    if sampled == 0 {
        return Some(0);
    }
    let once = seen.values().filter(|n| **n == 1).count() as f64;
    let often = seen.values().filter(|n| **n > 1).count() as f64;
    let scale = (rows as f64 / sampled as f64).max(1.0).sqrt();
    Some(((scale * once + often) as u64).clamp(1, rows.max(1)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::Int64Array;

    use super::*;

    fn of(values: impl Iterator<Item = i64>, rows: u64) -> u64 {
        let array: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
        distinct([&array].into_iter(), rows).unwrap()
    }

    #[test]
    fn few_values_are_counted_and_keys_are_many() {
        assert_eq!(of((0..8000).map(|i| i % 16), 1_000_000), 16);
        assert_eq!(of(0..8000, 8000), 8000, "everything was seen");
        let keys = of(0..8000, 800_000);
        assert!((80_000..=800_000).contains(&keys), "{keys}");
        assert_eq!(of(std::iter::empty(), 0), 0);
    }
}
