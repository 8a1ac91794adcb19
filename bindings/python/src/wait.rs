//! Waiting without holding the interpreter.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use netabase::Error;
use pyo3::prelude::*;

use crate::failure::exception;

/// How often a wait asks whether the user pressed Ctrl-C.
const SIGNAL_STEP: Duration = Duration::from_millis(100);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a future to its end on this thread, with the interpreter free for others. Ctrl-C drops the
/// future and raises `KeyboardInterrupt`.
pub(crate) fn wait<T, F>(py: Python<'_>, future: F) -> PyResult<T>
where
    T: Send,
    F: Future<Output = Result<T, Error>> + Send,
{
    py.detach(|| {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut asked = Instant::now();
        loop {
            if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
                return done.map_err(|error| exception(&error));
            }
            thread::park_timeout(SIGNAL_STEP);
            if asked.elapsed() >= SIGNAL_STEP {
                Python::attach(|py| py.check_signals())?;
                asked = Instant::now();
            }
        }
    })
}
