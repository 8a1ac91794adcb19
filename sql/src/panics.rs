//! A panic below is an error of its statement.
//!
//! Invariant: the thread that ran the statement lives on, and so does the engine: what statements
//! share is never left half changed, because only the store changes it, on threads of its own.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use netabase_store::{Error, ErrorKind};

/// Runs a future; a panic in it becomes an error.
pub(crate) async fn caught<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(done) => done,
        Err(payload) => Err(error(payload.as_ref())),
    }
}

/// The error for a panic.
pub(crate) fn error(payload: &(dyn Any + Send)) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given");
    failed(text)
}

/// The error for a panic whose text is known.
pub(crate) fn failed(text: &str) -> Error {
    Error::new(
        ErrorKind::Io,
        format!(
            "the query engine stopped at \"{text}\"; the database is intact, please report the \
             statement"
        ),
    )
}
