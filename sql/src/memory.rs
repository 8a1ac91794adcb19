//! The memory that running queries share, which the setting `netabase.memory_limit` bounds.
//!
//! Idea: one pool for all queries of an engine. Operators that can spill get equal parts of what the
//! others leave, as in DataFusion's `FairSpillPool`. Two things differ. The limit can be changed while
//! queries run. And a sort's merge of what it spilled, which cannot spill itself and would take all that
//! is free, gets no more than the sort had: of several sorts that feed one merge, none can go
//! on without the others, so that the first to be done must not starve the rest.
//!
//! Invariant: a request that would exceed the limit of that moment is refused, which makes an
//! operator spill or the query fail. A lower limit takes nothing away that was given before.
//!
//! Non-goals: a limit for each query or session.

use std::collections::HashMap;
use std::fmt;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use netabase_store::Error;
use parking_lot::Mutex;

use crate::error::invalid;
use crate::quantity::size_text;
use crate::settings::MIN_MEMORY_LIMIT;

/// The setting that bounds it.
const MEMORY_LIMIT: &str = "netabase.memory_limit";
/// The pool's name.
const POOL: &str = "netabase";
/// The names of sorts begin with this; each is there together with its merge.
const SORT: &str = "ExternalSorter";
/// The names of operators that merge what a sort has spilled begin with this. They outlive the sort.
const SORT_MERGE: &str = "ExternalSorterMerge";
/// One of so many shares of its part a merge leaves alone, for what reads from all of them.
const RESERVE: usize = 4;
/// What a merge may have however small its part is: a sort reserves that much for it
/// (`sort_spill_reservation_bytes`).
const MERGE_BYTES: usize = 10 << 20;
/// Memory that operators reserve before they use it.
#[derive(Debug)]
pub(crate) struct QueryPool {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// How many operators can spill, beside sorts.
    spillers: usize,
    /// Bytes that these and sorts hold.
    spillable: usize,
    /// Bytes that the merges of all sorts hold, by their numbers.
    merges: HashMap<usize, usize>,
    /// Bytes that all others hold.
    fixed: usize,
}

impl QueryPool {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            state: Mutex::new(State {
                limit,
                spillers: 0,
                spillable: 0,
                merges: HashMap::new(),
                fixed: 0,
            }),
        }
    }

    /// Bytes that all operators hold.
    pub(crate) fn reserved_bytes(&self) -> usize {
        self.state.lock().reserved()
    }

    pub(crate) fn limit(&self) -> usize {
        self.state.lock().limit
    }

    /// Changes the limit, from the next request on.
    ///
    /// # Errors
    /// `InvalidInput` when no query could run with it.
    pub(crate) fn set_limit(&self, limit: usize) -> Result<(), Error> {
        if limit < MIN_MEMORY_LIMIT {
            return Err(invalid(format!(
                "{MEMORY_LIMIT} is {}, but must be at least {}",
                size_text(limit),
                size_text(MIN_MEMORY_LIMIT)
            )));
        }
        self.state.lock().limit = limit;
        Ok(())
    }
}

impl State {
    /// Bytes that this operator may still have.
    fn available(&self, reservation: &MemoryReservation) -> usize {
        let free = self.limit.saturating_sub(self.reserved());
        let parts = self.spillers.saturating_add(self.merges.len()).max(1);
        let shared = self.limit.saturating_sub(self.fixed);
        match Kind::of(reservation) {
            Kind::Spiller => {
                let reserved = MERGE_BYTES.saturating_mul(self.merges.len());
                let mut part = shared.saturating_sub(reserved) / parts;
                // What a sort holds when it is full, its merge must be able to hold.
                if reservation.consumer().name().starts_with(SORT) {
                    part = part.min(merge_part(shared / parts));
                }
                free.min(part.saturating_sub(reservation.size()))
            }
            Kind::Merge(merge) => {
                let most = merge_part(shared / parts);
                // It has several reservations at a time.
                let has = self.merges.get(&merge).copied().unwrap_or(0);
                free.min(most.saturating_sub(has))
            }
            Kind::Fixed => free,
        }
    }

    /// Changes what an operator holds.
    fn update(&mut self, reservation: &MemoryReservation, change: impl Fn(usize) -> usize) {
        match Kind::of(reservation) {
            Kind::Spiller => self.spillable = change(self.spillable),
            Kind::Merge(merge) => {
                let held = self.merges.entry(merge).or_default();
                *held = change(*held);
            }
            Kind::Fixed => self.fixed = change(self.fixed),
        }
    }

    fn reserved(&self) -> usize {
        let merging = self.merges.values().copied();
        merging.fold(
            self.spillable.saturating_add(self.fixed),
            usize::saturating_add,
        )
    }
}

/// What a merge may have of an operator's part.
fn merge_part(part: usize) -> usize {
    MERGE_BYTES.max(part - part / RESERVE)
}

/// What an operator does when it gets no more memory.
enum Kind {
    /// It spills.
    Spiller,
    /// It merges fewer runs at a time. The consumer's number.
    Merge(usize),
    /// It fails.
    Fixed,
}

