//! What is known of a column without reading it: bounds and NULLs of every group, and a summary of
//! the segment.
//!
//! Invariant: no value lies outside of its group's bounds in arrow's order. Where this cannot be
//! promised (groups with NaN, nested types) the bounds are NULL. Bounds of long strings are cut,
//! hence wider than the values.

use std::sync::OnceLock;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt64Array, new_null_array};
use arrow::compute::{cast, filter};
use arrow::datatypes::DataType;
use arrow_row::{RowConverter, SortField};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::RowGroupMetaData;

use super::blocks::damaged;
use super::decode::guarded;
use super::load::Loaded;
use super::{DistinctSketch, Segment};
use crate::error::Result;

/// What is known of a column of a segment.
#[derive(Debug, Clone)]
pub struct ColumnSummary {
    /// Number of NULLs.
    pub nulls: u64,
    /// One value that none is less than; `None` if unknown, or if there are only NULLs.
    pub min: Option<ArrayRef>,
    /// One value that none is greater than; `None` if unknown, or if there are only NULLs.
    pub max: Option<ArrayRef>,
    /// Whether the bounds are values of the column; otherwise they may be wider.
    pub exact: bool,
    /// The distinct values; `None` for nested types.
    pub sketch: Option<DistinctSketch>,
}

/// Bounds and NULLs of a column, one entry per group.
#[derive(Debug, Clone)]
pub(super) struct Zones {
    mins: ArrayRef,
    maxes: ArrayRef,
    nulls: UInt64Array,
    exact: bool,
}

impl Segment {
    /// A summary of every column.
    pub(crate) fn column_stats(&self) -> Result<&[ColumnSummary]> {
        if let Some(summaries) = self.summaries.get() {
            return Ok(summaries);
        }
        let loaded = self.load()?;
        let summaries = (0..self.schema.fields().len())
            .map(|column| self.summarize(loaded, column))
            .collect::<Result<_>>()?;
        Ok(self.summaries.get_or_init(|| summaries))
    }

    /// The lower bound of a column for every row group; NULL where unknown.
    pub(crate) fn zone_mins(&self, column: usize) -> Result<ArrayRef> {
        Ok(self.zones(self.load()?, column)?.mins)
    }

    /// The upper bound of a column for every row group; NULL where unknown.
    pub(crate) fn zone_maxes(&self, column: usize) -> Result<ArrayRef> {
        Ok(self.zones(self.load()?, column)?.maxes)
    }

    /// The number of NULLs of a column for every row group; NULL where unknown.
    pub(crate) fn zone_nulls(&self, column: usize) -> Result<UInt64Array> {
        Ok(self.zones(self.load()?, column)?.nulls)
    }

    fn zones(&self, loaded: &Loaded, column: usize) -> Result<Zones> {
        match self.zones.get(column).and_then(OnceLock::get) {
            Some(zones) => Ok(zones.clone()),
            None => {
                let zones = self.read_zones(loaded, column)?;
                if let Some(known) = self.zones.get(column) {
                    // Somebody else may have been first, with the same.
                    let _ = known.set(zones.clone());
                }
                Ok(zones)
            }
        }
    }

    fn read_zones(&self, loaded: &Loaded, column: usize) -> Result<Zones> {
        let field =
            self.schema.fields().get(column).ok_or_else(|| {
                crate::error::Error::invalid(format!("there is no column {column}"))
            })?;
        let groups = loaded.parquet.metadata().row_groups();
        let path = loaded.file.path();
        let data_type = field.data_type();
        let nothing = || Zones {
            mins: new_null_array(data_type, groups.len()),
            maxes: new_null_array(data_type, groups.len()),
            nulls: UInt64Array::from(vec![None; groups.len()]),
            exact: false,
        };
        let leaf = match data_type {
            DataType::Dictionary(_, _) => loaded.leaves(column).next(),
            nested if nested.is_nested() => None,
            _ => loaded.leaves(column).next(),
        };
        let Some(leaf) = leaf else {
            return Ok(nothing());
        };
        let read = || -> parquet::errors::Result<Zones> {
            let schema = loaded.parquet.parquet_schema();
            let converter = StatisticsConverter::from_column_index(leaf, field, schema)?;
            let exact_mins = converter.row_group_is_min_value_exact(groups)?;
            let exact_maxes = converter.row_group_is_max_value_exact(groups)?;
            let mut exact = exact_mins.iter().chain(&exact_maxes);
            Ok(Zones {
                mins: cast(&converter.row_group_mins(groups)?, data_type)?,
                maxes: cast(&converter.row_group_maxes(groups)?, data_type)?,
                nulls: converter.row_group_null_counts(groups)?,
                exact: exact.all(|exact| exact != Some(false)),
            })
        };
        let zones = guarded(path, || read().map_err(|error| damaged(path, error)))?;
        without_nan(loaded, column, zones).map_err(|error| super::blocks::damaged(path, error))
    }

    fn summarize(&self, loaded: &Loaded, column: usize) -> Result<ColumnSummary> {
        let zones = self.zones(loaded, column)?;
        let notes = loaded.index.columns.get(column);
        let groups = loaded.parquet.metadata().row_groups();
        // A group with values but without bounds makes the whole unknown.
        let known = groups.iter().enumerate().all(|(group, meta)| {
            let nulls = zones.nulls.iter().nth(group).flatten();
            zones.mins.is_valid(group) || nulls == Some(rows_of(meta))
        });
        let bound =
            |bounds: &ArrayRef, greatest| known.then(|| extreme(bounds, greatest)).flatten();
        Ok(ColumnSummary {
            nulls: notes.map_or(0, |notes| notes.nulls),
            min: bound(&zones.mins, false),
            max: bound(&zones.maxes, true),
            exact: zones.exact && known,
            sketch: notes.and_then(|notes| notes.sketch.clone()),
        })
    }
}

fn rows_of(group: &RowGroupMetaData) -> u64 {
    group.num_rows() as u64
}

/// Parquet's bounds leave NaN out, which arrow compares as less or greater than all numbers.
fn without_nan(
    loaded: &Loaded,
    column: usize,
    zones: Zones,
) -> Result<Zones, arrow::error::ArrowError> {
    let nan = loaded
        .index
        .columns
        .get(column)
        .map(|notes| &notes.nan_groups);
    let Some(nan) = nan.filter(|groups| !groups.is_empty()) else {
        return Ok(zones);
    };
    let groups = 0..zones.mins.len() as u32;
    let has_nan: BooleanArray = groups.map(|group| Some(nan.contains(&group))).collect();
    Ok(Zones {
        mins: arrow::compute::nullif(&zones.mins, &has_nan)?,
        maxes: arrow::compute::nullif(&zones.maxes, &has_nan)?,
        ..zones
    })
}

/// The least or greatest value that is not NULL.
fn extreme(bounds: &ArrayRef, greatest: bool) -> Option<ArrayRef> {
    let valid: BooleanArray = (0..bounds.len())
        .map(|row| Some(bounds.is_valid(row)))
        .collect();
    let values = filter(bounds, &valid).ok()?;
    let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())]).ok()?;
    let rows = converter
        .convert_columns(std::slice::from_ref(&values))
        .ok()?;
    let numbered = rows.iter().enumerate();
    let (row, _) = match greatest {
        true => numbered.max_by(|a, b| a.1.cmp(&b.1)),
        false => numbered.min_by(|a, b| a.1.cmp(&b.1)),
    }?;
    Some(values.slice(row, 1))
}
