//! The store by itself: durable writes, lookups and scans, against other embedded stores.
//!
//! Purpose: what a row costs before SQL and the network are added.
//! Invariant: every store gets the same rows, works on the same disk and is measured in turns; a
//! write counts once it is on disk, a read once its value has been found with its full length.
//! All stores run with their own defaults otherwise.

mod ours;
mod peer;
mod rust_peers;
mod sqlite;
mod upsert;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::arguments::Settings;
use crate::histogram::Histogram;
use crate::process;
use crate::report::{Figure, median, table};

pub(crate) use ours::{Ours, OursInSql, remove_index};
pub(crate) use peer::{KEY, KeyValue, Numbers, VALUE, key, mixed, value};
use peer::{Peer, number};

/// Turns of each measurement, unless told otherwise.
const DEFAULT_RUNS: usize = 3;
/// Seconds of each turn, unless told otherwise.
const DEFAULT_SECONDS: f64 = 3.0;
/// Rows that lookups choose from, unless told otherwise.
pub(crate) const DEFAULT_ROWS: usize = 1_000_000;
/// Rows of the scan for each row of the lookups.
pub(crate) const SCAN_FACTOR: u64 = 10;
/// Lookups between two openings of a store.
const LOOKUPS_PER_OPENING: u64 = 1000;
/// Threads of the benchmark with many writers.
const WRITERS: u64 = 64;

/// The stores; netabase is the first.
const PEERS: &[Peer] = &[
    Peer {
        name: "netabase",
        open: Ours::peer,
        numbers: OursInSql::peer,
    },
    Peer {
        name: "sled",
        open: rust_peers::sled_rows,
        numbers: rust_peers::sled_numbers,
    },
    Peer {
        name: "redb",
        open: rust_peers::redb_rows,
        numbers: rust_peers::redb_numbers,
    },
    Peer {
        name: "fjall",
        open: rust_peers::fjall_rows,
        numbers: rust_peers::fjall_numbers,
    },
    Peer {
        name: "sqlite",
        open: sqlite::rows,
        numbers: sqlite::numbers,
    },
];

/// What is measured, how long, and where.
struct Plan {
    peers: Vec<Peer>,
    folder: PathBuf,
    rows: u64,
    turns: usize,
    time: Duration,
}

impl Plan {
    fn folder(&self, measurement: &str, peer: &Peer) -> PathBuf {
        self.folder.join(measurement).join(peer.name)
    }
}

/// The median of one measurement, for each store.
struct Results {
    bench: &'static str,
    unit: &'static str,
    values: Vec<f64>,
}

pub(crate) async fn run(settings: &Settings) -> Result<(), Failure> {
    let settings = settings.clone();
    // The stores block, and so does everything here.
    tokio::task::spawn_blocking(move || measure(&settings)).await?
}

fn measure(settings: &Settings) -> Result<(), Failure> {
    let scratch = process::scratch_folder(settings)?;
    let plan = Plan {
        peers: chosen(&settings.against)?,
        folder: scratch.path().to_owned(),
        rows: settings.rows.unwrap_or(DEFAULT_ROWS) as u64,
        turns: settings.runs.unwrap_or(DEFAULT_RUNS),
        time: Duration::from_secs_f64(settings.seconds.unwrap_or(DEFAULT_SECONDS)),
    };
    let mut all = Vec::new();
    let measured = measurements(&plan, &mut |results| {
        for figure in figures(&results, &plan.peers) {
            figure.print()?;
        }
        all.push(results);
        Ok(())
    });
    // Also of what was measured before a failure.
    eprint!("{}", people_table(&plan, &all));
    measured
}

/// Takes the figures of a measurement as soon as they are known.
type Tell<'a> = dyn FnMut(Results) -> Result<(), Failure> + 'a;

fn measurements(plan: &Plan, tell: &mut Tell<'_>) -> Result<(), Failure> {
    for (bench, writers) in [
        ("store.put_durable_64", WRITERS),
        ("store.put_durable_1", 1),
    ] {
        tell(puts(plan, bench, writers)?)?;
    }
    lookups(plan, tell)?;
    let figure = upsert::upserts(plan)?;
    eprintln!(
        "{:<18} {:.3} s, {:?} of a plain load",
        figure.bench, figure.value, figure.ratio
    );
    figure.print()?;
    tell(scans(plan)?)
}

/// netabase and those that were asked for; all of them when none was.
fn chosen(against: &[String]) -> Result<Vec<Peer>, Failure> {
    let known = |name: &String| PEERS[1..].iter().any(|peer| peer.name == name);
    if let Some(name) = against.iter().find(|name| !known(name)) {
        return Err(format!("no store is called {name}").into());
    }
    let wanted = |peer: &Peer| against.is_empty() || against.iter().any(|name| name == peer.name);
    let others = PEERS[1..].iter().filter(|peer| wanted(peer));
    Ok(PEERS[..1].iter().chain(others).copied().collect())
}

