//! The same statements, made by chance from a seed, given to our engine and to SQLite.
//!
//! Answers, counts of changed rows and whole tables must be the same; both refuse a statement, or
//! neither does. Between statements our rows are moved to segments, merged, and read back from the
//! disk. Where SQL means two things to the two of them, no statement is made; the modules say where
//! and why. What differs is printed with its seed and the shortest script that shows it, and becomes
//! an `.slt` once it is mended.
//!
//! `NETABASE_DIFFERENTIAL_STATEMENTS` says how many statements are run, `NETABASE_DIFFERENTIAL_SEED`
//! which script is the first.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod aggregate;
mod change;
mod condition;
mod dice;
mod expr;
mod query;
mod relation;
mod run;
mod schema;
mod script;
mod shrink;
mod tree;

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use run::{Difference, Outcome, Tally, run};
use script::{Script, Step};
use shrink::Shrinker;
use tree::Dialect;

/// Statements unless told otherwise.
const STATEMENTS: usize = 10_000;
/// The seed of the first script unless told otherwise.
const SEED: u64 = 1;
/// Statements after which a long run says how far it is.
const MILESTONE: usize = 50_000;
/// Scripts that run side by side.
const THREADS: usize = 2;
/// Differences that are printed before the test gives up.
const DIFFERENCES: usize = 5;
/// Of a hundred statements, those that a known limit may keep from being compared.
const MOST_LIMITED: usize = 2;
/// Of a thousand statements, those to which SQLite may give two answers.
const MOST_DOUBTED: usize = 1;
/// Of a hundred statements, those that both may refuse.
const MOST_FAILED: usize = 10;
/// Of a hundred statements, those that must give rows.
const LEAST_FILLED: usize = 20;

fn number_from(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
        Err(_) => default,
    }
}

/// What all threads share.
struct Shared {
    seed: AtomicU64,
    left: AtomicUsize,
    tally: Mutex<Tally>,
    differences: Mutex<Vec<String>>,
    enough: AtomicBool,
}

impl Shared {
    /// Takes scripts until all statements are run.
    async fn work(&self) {
        while self.left.load(Ordering::Relaxed) > 0 && !self.enough.load(Ordering::Relaxed) {
            let script = Script::random(self.seed.fetch_add(1, Ordering::Relaxed));
            let count = script.statements();
            match run(&script).await {
                Ok(tally) => {
                    let mut sum = self.tally.lock().unwrap();
                    let before = sum.statements / MILESTONE;
                    sum.statements += tally.statements;
                    if sum.statements / MILESTONE > before {
                        eprintln!("seed {}: {} statements", script.seed, sum.statements);
                    }
                    sum.failed += tally.failed;
                    sum.filled += tally.filled;
                    sum.limited += tally.limited;
                    sum.doubted += tally.doubted;
                }
                Err(difference) => {
                    let (ours, sqlite) = difference.class();
                    eprintln!(
                        "seed {} differs ({ours}; SQLite: {sqlite}) in {}; making it smaller",
                        script.seed, difference.sql
                    );
                    let mut shrinker = Shrinker::new(script, *difference);
                    shrinker.shrink().await;
                    let told = told(&shrinker.script, &shrinker.difference);
                    eprintln!("{told}");
                    let mut differences = self.differences.lock().unwrap();
                    differences.push(told);
                    let enough = differences.len() >= DIFFERENCES;
                    self.enough.fetch_or(enough, Ordering::Relaxed);
                }
            }
            let less = |left: usize| Some(left.saturating_sub(count));
            let _ = self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }
}

/// A script, and what differs at its end.
fn told(script: &Script, difference: &Difference) -> String {
    let mut text = String::new();
    let (partitions, batch) = (script.target_partitions, script.batch_size);
    let seed = script.seed;
    writeln!(
        text,
        "-- seed {seed}, {partitions} partitions, batches of {batch} rows"
    )
    .unwrap();
    for step in &script.steps {
        match step {
            Step::Sql(tree) => writeln!(text, "{};", tree.text(Dialect::Ours)).unwrap(),
            Step::Compact(table) => writeln!(text, "COMPACT TABLE {table};").unwrap(),
            other => writeln!(text, "-- {other:?}").unwrap(),
        }
    }
    let outcome = |outcome: &Outcome| match outcome {
        Outcome::Rows(rows) => rows.iter().map(|row| format!("\n--   {row:?}")).collect(),
        other => format!("{other:?}"),
    };
    writeln!(text, "-- differs: {}", difference.sql).unwrap();
    writeln!(text, "-- ours: {}", outcome(&difference.ours)).unwrap();
    writeln!(text, "-- SQLite: {}", outcome(&difference.sqlite)).unwrap();
    text
}

#[test]
fn answers_are_those_of_sqlite() {
    let statements = number_from("NETABASE_DIFFERENTIAL_STATEMENTS", STATEMENTS as u64) as usize;
    let shared = Arc::new(Shared {
        seed: AtomicU64::new(number_from("NETABASE_DIFFERENTIAL_SEED", SEED)),
        left: AtomicUsize::new(statements),
        tally: Mutex::default(),
        differences: Mutex::default(),
        enough: AtomicBool::new(false),
    });
    let threads = (0..THREADS).map(|_| {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(shared.work());
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
    let differences = shared.differences.lock().unwrap();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let tally = shared.tally.lock().unwrap().clone();
    eprintln!("{tally:?}");
    // A generator whose statements mostly fail, or find nothing, tests nothing.
    assert!(tally.statements >= statements);
    assert!(
        tally.limited * 100 <= tally.statements * MOST_LIMITED,
        "{tally:?}"
    );
    assert!(
        tally.doubted * 1000 <= tally.statements * MOST_DOUBTED,
        "{tally:?}"
    );
    assert!(
        tally.failed * 100 <= tally.statements * MOST_FAILED,
        "{tally:?}"
    );
    assert!(
        tally.filled * 100 >= tally.statements * LEAST_FILLED,
        "{tally:?}"
    );
}
