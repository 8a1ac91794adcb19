//! The `netabase` command: a peer, a SQL console, a key-value client, a demonstration, and what
//! looks after a data folder.
//!
//! Purpose: everything here goes through the public crate `netabase`, as any program would.
//! Invariant: results go to standard output, everything else to standard error; the exit code says
//! what kind of failure it was; a closed pipe is success.

#![forbid(unsafe_code)]

mod args;
mod connect;
mod counters;
mod demo;
mod exit;
mod kv;
mod node;
mod print;
mod progress;
mod prompt;
mod sql;
mod statements;
mod upkeep;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::{Arguments, Command};
use crate::exit::Failure;

/// What is logged to standard error unless `RUST_LOG` says otherwise.
const DEFAULT_LOG: &str = "warn,libp2p=error,libp2p_gossipsub=error,libp2p_kad=error";

fn main() -> ExitCode {
    match run() {
        Ok(()) | Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to be told when standard error is gone as well.
            let _ = writeln!(std::io::stderr(), "netabase: {failure}");
            failure.code()
        }
    }
}

fn run() -> Result<(), Failure> {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => return exit::usage(&usage),
    };
    start_log();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::io("cannot start", &e))?;
    runtime.block_on(async {
        match arguments.command {
            Command::Node(node) => node::run(node).await,
            Command::Sql(sql) => sql::run(sql).await,
            Command::Kv(kv) => kv::run(kv).await,
            Command::Counters(counters) => counters::run(counters).await,
            Command::Demo(demo) => demo::run(demo).await,
            Command::Backup(backup) => upkeep::backup(backup).await,
            Command::Restore(restore) => upkeep::restore(restore).await,
            Command::Check(data) => upkeep::check(data).await,
            Command::Repair(data) => upkeep::repair(data).await,
            Command::Compact(compact) => upkeep::compact(compact).await,
        }
    })
}

fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