/// Rows per second that many threads write, each row by itself and on disk.
fn puts(plan: &Plan, bench: &'static str, writers: u64) -> Result<Results, Failure> {
    let next = AtomicU64::new(0);
    // Only one is open at a time: some have threads that work, and sync, whoever else is measured.
    let values = in_turns(plan, bench, &plan.peers, |peer| {
        let store = prepared(&plan.folder(bench, peer), peer.open)?;
        let started = Instant::now();
        let written = thread::scope(|scope| {
            let threads: Vec<_> = (0..writers)
                .map(|_| scope.spawn(|| put_for(store.as_ref(), &next, plan.time)))
                .collect();
            let counts = threads.into_iter().map(|thread| match thread.join() {
                Ok(count) => count,
                Err(_) => Err("a writer failed".into()),
            });
            counts.sum::<Result<u64, Failure>>()
        })?;
        let rate = written as f64 / started.elapsed().as_secs_f64();
        store.close()?;
        Ok(rate)
    })?;
    Ok(Results {
        bench,
        unit: "rows/s",
        values,
    })
}

fn put_for(store: &dyn KeyValue, next: &AtomicU64, time: Duration) -> Result<u64, Failure> {
    let started = Instant::now();
    let mut written = 0;
    while started.elapsed() < time {
        let row = next.fetch_add(1, Ordering::Relaxed);
        store.put(&key(row), &value(row))?;
        written += 1;
    }
    Ok(written)
}

/// Lookups in a store that has been open, and in one that has just been opened. All rows are where
/// the store keeps them for good.
fn lookups(plan: &Plan, tell: &mut Tell<'_>) -> Result<(), Failure> {
    let mut stores = Vec::new();
    for peer in &plan.peers {
        eprintln!("loading {} rows into {}", plan.rows, peer.name);
        let store = prepared(&plan.folder("get", peer), peer.open)?;
        store.load(0..plan.rows)?;
        store.settle()?;
        // Each row has been read once before the first turn.
        get_all(store.as_ref(), 0..plan.rows)?;
        stores.push(store);
    }
    let hot = in_turns(plan, "store.get_hot", &stores, |store| {
        let (started, mut count) = (Instant::now(), 0);
        while started.elapsed() < plan.time {
            let from = mixed(count) % plan.rows;
            get_all(store.as_ref(), from..plan.rows.min(from + 1))?;
            count += 1;
        }
        Ok(count as f64 / started.elapsed().as_secs_f64())
    })?;
    close(stores)?;
    let results = |bench, unit, values| Results {
        bench,
        unit,
        values,
    };
    tell(results("store.get_hot", "gets/s", hot))?;
    let cold = in_turns(plan, "store.get_disk", &plan.peers, |peer| {
        get_after_opening(peer, &plan.folder("get", peer), plan.rows)
    })?;
    tell(results("store.get_disk", "us", cold))
}

fn get_all(store: &dyn KeyValue, rows: Range<u64>) -> Result<(), Failure> {
    for row in rows {
        match store.get(&key(row))? {
            Some(VALUE) => {}
            found => return Err(format!("row {row} has {found:?} bytes").into()),
        }
    }
    Ok(())
}

/// The median of lookups in a store that nothing has been read from, in microseconds. The system's
/// own cache of files cannot be emptied from here.
fn get_after_opening(peer: &Peer, folder: &Path, rows: u64) -> Result<f64, Failure> {
    let store = (peer.open)(folder)?;
    let mut times = Histogram::default();
    for lookup in 0..LOOKUPS_PER_OPENING {
        let row = mixed(lookup) % rows;
        let started = Instant::now();
        get_all(store.as_ref(), row..row + 1)?;
        times.add(started.elapsed());
    }
    store.close()?;
    Ok(times.percentile(0.5) * 1e6)
}

/// Rows per second of a sum over a table of two integers.
fn scans(plan: &Plan) -> Result<Results, Failure> {
    let rows = plan.rows * SCAN_FACTOR;
    let expected: i64 = (0..rows).map(number).sum();
    let mut stores = Vec::new();
    for peer in &plan.peers {
        eprintln!("loading {rows} numbers into {}", peer.name);
        let store = prepared(&plan.folder("scan", peer), peer.numbers)?;
        store.load(rows)?;
        stores.push(store);
    }
    let values = in_turns(plan, "store.scan", &stores, |store| {
        let started = Instant::now();
        let sum = store.sum()?;
        if sum != expected {
            return Err(format!("the sum is {expected} and not {sum}").into());
        }
        Ok(rows as f64 / started.elapsed().as_secs_f64())
    })?;
    Ok(Results {
        bench: "store.scan",
        unit: "rows/s",
        values,
    })
}

