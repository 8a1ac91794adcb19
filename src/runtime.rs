//! The runtime that statements run on.
//!
//! Purpose: a statement never runs on the caller's runtime (which may have one thread) nor on the
//! swarm's (whose heartbeats would starve).
//! Invariant: a task lives no longer than the future that waits for it; what it has begun to write the
//! engine writes to the end, which closing waits for.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use netabase_store::{Error, ErrorKind};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Stack of a query thread: deep plans recurse.
const THREAD_STACK: usize = 8 << 20;

/// How long [`QueryRuntime::stop`] waits for work that cannot be interrupted.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A tokio runtime with named threads that may be dropped anywhere.
#[derive(Debug)]
pub(crate) struct QueryRuntime {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl QueryRuntime {
    pub(crate) fn start(threads: usize) -> Result<Self, Error> {
        let next = AtomicUsize::new(0);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name_fn(move || {
                format!("netabase-query-{}", next.fetch_add(1, Ordering::Relaxed))
            })
            .thread_stack_size(THREAD_STACK)
            .enable_all()
            .build()
            .map_err(|e| Error::new(ErrorKind::Io, format!("cannot start query threads: {e}")))?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// Starts a task; it is aborted when the returned value is dropped.
    pub(crate) fn spawn<T, F>(&self, future: F) -> Task<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        Task(self.handle.spawn(future))
    }

    /// Runs a future here and waits for it there.
    pub(crate) async fn run<T, F>(&self, future: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.spawn(future).join().await
    }

    /// Runs blocking work on a thread that may block.
    pub(crate) async fn blocking<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Error> + Send + 'static,
    {
        Task(self.handle.spawn_blocking(work)).join().await
    }

    /// Ends every task and waits, within a limit, until its threads have gone. The waiting is done
    /// by a thread of its own, because a runtime cannot be joined from inside another.
    pub(crate) async fn stop(&self) {
        let Some(runtime) = self.take() else { return };
        let (done, wait) = tokio::sync::oneshot::channel();
        let joiner = std::thread::Builder::new()
            .name("netabase-close".into())
            .spawn(move || {
                runtime.shutdown_timeout(STOP_LIMIT);
                // The caller may have given up waiting.
                let _ = done.send(());
            });
        if joiner.is_ok() {
            let _ = wait.await;
        }
    }

    fn take(&self) -> Option<Runtime> {
        self.runtime
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Ends every task without waiting; safe to call from a runtime thread.
    pub(crate) fn shut_down(&self) {
        if let Some(runtime) = self.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for QueryRuntime {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// A running task that ends with its owner.
#[derive(Debug)]
pub(crate) struct Task<T>(JoinHandle<T>);

impl<T> Task<Result<T, Error>> {
    async fn join(mut self) -> Result<T, Error> {
        match (&mut self.0).await {
            Ok(result) => result,
            Err(failure) if failure.is_cancelled() => Err(closed()),
            Err(_) => Err(Error::new(
                ErrorKind::Io,
                "the statement's task panicked; the database is intact, please report the message \
                 printed on standard error",
            )),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What every call gets after `close`.
pub(crate) fn closed() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "this database is closed; open it again to use it",
    )
}
