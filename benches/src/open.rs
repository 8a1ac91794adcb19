//! Opening: after a crash, without an index, and what an open store takes when nobody asks.
//!
//! Invariant: what is killed or measured by its memory is a process of its own.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::arguments::Settings;
use crate::process::{self, MB, Talker};
use crate::report::Figure;
use crate::store::{
    DEFAULT_ROWS, KEY, KeyValue, Numbers, Ours, OursInSql, SCAN_FACTOR, VALUE, key, remove_index,
};

/// Bytes of keys and values that the killed process leaves in its log.
const LOG_BYTES: u64 = 64 << 20;
/// Rows that it writes at once.
const ROWS_PER_WRITE: u64 = 1000;
/// What a helper process prints when it is where it should be.
const READY: &str = "ready";
/// The longest to wait for that.
const DEADLINE: Duration = Duration::from_secs(1800);
/// How long a store is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(5);
/// How long a helper waits to be killed; nobody needs it after that.
const WAIT: Duration = Duration::from_secs(3600);

pub(crate) async fn run(settings: &Settings) -> Result<(), Failure> {
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || measure(&settings)).await?
}

fn measure(settings: &Settings) -> Result<(), Failure> {
    let folder = process::scratch_folder(settings)?;
    let seconds = after_a_kill(&folder.path().join("log"))?;
    print(&Figure::new("open.log_64mb", seconds, "s"))?;
    let rows = settings.rows.unwrap_or(DEFAULT_ROWS) as u64 * SCAN_FACTOR;
    let numbers = folder.path().join("numbers");
    eprintln!("loading {rows} rows");
    let store = OursInSql::open(&numbers)?;
    store.load(rows)?;
    store.close()?;
    print(&Figure::new("open.idle_rss", idle_mb(&numbers)?, "MB"))?;
    let seconds = without_an_index(&numbers)?;
    print(&Figure::new("open.rebuild_index", seconds, "s"))
}

fn print(figure: &Figure) -> Result<(), Failure> {
    eprintln!("{:<19} {:.3} {}", figure.bench, figure.value, figure.unit);
    Ok(figure.print()?)
}

fn helper(name: &str, folder: &Path) -> Result<Talker, Failure> {
    let mut command: Command = process::this_program()?;
    command.arg(name).arg(folder);
    let helper = Talker::start(command)?;
    match helper.line(DEADLINE)?.as_str() {
        READY => Ok(helper),
        line => Err(format!("{name} says {line}").into()),
    }
}

/// Seconds until a store is open whose process has been killed, and whether all its rows are there.
fn after_a_kill(folder: &Path) -> Result<f64, Failure> {
    // Dropping the handle kills the process.
    drop(helper("open-write", folder)?);
    let started = Instant::now();
    let store = Ours::open(folder)?;
    let seconds = started.elapsed().as_secs_f64();
    for row in [0, rows_of_the_log() - 1] {
        if store.get(&key(row))?.is_none() {
            return Err(format!("row {row} was acknowledged and is lost").into());
        }
    }
    Box::new(store).close()?;
    Ok(seconds)
}

fn rows_of_the_log() -> u64 {
    let rows = LOG_BYTES / (KEY + VALUE) as u64;
    rows.next_multiple_of(ROWS_PER_WRITE)
}

/// Seconds until a store is open, and knows its rows, after its index has been deleted.
fn without_an_index(folder: &Path) -> Result<f64, Failure> {
    remove_index(folder)?;
    let started = Instant::now();
    let store = OursInSql::open(folder)?;
    let seconds = started.elapsed().as_secs_f64();
    store.sum()?;
    store.close()?;
    Ok(seconds)
}

/// Memory of a process that has opened the store and does nothing.
fn idle_mb(folder: &Path) -> Result<f64, Failure> {
    let helper = helper("open-idle", folder)?;
    std::thread::sleep(IDLE);
    process::resident_mb(Some(helper.id()))
}

/// What the process does that is killed: `open-write <folder>`.
pub(crate) async fn write_and_wait(settings: &Settings) -> Result<(), Failure> {
    let folder = input(settings)?.to_owned();
    let wait = move || {
        let store = Ours::open(&folder)?;
        for start in (0..rows_of_the_log()).step_by(ROWS_PER_WRITE as usize) {
            store.load(start..start + ROWS_PER_WRITE)?;
        }
        eprintln!(
            "{:.0} MB on disk",
            process::folder_bytes(&folder)? as f64 / MB
        );
        ready_until_killed()
    };
    tokio::task::spawn_blocking(wait).await?
}

/// What the process does whose memory is read: `open-idle <folder>`.
pub(crate) async fn idle(settings: &Settings) -> Result<(), Failure> {
    let folder = input(settings)?.to_owned();
    let wait = move || {
        let _store = OursInSql::open(&folder)?;
        ready_until_killed()
    };
    tokio::task::spawn_blocking(wait).await?
}

fn input(settings: &Settings) -> Result<&Path, Failure> {
    let folder = settings.inputs.first().ok_or("which folder?")?;
    Ok(folder)
}

fn ready_until_killed() -> Result<(), Failure> {
    println!("{READY}");
    std::io::stdout().flush()?;
    std::thread::sleep(WAIT);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_as_long_as_it_says() {
        let bytes = rows_of_the_log() * (KEY + VALUE) as u64;
        assert!((LOG_BYTES..LOG_BYTES + (1 << 20)).contains(&bytes));
        assert_eq!(rows_of_the_log() % ROWS_PER_WRITE, 0);
    }
}
