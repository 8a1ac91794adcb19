//! Parquet, cast to the table's columns where nothing is lost.
//!
//! Invariant: a damaged file is an error that names its row group, even where the reader panics.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::{
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use netabase_store::Error;

use super::columns::{Matched, check_types, convert};
use super::{FilePath, Owner, Part, Place, RowReader};
use crate::error::invalid;

/// Rows of one batch.
const ROWS_PER_BATCH: usize = 16_384;

/// Reads the rows of a file.
pub(super) struct ParquetReader {
    reader: ParquetRecordBatchReader,
    path: FilePath,
    matched: Matched,
    /// The last row of each row group.
    ends: Vec<u64>,
    rows: u64,
    bytes: u64,
}

impl ParquetReader {
    /// Reads what the file says about itself, and matches the columns.
    pub(super) fn new(
        (file, bytes): (File, u64),
        path: FilePath,
        owner: &Owner,
    ) -> Result<Self, Error> {
        let shown = path.display();
        let open = || ParquetRecordBatchReaderBuilder::try_new(file);
        let builder = guarded(open).map_err(|reason| {
            invalid(format!(
                "{shown} is not a Parquet file, or damaged: {reason}"
            ))
        })?;
        let schema = Arc::clone(builder.schema());
        let fields = schema.fields().iter();
        let names: Vec<String> = fields.map(|field| field.name().clone()).collect();
        let matched = Matched::new(&path, &owner.def, &names, &owner.chosen)?;
        check_types(&path, &owner.def, &schema, &matched)?;
        let mut ends = Vec::new();
        let mut end = 0_u64;
        for group in builder.metadata().row_groups() {
            end = end.saturating_add(u64::try_from(group.num_rows()).unwrap_or_default());
            ends.push(end);
        }
        let wanted = matched.targets(names.len());
        let wanted = wanted.iter().enumerate().filter(|(_, to)| to.is_some());
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.map(|(root, _)| root));
        let build = || {
            builder
                .with_projection(mask)
                .with_batch_size(ROWS_PER_BATCH)
                .build()
        };
        let reader =
            guarded(build).map_err(|reason| invalid(format!("{shown} is damaged: {reason}")))?;
        let matched = matched.projected();
        Ok(Self {
            reader,
            path,
            matched,
            ends,
            rows: 0,
            bytes,
        })
    }

    fn damaged(&self, reason: &str) -> Error {
        let group = self.ends.iter().filter(|end| **end <= self.rows).count();
        invalid(format!(
            "{} is damaged in row group {}: {reason}",
            self.path.display(),
            group + 1
        ))
    }
}

impl RowReader for ParquetReader {
    fn next(&mut self) -> Result<Option<Part>, Error> {
        let reader = &mut self.reader;
        let next = guarded(|| reader.next().transpose());
        let Some(batch) = next.map_err(|reason| self.damaged(&reason))? else {
            let promised = self.ends.last().copied().unwrap_or_default();
            if self.rows < promised {
                return Err(self.damaged("rows are missing"));
            }
            return Ok(None);
        };
        let rows: RecordBatch = convert(&self.path, &self.matched, &batch)?;
        let place = Place::After(self.rows);
        self.rows += rows.num_rows() as u64;
        Ok(Some(Part {
            rows,
            given: self.matched.given(),
            place,
        }))
    }

    fn bytes_read(&self) -> u64 {
        let all = self.ends.last().copied().unwrap_or_default().max(1);
        let read = u128::from(self.bytes) * u128::from(self.rows) / u128::from(all);
        u64::try_from(read).unwrap_or(self.bytes)
    }
}

/// Runs a step of the reader, which panics on some damaged files.
fn guarded<T, E: std::fmt::Display>(step: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("it is malformed".to_owned()),
    }
}
