//! Running a query until it ends, fails, or its time is up.
//!
//! Purpose: plan, execute and await the first batch; before that, a failure that the cluster can
//! mend is answered by planning again.
//!
//! Invariant: no row that was handed out is ever followed by a second attempt, so that a retry can
//! neither repeat nor omit a row.

use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use netabase_store::Error;
use parking_lot::Mutex;

use crate::deadline::Deadline;
use crate::engine::Engine;
use crate::error::error_from_datafusion;
use crate::held::{Reader, SharedPlan};
use crate::interrupt::interruptible;
use crate::mended::as_they_are;
use crate::metered::metered;
use crate::output::{Output, ScanInfo, ScanLog};
use crate::running::{Phase, Statement};

/// The most attempts of one query, whatever the cluster says.
const MAX_ATTEMPTS: usize = 16;

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
    let statement = Statement::current();
    let optimized = as_they_are(state.optimize(logical)?)?;
    let planner = Arc::clone(state.query_planner());
    let plan = planner.create_physical_plan(&optimized, &state).await?;
    let plan = interruptible(plan, &statement)?;
    let scans = log.complete(&plan);
    let context = metered(TaskContext::from(&state), &statement);
    statement.enter_phase(Phase::Running);
    let running = execute_stream(Arc::clone(&plan), context)?;
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
    let plan = SharedPlan::new(Mutex::new(Some(plan)));
    let rows = Reader::new(first, running, (&plan, deadline));
    Ok(Output::query(Box::pin(rows), plan, scans))
}
