//! Running a query until it ends, fails, or its time is up.
//!
//! Purpose: plan, execute and await the first batch; before that, a failure that the cluster can
//! mend is answered by planning again.
//!
//! Invariant: no row that was handed out is ever followed by a second attempt, so that a retry can
//! neither repeat nor omit a row.

use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{FutureExt, Stream, StreamExt};
use netabase_store::Error;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::engine::Engine;
use crate::error::{error_from_datafusion, error_to_datafusion, unavailable};
use crate::output::{Output, ScanInfo, ScanLog};
use crate::panics;

/// The most attempts of one query, whatever the cluster says.
const MAX_ATTEMPTS: usize = 16;

/// When a statement must be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    pub(crate) fn after(timeout: Duration) -> Self {
        let now = Instant::now();
        // A timeout beyond what the clock can express is as good as a century.
        let century = Duration::from_secs(100 * 365 * 24 * 3600);
        let at = now.checked_add(timeout.min(century)).unwrap_or(now);
        Self { at, timeout }
    }

    pub(crate) fn error(&self) -> Error {
        unavailable(format!(
            "the statement took longer than {:?}; raise statement_timeout, or ask for less",
            self.timeout
        ))
    }

    /// Runs a future until the deadline.
    pub(crate) async fn bound<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        timeout_at(self.at, work).await.map_err(|_| self.error())?
    }
}

/// Plans and starts a query.
pub(crate) async fn run(
    engine: &Engine,
    logical: &LogicalPlan,
    deadline: Deadline,
) -> Result<Output, Error> {
    deadline
        .bound(run_with_retries(engine, logical, deadline))
        .await
}

async fn run_with_retries(
    engine: &Engine,
    logical: &LogicalPlan,
    deadline: Deadline,
) -> Result<Output, Error> {
    let mut attempt = 0;
    loop {
        let error = match start(engine, logical, deadline).await {
            Ok(output) => return Ok(output),
            Err(error) => error,
        };
        attempt += 1;
        let again = attempt < MAX_ATTEMPTS && engine.cluster().should_retry(&error, attempt).await;
        if !again {
            return Err(error_from_datafusion(error));
        }
        tracing::debug!(attempt, %error, "the query failed before its first row; planning it again");
    }
}

/// One attempt.
async fn start(
    engine: &Engine,
    logical: &LogicalPlan,
    deadline: Deadline,
) -> Result<Output, DataFusionError> {
    let log = Arc::new(ScanLog::default());
    let state = state_with_log(engine, &log);
    let plan = state.create_physical_plan(logical).await?;
    let scans = log.complete(&plan);
    let running = execute_stream(Arc::clone(&plan), state.task_ctx())?;
    peek(running, plan, scans, deadline).await
}

/// The session's state with a log of its own for this attempt.
fn state_with_log(engine: &Engine, log: &Arc<ScanLog>) -> SessionState {
    let mut state = engine.context().state();
    state.config_mut().set_extension(Arc::clone(log));
    if let Some(changes) = engine.transaction().changes() {
        state.config_mut().set_extension(changes);
    }
    state.mark_start_execution();
    state
}

/// Waits for the first batch that has rows.
async fn peek(
    mut running: SendableRecordBatchStream,
    plan: Arc<dyn ExecutionPlan>,
    scans: Vec<ScanInfo>,
    deadline: Deadline,
) -> Result<Output, DataFusionError> {
    let mut first = None;
    while let Some(batch) = running.next().await.transpose()? {
        if batch.num_rows() > 0 {
            first = Some(batch);
            break;
        }
    }
    let stream = Bounded {
        first,
        rest: running,
        deadline,
        sleep: Box::pin(sleep_until(deadline.at)),
        failed: false,
    };
    Ok(Output::query(Box::pin(stream), plan, scans))
}

/// A started stream that ends at the deadline.
struct Bounded {
    first: Option<RecordBatch>,
    rest: SendableRecordBatchStream,
    deadline: Deadline,
    sleep: Pin<Box<Sleep>>,
    failed: bool,
}

impl Stream for Bounded {
    type Item = Result<RecordBatch, DataFusionError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        if self.sleep.poll_unpin(cx).is_ready() {
            self.failed = true;
            return Poll::Ready(Some(Err(error_to_datafusion(self.deadline.error()))));
        }
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let polled = panic::catch_unwind(AssertUnwindSafe(|| self.rest.poll_next_unpin(cx)));
        polled.unwrap_or_else(|payload| {
            self.failed = true;
            let error = error_to_datafusion(panics::error(payload.as_ref()));
            Poll::Ready(Some(Err(error)))
        })
    }
}

impl RecordBatchStream for Bounded {
    fn schema(&self) -> SchemaRef {
        self.rest.schema()
    }
}
