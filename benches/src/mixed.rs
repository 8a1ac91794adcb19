//! Reads, writes and short scans together, for a long time.
//!
//! Purpose: what a store is like after minutes of work: how long the slow reads take, and whether
//! memory and disk stay in proportion to the rows. The number of live rows does not change.
//! Invariant: nothing here grows with the length of the run, so that memory is the store's. What is
//! told of memory and disk is the most that was seen, not what is left at the end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::arguments::Settings;
use crate::histogram::Histogram;
use crate::process::{self, MB};
use crate::report::Figure;
use crate::store::{DEFAULT_ROWS, KEY, KeyValue, Ours, VALUE, key, mixed, value};

/// Threads that work, each on its own.
const THREADS: u64 = 4;
/// Percent of the operations that read one row.
const READS: u64 = 80;
/// Percent of the operations that write one row, durably. The others scan.
const WRITES: u64 = 15;
/// Rows of a short scan.
const SCAN_ROWS: usize = 100;
/// Time between two looks at memory and disk.
const LOOK: Duration = Duration::from_secs(1);
/// Time between two lines of the samples.
const SAMPLE: Duration = Duration::from_secs(10);
/// How long to sleep before looking at the clock again.
const TICK: Duration = Duration::from_millis(100);
/// The share of the run after which memory has settled.
const SETTLED: f64 = 0.1;

/// What the threads share.
struct Run<'a> {
    store: &'a Ours,
    rows: u64,
    done: AtomicU64,
    stop: AtomicBool,
}

/// What a run showed.
struct Outcome {
    reads: Histogram,
    operations: f64,
    watched: Watched,
}

/// Memory and disk over a run.
#[derive(Default)]
struct Watched {
    /// Memory once it has settled, and the most from then on.
    settled_mb: f64,
    most_mb: f64,
    /// The most bytes on disk.
    most_disk: u64,
}

pub(crate) async fn run(settings: &Settings) -> Result<(), Failure> {
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || measure(&settings)).await?
}

fn measure(settings: &Settings) -> Result<(), Failure> {
    let folder = process::scratch_folder(settings)?;
    let rows = settings.rows.unwrap_or(DEFAULT_ROWS) as u64;
    let store = Ours::open(folder.path())?;
    eprintln!("loading {rows} rows");
    store.load(0..rows)?;
    let run = Run {
        store: &store,
        rows,
        done: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let time = Duration::from_secs_f64(60.0 * settings.minutes);
    let disk = || process::folder_bytes(folder.path());
    let outcome = work(&run, time, &disk)?;
    let live = rows as f64 * (KEY + VALUE) as f64;
    for figure in figures(&outcome, live) {
        eprintln!("{:<18} {:.3} {}", figure.bench, figure.value, figure.unit);
        figure.print()?;
    }
    Box::new(store).close()
}

/// `live`: bytes of the rows.
fn figures(outcome: &Outcome, live: f64) -> Vec<Figure> {
    let milliseconds = |share| 1000.0 * outcome.reads.percentile(share);
    let Watched {
        settled_mb,
        most_mb,
        most_disk,
    } = outcome.watched;
    vec![
        Figure::new("mixed.read_p50", milliseconds(0.5), "ms"),
        Figure::new("mixed.read_p99", milliseconds(0.99), "ms"),
        Figure::new("mixed.ops", outcome.operations, "ops/s"),
        Figure::new("mixed.rss", most_mb, "MB"),
        Figure::new("mixed.rss_growth", most_mb / settled_mb, "ratio"),
        Figure::new("mixed.disk", most_disk as f64 / live, "ratio"),
    ]
}

/// Lets the threads work for this time and watches them.
fn work(
    run: &Run<'_>,
    time: Duration,
    disk: &dyn Fn() -> Result<u64, Failure>,
) -> Result<Outcome, Failure> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|seed| scope.spawn(move || one_thread(run, seed)))
            .collect();
        let started = Instant::now();
        let watched = watch(run, time, disk);
        run.stop.store(true, Ordering::Relaxed);
        let mut reads = Histogram::default();
        for thread in threads {
            reads.merge(&thread.join().map_err(|_| "a thread failed")??);
        }
        let seconds = started.elapsed().as_secs_f64();
        Ok(Outcome {
            reads,
            operations: run.done.load(Ordering::Relaxed) as f64 / seconds,
            watched: watched?,
        })
    })
}