impl Kind {
    fn of(reservation: &MemoryReservation) -> Self {
        let consumer = reservation.consumer();
        match consumer.can_spill() {
            true => Self::Spiller,
            false if is_merge(consumer) => Self::Merge(consumer.id()),
            false => Self::Fixed,
        }
    }
}

fn is_merge(consumer: &MemoryConsumer) -> bool {
    !consumer.can_spill() && consumer.name().starts_with(SORT_MERGE)
}

fn is_other_spiller(consumer: &MemoryConsumer) -> bool {
    consumer.can_spill() && !consumer.name().starts_with(SORT)
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MEMORY_LIMIT} = {}", size_text(self.limit()))
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        POOL
    }

    fn register(&self, consumer: &MemoryConsumer) {
        let mut state = self.state.lock();
        if is_merge(consumer) {
            state.merges.insert(consumer.id(), 0);
        } else if is_other_spiller(consumer) {
            state.spillers = state.spillers.saturating_add(1);
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut state = self.state.lock();
        if is_merge(consumer) {
            state.merges.remove(&consumer.id());
        } else if is_other_spiller(consumer) {
            state.spillers = state.spillers.saturating_sub(1);
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        let mut state = self.state.lock();
        state.update(reservation, |held| held.saturating_add(additional));
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut state = self.state.lock();
        state.update(reservation, |held| held.saturating_sub(shrink));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut state = self.state.lock();
        let available = state.available(reservation);
        if additional > available {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "{} needs {additional} bytes more than the {} it has, and may have {available} of \
                 {MEMORY_LIMIT} = {}: raise it, or ask for less",
                reservation.consumer().name(),
                reservation.size(),
                size_text(state.limit)
            )));
        }
        state.update(reservation, |held| held.saturating_add(additional));
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.state.lock().reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const MB: usize = 1 << 20;

    fn reserve(pool: &Arc<QueryPool>, name: &str, can_spill: bool) -> MemoryReservation {
        let pool: Arc<dyn MemoryPool> = Arc::clone(pool) as _;
        MemoryConsumer::new(name)
            .with_can_spill(can_spill)
            .register(&pool)
    }

    #[test]
    fn spilling_operators_share_what_the_others_leave() {
        let pool = Arc::new(QueryPool::new(100 * MB));
        let fixed = reserve(&pool, "fixed", false);
        let first = reserve(&pool, "first", true);
        first.try_grow(90 * MB).unwrap();
        first.shrink(90 * MB);
        fixed.try_grow(20 * MB).unwrap();
        let second = reserve(&pool, "second", true);
        first.try_grow(40 * MB).unwrap();
        assert!(first.try_grow(1).is_err());
        second.try_grow(40 * MB).unwrap();
        assert_eq!(pool.reserved(), 100 * MB);
        let error = fixed.try_grow(1).unwrap_err().to_string();
        assert!(error.contains("fixed needs 1 bytes more"), "{error}");
        assert!(error.contains("netabase.memory_limit = 100MB"), "{error}");
        drop((first, second));
        assert_eq!(pool.reserved(), 20 * MB);
        // Nobody else can spill any more.
        reserve(&pool, "third", true).try_grow(80 * MB).unwrap();
    }

    #[test]
    fn merges_leave_room_for_sorts_that_are_not_done() {
        let pool = Arc::new(QueryPool::new(400 * MB));
        let sorts: Vec<_> = (0..4)
            .map(|part| {
                let merge = reserve(&pool, &format!("{SORT_MERGE}[{part}]"), false);
                merge.try_grow(10 * MB).unwrap();
                (reserve(&pool, &format!("{SORT}[{part}]"), true), merge)
            })
            .collect();
        // All but the last are done, and merge as many runs as they can.
        let mut merging: Vec<_> = sorts
            .into_iter()
            .map(|(sort, merge)| (Some(sort), merge))
            .collect();
        let unfinished = merging.pop().unwrap();
        for (sort, merge) in &mut merging {
            *sort = None;
            let other = merge.new_empty();
            while merge.try_grow(9 * MB).is_ok() && other.try_grow(9 * MB).is_ok() {}
            assert!((60 * MB..=75 * MB).contains(&(merge.size() + other.size())));
            merge.try_grow(other.free()).unwrap();
        }
        unfinished.0.unwrap().try_grow(75 * MB).unwrap();
        // What reads from all of them has room, too.
        reserve(&pool, "SortPreservingMergeExec", false)
            .try_grow(75 * MB)
            .unwrap();
    }

    #[test]
    fn a_lower_limit_holds_from_the_next_request_on() {
        let pool = Arc::new(QueryPool::new(100 * MB));
        let operator = reserve(&pool, "sort", true);
        operator.try_grow(60 * MB).unwrap();
        pool.set_limit(50 * MB).unwrap();
        assert_eq!(pool.reserved(), 60 * MB);
        assert!(operator.try_grow(1).is_err());
        operator.shrink(30 * MB);
        operator.try_grow(20 * MB).unwrap();
        pool.set_limit(MIN_MEMORY_LIMIT).unwrap();
        assert!(pool.set_limit(MIN_MEMORY_LIMIT - 1).is_err());
        assert_eq!(pool.limit(), MIN_MEMORY_LIMIT);
    }
}
