//! The clause that needs several threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::data::{Failure, Outcome, ensure};
use crate::backend::{Backend, Batch};

/// Threads that read.
const READERS: usize = 3;
/// Threads that write, each to a map of its own.
const WRITERS: usize = 2;
/// Batches of each thread that writes.
const ROUNDS: u32 = 200;
/// Entries that every batch of the observed writer sets to the number of its round.
const WIDTH: u8 = 32;
/// Maps of the observed writer: batches span maps.
const FIRST: &str = "first";
const LAST: &str = "last";

/// Readers watch one writer, whose batches each set many entries of two maps to the same number;
/// other writers work beside it.
pub(super) fn concurrency(backend: &dyn Backend) -> Outcome {
    write_round(backend, 0)?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|_| scope.spawn(|| watch(backend, &done)))
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| scope.spawn(move || write_own(backend, &format!("own {number}"))))
            .collect();
        // On a thread of its own, too: a panic must not keep the readers from being told to stop.
        let observed = scope.spawn(|| (1..=ROUNDS).try_for_each(|at| write_round(backend, at)));
        let written = joined(observed.join());
        let others = writers
            .into_iter()
            .try_for_each(|writer| joined(writer.join()));
        done.store(true, Ordering::Release);
        // All threads are waited for, whichever failed first.
        let watched = readers.into_iter().map(|reader| joined(reader.join()));
        let watched: Vec<Outcome> = watched.collect();
        written.and(others)?;
        watched.into_iter().collect::<Outcome>()
    })?;
    for number in 0..WRITERS {
        let entries = backend.range(&format!("own {number}"), &[], None, usize::MAX)?;
        ensure(entries.len() == ROUNDS as usize, || {
            format!(
                "{WRITERS} threads wrote {ROUNDS} entries each beside each other; of one, {} are \
                 there",
                entries.len()
            )
        })?;
    }
    Ok(())
}

fn joined(ended: thread::Result<Outcome>) -> Outcome {
    ended.unwrap_or_else(|_| Err(Failure("the backend panicked".to_owned())))
}

fn write_round(backend: &dyn Backend, round: u32) -> Outcome {
    let mut batch = Batch::new();
    for map in [FIRST, LAST] {
        for key in 0..WIDTH {
            batch.put(map, [key], round.to_be_bytes());
        }
    }
    Ok(backend.apply(batch)?)
}

fn write_own(backend: &dyn Backend, map: &str) -> Outcome {
    for round in 0..ROUNDS {
        let mut batch = Batch::new();
        batch.put(map, round.to_be_bytes(), b"value");
        backend.apply(batch)?;
    }
    Ok(())
}

/// What is read later is never older: a batch becomes visible at once in all its maps, whichever
/// is read first.
fn watch(backend: &dyn Backend, done: &AtomicBool) -> Outcome {
    let mut before = 0;
    loop {
        let last_look = done.load(Ordering::Acquire);
        for (map, key) in [(FIRST, 0), (LAST, WIDTH - 1), (FIRST, 0), (LAST, WIDTH - 1)] {
            let round = round_of(backend.get(map, &[key])?.as_deref())?;
            ensure(round >= before, || {
                format!("a reader saw a part of batch {before}, then map {map:?} as of {round}")
            })?;
            before = round;
        }
        let entries = backend.range(LAST, &[], None, usize::MAX)?;
        ensure(entries.len() == usize::from(WIDTH), || {
            format!(
                "a range beside a writer gave {} of {WIDTH} entries",
                entries.len()
            )
        })?;
        for (_, value) in &entries {
            let round = round_of(Some(value))?;
            ensure(round >= before, || {
                format!("a range that began after batch {before} gave a value of {round}")
            })?;
        }
        if last_look {
            return Ok(());
        }
    }
}

fn round_of(value: Option<&[u8]>) -> Outcome<u32> {
    let round = value.and_then(|value| value.try_into().ok());
    round.map(u32::from_be_bytes).ok_or_else(|| {
        Failure("an entry that is always there was missing, or no value that was put".to_owned())
    })
}
