//! A sort of far more rows than queries may hold in memory.
//!
//! Purpose: whether a query that does not fit goes on by way of the disk, how long that takes, and
//! how much memory the process then really has.
//! Invariant: rows are made and loaded in parts, and the answer is read as it comes, so that memory
//! is the query's; the answer counts once its order and the sum over all its rows are right.
//! The query runs in a process of its own, whose peak is not that of loading.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use netabase::Netabase;
use parquet::arrow::ArrowWriter;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::arguments::Settings;
use crate::process::{self, MB, Talker};
use crate::report::Figure;
use crate::store::mixed;

/// Size of the rows, unless told otherwise, in GB.
const DEFAULT_GB: f64 = 5.0;
/// Words of eight random bytes in a row's payload.
const WORDS: u64 = 63;
/// Bytes of a row: key, place in the order, and payload.
const ROW: u64 = 16 + 8 * WORDS;
/// Memory of the query.
const MEMORY: &str = "512MB";
/// Cache of decoded columns, so that the peak is not the cache's.
const CACHE_BYTES: u64 = 64 << 20;
/// Rows of one file of the load: about 256 MB.
const FILE_ROWS: u64 = 500_000;
/// Rows that are made at once.
const BATCH_ROWS: u64 = 8192;
/// The longest that the query may take.
const DEADLINE: Duration = Duration::from_secs(3600);
/// Time between two looks at the files that it spills.
const TICK: Duration = Duration::from_millis(100);
/// The statement that must spill: all columns take part, none is in this order.
const QUERY: &str = "SELECT k, place, payload FROM wide ORDER BY place";
const DEFINITION: &str =
    "CREATE TABLE wide (k BIGINT PRIMARY KEY, place BIGINT NOT NULL, payload BYTEA NOT NULL)";
/// Folders beneath the scratch folder: the database, and what the query spills.
const DATABASE: &str = "database";
const SPILLED: &str = "spilled";

/// A number of rows and a sum over them that does not depend on their order.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    rows: u64,
    hash: u64,
}

/// What the process that ran the query found.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Outcome {
    seconds: f64,
    peak_mb: f64,
    sum: Sum,
}

impl Sum {
    fn add(&mut self, key: i64, place: i64, payload: &[u8]) {
        let mut hash = mixed(key as u64 ^ mixed(place as u64));
        for word in payload.chunks(8) {
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            hash = (hash ^ u64::from_le_bytes(bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 32;
        }
        self.rows += 1;
        self.hash = self.hash.wrapping_add(hash);
    }
}

pub(crate) async fn run(settings: &Settings) -> Result<(), Failure> {
    let scratch = process::scratch_folder(settings)?;
    let gigabytes = settings.gb.unwrap_or(DEFAULT_GB);
    let rows = ((gigabytes * 1e9) as u64 / ROW).max(1);
    eprintln!("loading {rows} rows of {ROW} bytes");
    let started = Instant::now();
    let database = open(&scratch.path().join(DATABASE), settings.partitions).await?;
    let expected = load(&database, scratch.path(), rows).await?;
    database.close().await?;
    print(&Figure::rows_per_second(
        "spill.load".to_owned(),
        rows,
        started.elapsed(),
    ))?;
    eprintln!("{QUERY}, in {MEMORY}");
    let (folder, partitions) = (scratch.path().to_owned(), settings.partitions);
    let asked = tokio::task::spawn_blocking(move || in_a_process(&folder, partitions));
    let (outcome, spilled) = asked.await??;
    if outcome.sum != expected {
        return Err(format!("the rows are {expected:?} and not {:?}", outcome.sum).into());
    }
    if spilled == 0 {
        return Err("nothing was spilled: more rows are needed, with --gb".into());
    }
    print(&Figure::new("spill.sort", outcome.seconds, "s"))?;
    print(&Figure::new("spill.peak_rss", outcome.peak_mb, "MB"))?;
    print(&Figure::new("spill.disk", spilled as f64 / MB, "MB"))
}

fn print(figure: &Figure) -> Result<(), Failure> {
    eprintln!("{:<16} {:.3} {}", figure.bench, figure.value, figure.unit);
    Ok(figure.print()?)
}

async fn open(folder: &Path, partitions: usize) -> Result<Netabase, Failure> {
    Ok(Netabase::builder()
        .data_dir(folder)
        .target_partitions(partitions)
        .cache_bytes(CACHE_BYTES)
        .statement_timeout(DEADLINE)
        .open()
        .await?)
}

/// Makes the rows and loads them, a file after the other; the sum over them.
async fn load(database: &Netabase, folder: &Path, rows: u64) -> Result<Sum, Failure> {
    database.sql(DEFINITION).await?;
    let mut sum = Sum::default();
    for start in (0..rows).step_by(FILE_ROWS as usize) {
        let file = folder.join("rows.parquet");
        let part = start..rows.min(start + FILE_ROWS);
        let path = file.clone();
        let written = tokio::task::spawn_blocking(move || write_rows(&path, part, sum));
        sum = written.await??;
        database.load("wide", &file, |_, _| ()).await?;
        std::fs::remove_file(file)?;
    }
    Ok(sum)
}

/// Writes rows to a file, and adds them to a sum.
fn write_rows(path: &Path, rows: std::ops::Range<u64>, mut sum: Sum) -> Result<Sum, Failure> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, false),
        Field::new("place", DataType::Int64, false),
        Field::new("payload", DataType::Binary, false),
    ]));
    let file = std::fs::File::create(path)?;
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), None)?;
    for start in rows.clone().step_by(BATCH_ROWS as usize) {
        let part = start..rows.end.min(start + BATCH_ROWS);
        let places: Vec<i64> = part.clone().map(|row| mixed(row) as i64).collect();
        let payloads: Vec<Vec<u8>> = part.clone().map(payload).collect();
        for ((row, place), payload) in part.clone().zip(&places).zip(&payloads) {
            sum.add(row as i64, *place, payload);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(part.map(|row| row as i64))),
            Arc::new(Int64Array::from(places)),
            Arc::new(BinaryArray::from_iter_values(payloads)),
        ];
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
    }
    writer.close()?;
    Ok(sum)
}