/// Looks at memory and disk, and writes samples to stderr.
fn watch(
    run: &Run<'_>,
    time: Duration,
    disk: &dyn Fn() -> Result<u64, Failure>,
) -> Result<Watched, Failure> {
    let started = Instant::now();
    let mut watched = Watched::default();
    let (mut looks, mut samples, mut before) = (0, 0, 0);
    while started.elapsed() < time && !run.stop.load(Ordering::Relaxed) {
        thread::sleep(TICK.min(time));
        let last = started.elapsed() >= time;
        if started.elapsed() < LOOK * (looks + 1) && !last {
            continue;
        }
        looks += 1;
        let (memory, disk) = (process::resident_mb(None)?, disk()?);
        watched.most_disk = watched.most_disk.max(disk);
        if started.elapsed() >= time.mul_f64(SETTLED) {
            if watched.settled_mb == 0.0 {
                watched.settled_mb = memory;
            }
            watched.most_mb = watched.most_mb.max(memory);
        }
        if started.elapsed() >= SAMPLE * (samples + 1) {
            samples += 1;
            let done = run.done.load(Ordering::Relaxed);
            let speed = (done - before) as f64 / SAMPLE.as_secs_f64();
            before = done;
            let (seconds, disk) = (started.elapsed().as_secs(), disk as f64 / MB);
            let inside = run.store.sizes();
            eprintln!(
                "{seconds:>6} s {speed:>10.0} ops/s {memory:>8.0} MB memory {disk:>8.0} MB disk \
                 ({inside})"
            );
        }
    }
    Ok(watched)
}

/// One thread's work until it is told to stop; the others are told when it fails.
fn one_thread(run: &Run<'_>, seed: u64) -> Result<Histogram, Failure> {
    let mut reads = Histogram::default();
    let mut step = seed << 48;
    while !run.stop.load(Ordering::Relaxed) {
        step += 1;
        if let Err(failure) = operation(run, mixed(step), &mut reads) {
            run.stop.store(true, Ordering::Relaxed);
            return Err(failure);
        }
        run.done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(reads)
}

fn operation(run: &Run<'_>, random: u64, reads: &mut Histogram) -> Result<(), Failure> {
    // Different bits for the kind and for the row.
    let (kind, row) = (random % 100, (random >> 16) % run.rows);
    if kind < READS {
        let started = Instant::now();
        let found = run.store.get(&key(row))?;
        reads.add(started.elapsed());
        return match found {
            Some(VALUE) => Ok(()),
            found => Err(format!("row {row} has {found:?} bytes").into()),
        };
    }
    if kind < READS + WRITES {
        return run.store.put(&key(row), &value(random));
    }
    // The row is there, whoever writes it meanwhile.
    match run.store.scan(&key(row), SCAN_ROWS)?.first() {
        Some(first) if *first == (key(row), VALUE) => Ok(()),
        first => Err(format!("a scan from row {row} begins with {first:?}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_reads_writes_and_scans() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = Ours::open(folder.path()).unwrap();
        store.load(0..500).unwrap();
        let run = Run {
            store: &store,
            rows: 500,
            done: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        };
        let outcome = work(&run, Duration::from_millis(200), &|| Ok(1)).unwrap();
        assert!(outcome.operations > 0.0 && outcome.watched.settled_mb > 0.0);
        let figures = figures(&outcome, 2.0);
        assert_eq!(figures.len(), 6);
        assert!(figures.iter().all(|figure| figure.value > 0.0));
    }
}
