//! A query's stream, which can be taken away from whoever reads it.
//!
//! Invariant: once the statement was ended nothing of the stream is left after the poll that may be
//! running then; the reader is woken, and gets the reason as an error, once.
//!
//! Non-goal: stopping an operator in the middle of a poll.

use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::physical_plan::ExecutionPlan;
use futures::task::AtomicWaker;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;

use crate::deadline::{Deadline, Watch};
use crate::error::error_to_datafusion;
use crate::panics;
use crate::running::{Phase, Statement};

/// The plan of a query that runs, until it is taken away; operators leave tables in it.
pub(crate) type SharedPlan = Arc<Mutex<Option<Arc<dyn ExecutionPlan>>>>;

/// What a running query holds.
pub(crate) struct Held {
    stream: Mutex<Option<Parts>>,
    plan: SharedPlan,
    reader: AtomicWaker,
}

struct Parts {
    first: Option<RecordBatch>,
    rest: SendableRecordBatchStream,
}

impl Held {
    /// Drops the stream, or lets whoever polls it just now do so.
    pub(crate) fn release(&self) {
        // Whoever polls looks at the statement afterwards.
        let taken = self.stream.try_lock().and_then(|mut held| held.take());
        drop(taken);
        let plan = self.plan.lock().take();
        drop(plan);
        self.reader.wake();
    }
}

/// A started query, as its output reads it.
pub(crate) struct Reader {
    schema: SchemaRef,
    held: Arc<Held>,
    statement: Arc<Statement>,
    done: bool,
    _watch: Watch,
}

impl Reader {
    /// The rows of a stream of which one batch may have been read.
    pub(crate) fn new(
        first: Option<RecordBatch>,
        rest: SendableRecordBatchStream,
        (plan, deadline): (&SharedPlan, Deadline),
    ) -> Self {
        let schema = rest.schema();
        let held = Arc::new(Held {
            stream: Mutex::new(Some(Parts { first, rest })),
            plan: Arc::clone(plan),
            reader: AtomicWaker::new(),
        });
        let statement = Statement::current();
        statement.enter_phase(Phase::Reading);
        statement.hold(&held);
        Self {
            schema,
            held,
            _watch: Watch::start(deadline, &statement),
            statement,
            done: false,
        }
    }

    /// Polls the stream; an error if it was taken away.
    fn poll_held(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<RecordBatch, DataFusionError>>> {
        let mut held = self.held.stream.lock();
        let Some(parts) = held.as_mut() else {
            return Poll::Ready(Some(Err(error_to_datafusion(self.statement.error()))));
        };
        if self.statement.cause().is_some() {
            *held = None;
            return Poll::Ready(Some(Err(error_to_datafusion(self.statement.error()))));
        }
        let polled = match parts.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => {
                let poll = AssertUnwindSafe(|| parts.rest.poll_next_unpin(cx));
                panic::catch_unwind(poll).unwrap_or_else(|payload| {
                    let error = panics::error(payload.as_ref());
                    Poll::Ready(Some(Err(error_to_datafusion(error))))
                })
            }
        };
        if !matches!(polled, Poll::Pending | Poll::Ready(Some(Ok(_)))) {
            *held = None;
        }
        polled
    }
}

impl Stream for Reader {
    type Item = Result<RecordBatch, DataFusionError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        // Before the look at the stream, so that no wake is lost.
        self.held.reader.register(cx.waker());
        let polled = self.poll_held(cx);
        // It may have been ended during the poll, by somebody who did not wait for it.
        if self.statement.cause().is_some() {
            self.held.release();
        }
        match &polled {
            Poll::Ready(Some(Ok(batch))) => self.statement.add_rows(batch.num_rows()),
            Poll::Ready(_) => self.done = true,
            Poll::Pending => {}
        }
        polled
    }
}

impl RecordBatchStream for Reader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