/// Random bytes that depend on the row's number alone.
fn payload(row: u64) -> Vec<u8> {
    let word = |index| mixed(row.wrapping_mul(WORDS + 1).wrapping_add(index)).to_le_bytes();
    (1..=WORDS).flat_map(word).collect()
}

/// Starts this program again to ask the question, and watches what it spills: the outcome, and the
/// most bytes of spilled files at one moment.
fn in_a_process(folder: &Path, partitions: usize) -> Result<(Outcome, u64), Failure> {
    let spilled = folder.join(SPILLED);
    std::fs::create_dir_all(&spilled)?;
    let mut command = process::this_program()?;
    command.arg("spill-query").arg(folder.join(DATABASE));
    command.args(["--partitions", &partitions.to_string()]);
    // Where temporary files go.
    command.env("TMPDIR", &spilled);
    let helper = Talker::start(command)?;
    let (most, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let line = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // A folder that goes meanwhile is looked at again, or is no more.
                let bytes = process::folder_bytes(&spilled).unwrap_or(0);
                most.fetch_max(bytes, Ordering::Relaxed);
                thread::sleep(TICK);
            }
        });
        let line = helper.line(DEADLINE);
        done.store(true, Ordering::Relaxed);
        line
    })?;
    Ok((serde_json::from_str(&line)?, most.into_inner()))
}

/// What that process does: `spill-query <folder>`.
pub(crate) async fn query(settings: &Settings) -> Result<(), Failure> {
    let folder: &PathBuf = settings.inputs.first().ok_or("which folder?")?;
    let database = open(folder, settings.partitions).await?;
    let (seconds, sum) = sorted(&database, MEMORY).await?;
    let outcome = Outcome {
        seconds,
        peak_mb: process::peak_mb()?,
        sum,
    };
    database.close().await?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

/// Runs the query in this much memory: its seconds until the last row, and the sum over its rows,
/// which came in order.
async fn sorted(database: &Netabase, memory: &str) -> Result<(f64, Sum), Failure> {
    database
        .sql(&format!("SET netabase.memory_limit = '{memory}'"))
        .await?;
    let started = Instant::now();
    let mut rows = database.sql(QUERY).await?.stream();
    let (mut sum, mut last) = (Sum::default(), i64::MIN);
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let keys = batch.column(0).as_primitive::<Int64Type>();
        let places = batch.column(1).as_primitive::<Int64Type>();
        let payloads = cast(batch.column(2), &DataType::Binary)?;
        let payloads = payloads.as_binary::<i32>();
        for row in 0..batch.num_rows() {
            let place = places.value(row);
            if place < last {
                return Err(format!("{place} comes after {last}").into());
            }
            last = place;
            sum.add(keys.value(row), place, payloads.value(row));
        }
    }
    Ok((started.elapsed().as_secs_f64(), sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_depends_on_every_byte_and_on_no_order() {
        let rows: Vec<(i64, Vec<u8>)> = (0..10).map(|row| (row, payload(row as u64))).collect();
        let sum = |rows: &mut dyn Iterator<Item = &(i64, Vec<u8>)>| {
            let mut sum = Sum::default();
            rows.for_each(|(key, payload)| sum.add(*key, 7, payload));
            sum
        };
        let expected = sum(&mut rows.iter());
        assert_eq!(sum(&mut rows.iter().rev()), expected);
        assert_ne!(sum(&mut rows.iter().skip(1)), expected);
        let mut changed = rows.clone();
        changed[3].1[503] ^= 1;
        assert_ne!(sum(&mut changed.iter()), expected);
        assert_eq!(16 + payload(1).len() as u64, ROW);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_sort_in_little_memory_spills_and_gives_every_row() {
        let folder = tempfile::TempDir::new().unwrap();
        let database = open(&folder.path().join(DATABASE), 1).await.unwrap();
        let rows = 100_000;
        let expected = load(&database, folder.path(), rows).await.unwrap();
        assert_eq!(expected.rows, rows);
        let (seconds, sum) = sorted(&database, "32MB").await.unwrap();
        assert!(seconds > 0.0);
        assert_eq!(sum, expected);
        let explained = database.sql(&format!("EXPLAIN ANALYZE {QUERY}")).await;
        let text = explained.unwrap().show().await.unwrap();
        let spills = text.split("spill_count=").skip(1);
        assert!(
            spills.into_iter().any(|count| !count.starts_with('0')),
            "{text}"
        );
        database.close().await.unwrap();
    }
}
