//! From the bytes of a data file to arrays.
//!
//! Invariant: damaged or unexpected bytes are an error, also where Parquet's decoder panics.
//! Non-goal: caching; that is the segment's.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::file::reader::{ChunkReader, Length};

use super::blocks::{Blocks, Stretch, damaged};
use super::kept::with_type;
use super::load::Loaded;
use crate::error::Result;

/// Runs a decoder over stored bytes; a panic of it is damage.
pub(super) fn guarded<T>(path: &Path, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(damaged(path, "it cannot be decoded")))
}

impl Loaded {
    /// The values of a column in one group, read in one go.
    pub(super) fn read_column(&self, group: usize, column: usize) -> Result<ArrayRef> {
        let stretch = self.read_chunk(group, column)?;
        let rows = self.rows_of(group)?;
        let batch = self.decode(stretch, group, (&[column], 0..rows))?;
        self.single(&batch)
    }

    /// The values of some columns (ascending) in some rows of one group. Reads the pages concerned.
    pub(super) fn read_rows(
        &self,
        group: usize,
        columns: &[usize],
        rows: Range<usize>,
    ) -> Result<RecordBatch> {
        let blocks = Blocks::new(self.file.clone());
        self.decode(blocks.clone(), group, (columns, rows))
            .map_err(|error| blocks.cause_of(error))
    }

    fn single(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let column = batch.columns().first().cloned();
        column.ok_or_else(|| damaged(self.file.path(), "a column is missing"))
    }

    pub(super) fn rows_of(&self, group: usize) -> Result<usize> {
        let groups = self.parquet.metadata().row_groups();
        match groups.get(group) {
            Some(group) => Ok(group.num_rows() as usize),
            None => Err(crate::error::Error::invalid(format!(
                "{}: there is no row group {group}",
                self.file.path().display()
            ))),
        }
    }

    /// The leaf columns of Parquet's schema that make up a column.
    pub(super) fn leaves(&self, column: usize) -> impl Iterator<Item = usize> {
        let schema = self.parquet.parquet_schema();
        (0..schema.num_columns()).filter(move |&leaf| schema.get_column_root_idx(leaf) == column)
    }

    fn read_chunk(&self, group: usize, column: usize) -> Result<Stretch> {
        let meta = self.parquet.metadata().row_groups().get(group);
        let ranges = self.leaves(column).filter_map(|leaf| {
            let (start, length) = meta?.columns().get(leaf)?.byte_range();
            Some((start, start.saturating_add(length)))
        });
        let whole = ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let (start, end) = whole.unwrap_or_default();
        Ok(Stretch {
            size: Blocks::new(self.file.clone()).len(),
            start,
            bytes: self.file.read(start, end.saturating_sub(start) as usize)?,
        })
    }

    fn decode(
        &self,
        input: impl ChunkReader + 'static,
        group: usize,
        (columns, rows): (&[usize], Range<usize>),
    ) -> Result<RecordBatch> {
        let path = self.file.path();
        let of_group = self.rows_of(group)?;
        let schema = self.parquet.parquet_schema();
        let mask = ProjectionMask::roots(schema, columns.iter().copied());
        let mut builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(input, self.parquet.clone())
                .with_row_groups(vec![group])
                .with_projection(mask)
                .with_batch_size(rows.len());
        if rows != (0..of_group) {
            let selected = std::iter::once(rows.clone());
            let selected = RowSelection::from_consecutive_ranges(selected, of_group);
            builder = builder.with_row_selection(selected);
        }
        let batch = guarded(path, || {
            let reader = builder.build().map_err(|error| damaged(path, error))?;
            first_batch(path, reader)
        })?;
        if batch.num_rows() != rows.len() || batch.num_columns() != columns.len() {
            return Err(damaged(path, "rows or columns are missing"));
        }
        self.with_types(batch, columns)
    }

    /// The batch with the types of the table.
    fn with_types(&self, batch: RecordBatch, columns: &[usize]) -> Result<RecordBatch> {
        let Some(schema) = &self.renamed else {
            return Ok(batch);
        };
        let wrong = |error| damaged(self.file.path(), error);
        let schema = Arc::new(schema.project(columns).map_err(wrong)?);
        let values = batch.columns().iter().zip(schema.fields());
        let values = values.map(|(values, field)| with_type(values, field.data_type()));
        let values = values
            .collect::<std::result::Result<_, _>>()
            .map_err(wrong)?;
        RecordBatch::try_new(schema, values).map_err(wrong)
    }
}

fn first_batch(path: &Path, mut reader: ParquetRecordBatchReader) -> Result<RecordBatch> {
    match reader.next() {
        Some(Ok(batch)) => Ok(batch),
        Some(Err(other)) => Err(damaged(path, other)),
        None => Err(damaged(path, "rows are missing")),
    }
}
