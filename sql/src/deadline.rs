//! When a statement must be done, and what ends it then.
//!
//! Invariant: work that is bound here ends when the time is up or the statement is cancelled, unless it
//! has begun to write its rows; a started query is ended at its deadline even if nobody reads it.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::runtime::SpawnedTask;
use netabase_store::Error;
use tokio::time::{Instant, sleep_until};

use crate::running::{Cause, Ending, Statement};

/// When the statement of this task must be done, if ever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Option<Limit>);

#[derive(Debug, Clone, Copy)]
struct Limit {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    /// From now on; no timeout means that only a cancellation ends the statement.
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        let now = Instant::now();
        // A timeout beyond what the clock can express is none.
        let at = |timeout| now.checked_add(timeout).map(|at| Limit { at, timeout });
        Self(timeout.and_then(at))
    }

    /// Only a cancellation ends the statement: it changes definitions.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Runs a future until the statement ends; what the future holds is dropped then.
    ///
    /// # Errors
    /// `Unavailable` when the statement was ended; those of the future.
    pub(crate) async fn bound<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let statement = Statement::current();
        tokio::select! {
            biased;
            error = statement.ended() => Err(error),
            error = self.expired(&statement) => Err(error),
            done = work => done,
        }
    }

    /// Is ready when the time is up.
    async fn expired(&self, statement: &Statement) -> Error {
        match self.0 {
            Some(limit) => {
                sleep_until(limit.at).await;
                match statement.end(Cause::TimedOut(limit.timeout)) {
                    Ending::Now | Ending::Before => statement.error(),
                    // It writes all of its rows.
                    Ending::Writing => std::future::pending().await,
                }
            }
            None => std::future::pending().await,
        }
    }
}

/// Ends a statement at its deadline, unless it is dropped before.
pub(crate) struct Watch {
    _task: Option<SpawnedTask<()>>,
}

impl Watch {
    pub(crate) fn start(deadline: Deadline, statement: &Arc<Statement>) -> Self {
        let statement = Arc::downgrade(statement);
        let task = deadline.0.map(|Limit { at, timeout }| {
            SpawnedTask::spawn(async move {
                sleep_until(at).await;
                if let Some(statement) = statement.upgrade() {
                    statement.end(Cause::TimedOut(timeout));
                }
            })
        });
        Self { _task: task }
    }
}
