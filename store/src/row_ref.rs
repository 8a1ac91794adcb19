//! One row, where it lies.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::mem::collect_views;

/// One row of a table, not copied: columns that have its values among those of other rows, and its
/// place in them. Keeps these columns in memory: up to 65,536 rows of a segment, or all rows of the
/// write that it came with.
#[derive(Debug, Clone)]
pub struct RowRef {
    columns: Vec<ArrayRef>,
    row: usize,
}

impl RowRef {
    pub(crate) fn new(columns: Vec<ArrayRef>, row: usize) -> Self {
        Self { columns, row }
    }

    /// A row of a batch. Fails with `InvalidInput` if it has no such column.
    pub(crate) fn of_batch(
        table: &str,
        batch: &RecordBatch,
        row: usize,
        projection: &[usize],
    ) -> Result<Self> {
        let column = |&column: &usize| {
            let found = batch.columns().get(column).cloned();
            found.ok_or_else(|| Error::invalid(format!("table \"{table}\" has no column {column}")))
        };
        let columns = projection.iter().map(column).collect::<Result<_>>()?;
        Ok(Self { columns, row })
    }

    /// The columns that were asked for, in that order.
    pub fn columns(&self) -> &[ArrayRef] {
        &self.columns
    }

    /// The row's place in every column.
    pub fn row(&self) -> usize {
        self.row
    }

    /// The row as a batch of its own, copied. Fails with `InvalidInput` if the columns are not those
    /// of `schema`.
    pub fn to_batch(&self, schema: &SchemaRef) -> Result<RecordBatch> {
        let failed = |error| Error::arrow("a row that was looked up", error);
        let place = UInt64Array::from_value(self.row as u64, 1);
        let copied = |column: &ArrayRef| collect_views(&take(column, &place, None)?);
        let columns = self.columns.iter().map(copied).collect::<Result<_, _>>();
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        RecordBatch::try_new_with_options(schema.clone(), columns.map_err(failed)?, &options)
            .map_err(failed)
    }
}
