//! Records as they come from a query.
//!
//! Invariant: a stream ends only after the last row; a row that is no record is an error that names
//! it, which the rows before it precede, and after which nothing follows.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use arrow::record_batch::RecordBatch;
use futures::{Stream, StreamExt};
use netabase_store::Error;

use super::Record;
use super::error::ConversionError;
use crate::answer::AnswerStream;
use crate::coverage::{Coverage, CoverageHandle};

/// The rows that a scan or a filter finds, one by one, in no order. Work goes on only a few batches
/// ahead of the reader; dropping it cancels the rest.
pub struct Rows<R> {
    batches: AnswerStream,
    /// The rest of the batch that is being read.
    ready: std::vec::IntoIter<R>,
    /// Rows of the batches before it.
    before: u64,
    /// What comes after these rows, and is the end.
    failure: Option<Error>,
    failed: bool,
}

// The rows are moved out of it, and none is ever pinned.
impl<R> Unpin for Rows<R> {}

impl<R> fmt::Debug for Rows<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("batches", &self.batches)
            .field("read", &self.before)
            .finish_non_exhaustive()
    }
}

impl<R: Record> Rows<R> {
    pub(crate) fn new(batches: AnswerStream) -> Self {
        Self {
            batches,
            ready: Vec::new().into_iter(),
            before: 0,
            failure: None,
            failed: false,
        }
    }

    /// The next row; `None` after the last one, or after an error. The same as that of
    /// `futures::StreamExt`, for programs without that crate.
    pub async fn next(&mut self) -> Option<Result<R, Error>> {
        StreamExt::next(self).await
    }

    /// Reads every row that is left into memory.
    ///
    /// # Errors
    /// Whatever cut the answer short; `InvalidInput` for a row that is no record.
    pub async fn all(mut self) -> Result<Vec<R>, Error> {
        let mut rows = Vec::new();
        while let Some(row) = self.next().await {
            rows.push(row?);
        }
        Ok(rows)
    }

    /// What is known so far about what the rows cover; complete after the last one.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        self.batches.coverage()
    }

    /// A handle to the coverage that outlives this stream.
    #[must_use]
    pub fn coverage_handle(&self) -> CoverageHandle {
        self.batches.coverage_handle()
    }
}

impl<R: Record> Stream for Rows<R> {
    type Item = Result<R, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(row) = self.ready.next() {
                return Poll::Ready(Some(Ok(row)));
            }
            if let Some(error) = self.failure.take() {
                self.failed = true;
                return Poll::Ready(Some(Err(error)));
            }
            if self.failed {
                return Poll::Ready(None);
            }
            let Some(batch) = ready!(self.batches.poll_next_unpin(cx)) else {
                return Poll::Ready(None);
            };
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    self.failed = true;
                    return Poll::Ready(Some(Err(error)));
                }
            };
            match R::from_batch(&batch) {
                Ok(rows) => {
                    self.ready = rows.into_iter();
                    self.before += batch.num_rows() as u64;
                }
                Err(error) => {
                    let (rows, error) = rows_before(&batch, error);
                    self.ready = rows.into_iter();
                    self.failure = Some(error.after(self.before).into());
                }
            }
        }
    }
}

/// The rows before the first one that is no record, and its error. A batch is read by column, so that the
/// error found first is not always that of the first row.
fn rows_before<R: Record>(
    batch: &RecordBatch,
    mut error: ConversionError,
) -> (Vec<R>, ConversionError) {
    let place = |error: &ConversionError| error.row.and_then(|row| usize::try_from(row).ok());
    let mut rows = batch.num_rows();
    while let Some(row) = place(&error).filter(|row| (1..rows).contains(row)) {
        rows = row;
        match R::from_batch(&batch.slice(0, rows)) {
            Ok(rows) => return (rows, error),
            Err(earlier) => error = earlier,
        }
    }
    (Vec::new(), error)
}
