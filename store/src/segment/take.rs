//! Rows by position.
//!
//! Idea: per group, a few rows come from their pages alone, many from whole columns; one group is
//! in memory at a time. Invariant: rows come in the order asked for.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_empty_array,
};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;

use super::blocks::damaged;
use super::cache::WHOLE;
use super::locate::PAGES_TO_WHOLE;
use super::{GROUP_ROWS, PAGE_ROWS, Segment};
use crate::error::{Error, Result};

impl Segment {
    /// The given rows (ascending) with the given columns. Fails with `InvalidInput` if there is no
    /// such row or column.
    pub(crate) fn take(&self, rows: &[u32], projection: &[usize]) -> Result<RecordBatch> {
        let schema = self.projected(projection)?;
        let parts = self.take_parts(rows, projection)?;
        let columns = join(&schema, parts);
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        columns
            .and_then(|columns| RecordBatch::try_new_with_options(schema, columns, &options))
            .map_err(|error| damaged(&self.data_path(), error))
    }

    /// The same by groups, for columns that there are. Fails with `InvalidInput` if there is no such row.
    pub(super) fn take_parts(
        &self,
        rows: &[u32],
        projection: &[usize],
    ) -> Result<Vec<Vec<ArrayRef>>> {
        if let Some(&last) = rows.last()
            && u64::from(last) >= self.meta.rows
        {
            return Err(self.no_row(last));
        }
        if !rows.is_sorted() {
            return Err(Error::invalid("rows to take must ascend"));
        }
        rows.chunk_by(|a, b| group_of(*a) == group_of(*b))
            .map(|rows| self.take_of_group(rows, projection))
            .collect()
    }

    /// The columns in which a row lies, and its place there; nothing is copied. Fails like `take`.
    pub(crate) fn row(&self, row: u32, projection: &[usize]) -> Result<(Vec<ArrayRef>, usize)> {
        if u64::from(row) >= self.meta.rows {
            return Err(self.no_row(row));
        }
        if let Some(&column) = projection
            .iter()
            .find(|column| **column >= self.schema.fields().len())
        {
            return Err(self.no_column(column));
        }
        let (group, in_group) = (group_of(row), row as usize % GROUP_ROWS);
        let (page, in_page) = (page_of(row), row as usize % PAGE_ROWS);
        let cached = |page| -> Option<Vec<ArrayRef>> {
            let key = |column: &usize| self.cache_key(group, *column, page);
            let columns = projection.iter().map(key);
            columns.map(|key| self.place.cache.get(key)).collect()
        };
        let (columns, at) = match cached(page as u32) {
            Some(columns) => (columns, in_page),
            None => match cached(WHOLE) {
                Some(columns) => (columns, in_group),
                None => (self.page(group, projection, page)?, in_page),
            },
        };
        match columns.iter().all(|column| at < column.len()) {
            true => Ok((columns, at)),
            false => Err(damaged(&self.data_path(), "rows are missing")),
        }
    }

    fn projected(&self, projection: &[usize]) -> Result<SchemaRef> {
        if projection.iter().copied().eq(0..self.schema.fields().len()) {
            return Ok(Arc::clone(&self.schema));
        }
        let field = |&column: &usize| {
            let field = self.schema.fields().get(column).cloned();
            field.ok_or_else(|| self.no_column(column))
        };
        let fields: Vec<_> = projection.iter().map(field).collect::<Result<_>>()?;
        Ok(Arc::new(Schema::new(fields)))
    }

    /// `rows` are of one group; there is at least one.
    fn take_of_group(&self, rows: &[u32], projection: &[usize]) -> Result<Vec<ArrayRef>> {
        let group = rows.first().map_or(0, |row| group_of(*row));
        let pages = || rows.chunk_by(|a, b| page_of(*a) == page_of(*b));
        let cached = |&column: &usize| self.place.cache.get(self.cache_key(group, column, WHOLE));
        let many = || pages().count() * PAGES_TO_WHOLE > GROUP_ROWS / PAGE_ROWS;
        let cached: Option<Vec<ArrayRef>> = projection.iter().map(cached).collect();
        let (columns, starts) = if let Some(columns) = cached {
            (vec![columns], GROUP_ROWS)
        } else if many() {
            let columns = projection.iter().map(|&column| self.column(group, column));
            (vec![columns.collect::<Result<Vec<_>>>()?], GROUP_ROWS)
        } else {
            let of_page = |rows: &[u32]| {
                let page = rows.first().map_or(0, |row| page_of(*row));
                self.page(group, projection, page)
            };
            (pages().map(of_page).collect::<Result<Vec<_>>>()?, PAGE_ROWS)
        };
        pick(&columns, rows, starts).map_err(|error| damaged(&self.data_path(), error))
    }
}

fn group_of(row: u32) -> usize {
    row as usize / GROUP_ROWS
}

fn page_of(row: u32) -> usize {
    row as usize % GROUP_ROWS / PAGE_ROWS
}

/// Rows out of parts of `size` rows each; parts without rows were left out.
fn pick(parts: &[Vec<ArrayRef>], rows: &[u32], size: usize) -> Result<Vec<ArrayRef>, ArrowError> {
    let offset = |row: &u32| *row as usize % size;
    if let [only] = parts {
        return pick_of_one(only, &rows.iter().map(offset).collect::<Vec<_>>());
    }
    let same_part = |a: &u32, b: &u32| *a as usize / size == *b as usize / size;
    let places: Vec<(usize, usize)> = rows
        .chunk_by(same_part)
        .enumerate()
        .flat_map(|(part, rows)| rows.iter().map(move |row| (part, *row as usize % size)))
        .collect();
    (0..parts.first().map_or(0, Vec::len))
        .map(|column| {
            let of_parts = parts.iter().filter_map(|part| part.get(column));
            let of_parts: Vec<&dyn Array> = of_parts.map(|values| values.as_ref()).collect();
            interleave(&of_parts, &places)
        })
        .collect()
}

fn pick_of_one(columns: &[ArrayRef], offsets: &[usize]) -> Result<Vec<ArrayRef>, ArrowError> {
    let (first, last) = match offsets {
        [first, .., last] => (*first, *last),
        [only] => (*only, *only),
        [] => (0, 0),
    };
    let dense = offsets
        .windows(2)
        .all(|pair| pair.first().map(|a| a + 1) == pair.last().copied());
    let fits = |column: &ArrayRef| last < column.len();
    if !columns.iter().all(fits) {
        return Err(ArrowError::ComputeError("rows are missing".to_owned()));
    }
    if dense {
        let slice = |column: &ArrayRef| column.slice(first, offsets.len());
        return Ok(columns.iter().map(slice).collect());
    }
    let offsets = UInt32Array::from_iter_values(offsets.iter().map(|&offset| offset as u32));
    columns
        .iter()
        .map(|column| take(column, &offsets, None))
        .collect()
}

/// The rows of all parts, one after the other.
fn join(schema: &SchemaRef, mut parts: Vec<Vec<ArrayRef>>) -> Result<Vec<ArrayRef>, ArrowError> {
    if parts.len() == 1 {
        return Ok(parts.pop().unwrap_or_default());
    }
    let fields = schema.fields().iter().enumerate();
    fields
        .map(|(column, field)| {
            let of_parts = parts.iter().filter_map(|part| part.get(column));
            let of_parts: Vec<&dyn Array> = of_parts.map(|values| values.as_ref()).collect();
            match of_parts.is_empty() {
                true => Ok(new_empty_array(field.data_type())),
                false => concat(&of_parts),
            }
        })
        .collect()
}