/// Opens in a folder whose parent is there.
fn prepared<T>(folder: &Path, open: fn(&Path) -> Result<T, Failure>) -> Result<T, Failure> {
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent)?;
    }
    open(folder)
}

fn close(stores: Vec<Box<dyn KeyValue>>) -> Result<(), Failure> {
    stores.into_iter().try_for_each(|store| store.close())
}

/// Measures every store once per turn, another one first each time; the medians.
fn in_turns<T>(
    plan: &Plan,
    bench: &str,
    stores: &[T],
    measure: impl Fn(&T) -> Result<f64, Failure>,
) -> Result<Vec<f64>, Failure> {
    eprintln!("measuring {bench}");
    let mut values = vec![Vec::new(); stores.len()];
    for turn in 0..plan.turns {
        for place in 0..stores.len() {
            let index = (turn + place) % stores.len();
            let name = plan.peers[index].name;
            let value = measure(&stores[index]);
            values[index].push(value.map_err(|failure| format!("{bench}, {name}: {failure}"))?);
        }
    }
    Ok(values.iter().map(|values| median(values)).collect())
}

/// Ours alone, and ours beside each of the others.
fn figures(results: &Results, peers: &[Peer]) -> Vec<Figure> {
    let Some((ours, others)) = results.values.split_first() else {
        return Vec::new();
    };
    let figure = || Figure::new(results.bench, *ours, results.unit);
    let others = peers.iter().skip(1).zip(others);
    let compared = others.map(|(peer, other)| figure().against(peer.name, *other));
    std::iter::once(figure()).chain(compared).collect()
}

fn people_table(plan: &Plan, all: &[Results]) -> String {
    let mut header = vec![format!("median of {}", plan.turns), String::new()];
    header.extend(plan.peers.iter().map(|peer| peer.name.to_owned()));
    let mut rows = vec![header];
    for results in all {
        let mut row = vec![results.bench.to_owned(), results.unit.to_owned()];
        row.extend(results.values.iter().map(|value| format!("{value:.1}")));
        rows.push(row);
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_ours_and_one_for_each_other() {
        let results = Results {
            bench: "store.scan",
            unit: "rows/s",
            values: vec![10.0, 5.0],
        };
        let peers = chosen(&["sled".to_owned()]).unwrap();
        let figures = figures(&results, &peers);
        assert_eq!(figures.len(), 2);
        assert_eq!((figures[0].against, figures[0].ratio), (None, None));
        assert_eq!(
            (figures[1].against, figures[1].ratio),
            (Some("sled"), Some(2.0))
        );
        assert!(chosen(&["netabase".to_owned()]).is_err());
    }

    #[test]
    fn figures_are_told_as_they_are_measured() {
        let folder = tempfile::TempDir::new().unwrap();
        let plan = Plan {
            peers: chosen(&["sqlite".to_owned()]).unwrap(),
            folder: folder.path().to_owned(),
            rows: 100,
            turns: 1,
            time: Duration::from_millis(5),
        };
        let mut told = Vec::new();
        let stopped = measurements(&plan, &mut |results: Results| {
            assert!(results.values.iter().all(|value| *value > 0.0));
            told.push(results.bench);
            match results.bench {
                "store.get_disk" => Err("a late failure".into()),
                _ => Ok(()),
            }
        });
        assert_eq!(stopped.unwrap_err().to_string(), "a late failure");
        let earlier = [
            "store.put_durable_64",
            "store.put_durable_1",
            "store.get_hot",
            "store.get_disk",
        ];
        assert_eq!(told, earlier);
    }

    #[test]
    fn every_store_gives_back_what_it_got() {
        let folder = tempfile::TempDir::new().unwrap();
        for peer in PEERS {
            let store = (peer.open)(&folder.path().join(peer.name)).unwrap();
            store.load(0..200).unwrap();
            store.settle().unwrap();
            store.put(&key(200), &value(200)).unwrap();
            get_all(store.as_ref(), 0..201).unwrap();
            assert_eq!(store.get(&key(201)).unwrap(), None, "{}", peer.name);
            store.close().unwrap();
            let numbers = folder.path().join(format!("{}-numbers", peer.name));
            let store = (peer.numbers)(&numbers).unwrap();
            store.load(100).unwrap();
            let expected: i64 = (0..100).map(number).sum();
            assert_eq!(store.sum().unwrap(), expected, "{}", peer.name);
        }
    }
}
