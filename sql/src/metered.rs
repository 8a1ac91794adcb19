//! The memory of one statement.
//!
//! Invariant: what its operators get comes out of the engine's pool, and is given back there; here
//! it is only counted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::runtime_env::RuntimeEnv;

use crate::running::Statement;

/// A task's environment whose memory is counted for a statement.
pub(crate) fn metered(context: TaskContext, statement: &Statement) -> Arc<TaskContext> {
    let runtime = context.runtime_env();
    let pool = Metered {
        pool: Arc::clone(&runtime.memory_pool),
        held: statement.memory_counter(),
    };
    let runtime = RuntimeEnv {
        memory_pool: Arc::new(pool),
        ..RuntimeEnv::clone(&runtime)
    };
    Arc::new(context.with_runtime(Arc::new(runtime)))
}

#[derive(Debug)]
struct Metered {
    pool: Arc<dyn MemoryPool>,
    held: Arc<AtomicUsize>,
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)
    }
}

impl MemoryPool for Metered {
    fn name(&self) -> &str {
        self.pool.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.pool.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.pool.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pool.grow(reservation, additional);
        self.held.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, shrink);
        self.held.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.pool.try_grow(reservation, additional)?;
        self.held.fetch_add(additional, Ordering::Relaxed);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.pool.memory_limit()
    }
}
