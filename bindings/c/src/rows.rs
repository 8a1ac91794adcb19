//! Rows on their way to C.

use std::panic::{AssertUnwindSafe, catch_unwind};

use netabase::arrow::datatypes::SchemaRef;
use netabase::arrow::error::ArrowError;
use netabase::arrow::record_batch::{RecordBatch, RecordBatchReader};
use netabase::blocking::Reader;

use crate::failure::remember;

/// A reader whose panics and whose errors' zero bytes stay on this side: the stream's callbacks
/// survive neither.
pub(crate) struct GuardedReader {
    reader: Reader,
    ended: bool,
}

impl GuardedReader {
    pub(crate) fn new(reader: Reader) -> Self {
        Self {
            reader,
            ended: false,
        }
    }
}

impl Iterator for GuardedReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let reader = &mut self.reader;
        let text = match catch_unwind(AssertUnwindSafe(|| reader.next_batch())) {
            Ok(Ok(batch)) => return batch.map(Ok),
            Ok(Err(error)) => error.to_string().replace('\0', " "),
            Err(_) => "the library failed while reading rows".to_owned(),
        };
        self.ended = true;
        remember(&text);
        Some(Err(ArrowError::ComputeError(text)))
    }
}

impl RecordBatchReader for GuardedReader {
    fn schema(&self) -> SchemaRef {
        RecordBatchReader::schema(&self.reader)
    }
}
