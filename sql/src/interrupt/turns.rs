//! A node that hands its input on, and lets others run now and then.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use futures::{Stream, StreamExt};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use super::{Ending, Plan, TURN};
use crate::error::error_to_datafusion;
use crate::pass_through::{Manner, PassThrough};

thread_local! {
    /// When the join that this thread polls just now was polled.
    static POLLED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Does a part of the work of a poll. Once the poll has lasted for a turn, the other tasks of this
/// thread are given to another one meanwhile; they do not come back, so that this costs little from
/// then on.
pub(super) fn apart_if_long<T>(work: impl FnOnce() -> T) -> T {
    let is_long = POLLED.get().is_some_and(|polled| polled.elapsed() > TURN);
    // Elsewhere there is no other thread, and it panics.
    let flavor = |handle: Handle| handle.runtime_flavor();
    match is_long && Handle::try_current().map(flavor).ok() == Some(RuntimeFlavor::MultiThread) {
        true => block_in_place(work),
        false => work(),
    }
}

/// See the module.
pub(super) type TurnsExec = PassThrough<Turned>;

/// Whose end is noticed.
#[derive(Debug, Clone)]
pub(super) struct Turned(pub(super) Ending);

impl Manner for Turned {
    const NAME: &'static str = "TurnsExec";

    fn execute(
        &self,
        input: &Plan,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(Turns {
            rows: input.execute(partition, context)?,
            ending: self.0.clone(),
            began: None,
        }))
    }
}

/// The rows of a join.
struct Turns {
    rows: SendableRecordBatchStream,
    ending: Ending,
    /// When it was first polled since others ran.
    began: Option<Instant>,
}

impl Stream for Turns {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Err(error) = self.ending.check() {
            return Poll::Ready(Some(Err(error_to_datafusion(error))));
        }
        let now = Instant::now();
        if now.duration_since(*self.began.get_or_insert(now)) > TURN {
            self.began = None;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // Joins poll joins.
        let outer = POLLED.replace(Some(now));
        let polled = self.rows.poll_next_unpin(cx);
        POLLED.set(outer);
        if polled.is_pending() {
            self.began = None;
        }
        polled
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl RecordBatchStream for Turns {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}
