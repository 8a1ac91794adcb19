//! Benchmarks of netabase against what it would replace.
//!
//! ```text
//! cargo run --release -p netabase-benches -- spine [--runs 20] [--partitions 2]
//! cargo run --release -p netabase-benches -- tpch --sf 1 --against duckdb
//! cargo run --release -p netabase-benches -- store
//! cargo run --release -p netabase-benches -- mixed --minutes 10
//! cargo run --release -p netabase-benches -- open
//! cargo run --release -p netabase-benches -- point
//! cargo run --release -p netabase-benches -- spill --gb 5
//! ```
//!
//! Purpose: figures that can be compared from change to change. Each benchmark runs its contenders
//! interleaved, over the same rows, and refuses to time them before their answers agree. Results are JSON lines on stdout; a table for people is on stderr.
//!
//! Not here: bars. Whoever reads the lines knows them.

#![forbid(unsafe_code)]
// Printing is what this program is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod arguments;
mod compare;
mod contender;
mod data;
mod histogram;
mod mixed;
mod open;
mod point;
mod process;
mod report;
mod spill;
mod spine;
mod store;
mod tpch;

use std::process::ExitCode;

use arguments::{Arguments, Settings};
use futures::future::BoxFuture;

/// What ends a benchmark: it is shown, and nobody decides on it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The exit code of a command line that is not understood.
const USAGE: u8 = 2;

/// One benchmark, started by its name.
struct Benchmark {
    name: &'static str,
    /// What is shown to people; nothing for a helper that a benchmark starts by itself.
    about: Option<&'static str>,
    run: fn(&Settings) -> BoxFuture<'_, Result<(), Failure>>,
}

/// All of them. A new one is a module with a `run` and a row here.
const BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        name: "spine",
        about: Some(
            "joins and aggregates over a year of flights: one peer, three peers, plain DataFusion",
        ),
        run: |settings| Box::pin(spine::run(settings)),
    },
    Benchmark {
        name: "tpch",
        about: Some("the 22 queries of TPC-H: one peer, DuckDB or plain DataFusion"),
        run: |settings| Box::pin(tpch::run(settings)),
    },
    Benchmark {
        name: "store",
        about: Some("durable writes, lookups and scans: sled, redb, fjall, SQLite"),
        run: |settings| Box::pin(store::run(settings)),
    },
    Benchmark {
        name: "mixed",
        about: Some("reads, writes and short scans together, for minutes"),
        run: |settings| Box::pin(mixed::run(settings)),
    },
    Benchmark {
        name: "open",
        about: Some("opening after a crash, without an index, and what an idle store takes"),
        run: |settings| Box::pin(open::run(settings)),
    },
    Benchmark {
        name: "point",
        about: Some("statements about one row, and planning: SQLite, DuckDB"),
        run: |settings| Box::pin(point::run(settings)),
    },
    Benchmark {
        name: "spill",
        about: Some("a sort of many times the memory that queries may have"),
        run: |settings| Box::pin(spill::run(settings)),
    },
    Benchmark {
        name: "spill-query",
        about: None,
        run: |settings| Box::pin(spill::query(settings)),
    },
    Benchmark {
        name: "tpch-load",
        about: None,
        run: |settings| Box::pin(tpch::load(settings)),
    },
    Benchmark {
        name: "open-write",
        about: None,
        run: |settings| Box::pin(open::write_and_wait(settings)),
    },
    Benchmark {
        name: "open-idle",
        about: None,
        run: |settings| Box::pin(open::idle(settings)),
    },
];

fn usage() -> String {
    let mut text = String::from("usage: netabase-benches <name> [--option value]...\n");
    for benchmark in BENCHMARKS {
        if let Some(about) = benchmark.about {
            text += &format!("  {:<10} {about}\n", benchmark.name);
        }
    }
    for line in arguments::help() {
        text += &format!("  {line}\n");
    }
    text
}

fn main() -> ExitCode {
    let Arguments { name, settings } = match arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprint!("{problem}\n{}", usage());
            return ExitCode::from(USAGE);
        }
    };
    let Some(benchmark) = BENCHMARKS.iter().find(|benchmark| benchmark.name == name) else {
        eprint!("no benchmark is called {name}\n{}", usage());
        return ExitCode::from(USAGE);
    };
    if cfg!(debug_assertions) && benchmark.about.is_some() {
        eprintln!("built without optimisation: the figures mean nothing; use --release");
    }
    match run(benchmark, &settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{name}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(benchmark: &Benchmark, settings: &Settings) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.partitions)
        .enable_all()
        .build()?;
    runtime.block_on((benchmark.run)(settings))
}
