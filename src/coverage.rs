//! What an answer covers.
//!
//! Purpose: every answer says which shards it was made from, who read them, and what it cost.
//! Invariant: `shards_answered` equals `shards_total` only once the last row has been handed over
//! and nothing failed; until then the answer is not known to be whole.
//! Not here: deciding who reads what; that is the plan.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use netabase_sql::{ScanInfo, ShardRef, WriteReceipt};
use serde::{Serialize, Serializer};

/// How whole an answer is, and what it cost. [`Display`](fmt::Display) gives one line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Coverage {
    /// Shards that the statement reads or writes.
    pub shards_total: usize,
    /// Shards whose part is complete. Equal to `shards_total` once the last row has arrived.
    pub shards_answered: usize,
    /// Peers that the shards were read from or written to, sorted.
    pub peers: Vec<String>,
    /// Rows handed over so far; for a write, rows written.
    pub rows: u64,
    /// Bytes that moved between peers.
    pub bytes: u64,
    /// Time from the call to the last row, or to now while rows are still to come.
    #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
    pub elapsed: Duration,
    /// How often the statement was planned again because a peer failed.
    pub retries: usize,
    /// The same by table: every shard, its holder, its rows and its digest.
    pub tables: Vec<TableCoverage>,
}

impl Coverage {
    /// Whether every shard has answered.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.shards_answered == self.shards_total
    }
}

/// The shards of one table that an answer was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TableCoverage {
    /// Name of the table.
    pub table: String,
    /// Every shard, with the peer that read it.
    #[serde(serialize_with = "shard_list")]
    pub shards: Vec<ShardRef>,
}

fn milliseconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64() * 1e3)
}

fn shard_list<S: Serializer>(shards: &[ShardRef], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        shard: u32,
        holder: &'a str,
        rows: u64,
        digest: &'a str,
    }
    serializer.collect_seq(shards.iter().map(|s| Row {
        shard: s.shard,
        holder: &s.holder,
        rows: s.rows,
        digest: &s.digest,
    }))
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} from {} · {} · {} over the network · {}",
            self.shards_answered,
            counted(self.shards_total as u64, "shard"),
            counted(self.peers.len() as u64, "peer"),
            counted(self.rows, "row"),
            byte_text(self.bytes),
            time_text(self.elapsed),
        )?;
        match self.retries {
            0 => Ok(()),
            1 => f.write_str(" · 1 retry"),
            n => write!(f, " · {n} retries"),
        }
    }
}

fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn byte_text(bytes: u64) -> String {
    const STEP: f64 = 1000.0;
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < STEP as u64 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / STEP;
    let mut unit = 0;
    // 999.95 would be printed as 1000.0 of the smaller unit.
    while value >= STEP - 0.05 && unit + 1 < UNITS.len() {
        value /= STEP;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

fn time_text(elapsed: Duration) -> String {
    let millis = elapsed.as_secs_f64() * 1e3;
    if millis < 10.0 {
        format!("{millis:.1} ms")
    } else if millis < 1000.0 {
        format!("{millis:.0} ms")
    } else {
        format!("{:.2} s", elapsed.as_secs_f64())
    }
}

/// A look at the coverage of an answer from anywhere, also while its rows are being read elsewhere.
#[derive(Debug, Clone)]
pub struct CoverageHandle(Arc<Tracker>);

impl CoverageHandle {
    /// What is known now; complete after the last row.
    #[must_use]
    pub fn current(&self) -> Coverage {
        self.0.snapshot()
    }

    pub(crate) fn new(started: Instant, scans: &[ScanInfo]) -> Self {
        let known = Coverage {
            shards_total: scans.iter().map(|scan| scan.shards.len()).sum(),
            peers: holders(scans),
            tables: scans.iter().map(table_coverage).collect(),
            ..Coverage::default()
        };
        Self(Arc::new(Tracker {
            started,
            known: Mutex::new(Known {
                coverage: known,
                finished: false,
            }),
        }))
    }

    /// The coverage of a write: all of it has happened already.
    pub(crate) fn written(started: Instant, scans: &[ScanInfo], receipt: &WriteReceipt) -> Self {
        let handle = Self::new(started, scans);
        handle.0.update(|known| {
            let coverage = &mut known.coverage;
            coverage.shards_total += receipt.shards;
            let mut peers: BTreeSet<_> = coverage.peers.drain(..).collect();
            peers.extend(receipt.peers.iter().cloned());
            coverage.peers = peers.into_iter().collect();
            coverage.rows = receipt.rows;
        });
        handle.finish(receipt.bytes);
        handle
    }

    pub(crate) fn set_retries(&self, retries: usize) {
        self.0.update(|known| known.coverage.retries = retries);
    }

    pub(crate) fn add_rows(&self, rows: usize) {
        self.0.update(|known| {
            if !known.finished {
                known.coverage.rows += rows as u64;
            }
        });
    }

    /// Everything has been read: the answer is whole.
    pub(crate) fn finish(&self, bytes: u64) {
        let elapsed = self.0.started.elapsed();
        self.0.update(|known| {
            if known.finished {
                return;
            }
            known.finished = true;
            known.coverage.shards_answered = known.coverage.shards_total;
            known.coverage.bytes = bytes;
            known.coverage.elapsed = elapsed;
        });
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.0.lock().finished
    }
}

#[derive(Debug)]
struct Known {
    coverage: Coverage,
    finished: bool,
}

#[derive(Debug)]
struct Tracker {
    started: Instant,
    known: Mutex<Known>,
}

impl Tracker {
    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.lock());
    }

    fn snapshot(&self) -> Coverage {
        let known = self.lock();
        let mut coverage = known.coverage.clone();
        if !known.finished {
            coverage.elapsed = self.started.elapsed();
        }
        coverage
    }
}

fn holders(scans: &[ScanInfo]) -> Vec<String> {
    let peers: BTreeSet<_> = scans
        .iter()
        .flat_map(|scan| scan.shards.iter().map(|shard| shard.holder.clone()))
        .collect();
    peers.into_iter().collect()
}

fn table_coverage(scan: &ScanInfo) -> TableCoverage {
    TableCoverage {
        table: scan.table.clone(),
        shards: scan.shards.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage() -> Coverage {
        Coverage {
            shards_total: 8,
            shards_answered: 8,
            peers: vec!["a".into(), "b".into(), "c".into()],
            rows: 95,
            bytes: 1_234_567,
            elapsed: Duration::from_millis(41),
            ..Coverage::default()
        }
    }

    #[test]
    fn one_line_says_it_all() {
        assert_eq!(
            coverage().to_string(),
            "8 of 8 shards from 3 peers · 95 rows · 1.2 MB over the network · 41 ms"
        );
    }

    #[test]
    fn one_is_singular_and_retries_are_told() {
        let one = Coverage {
            shards_total: 1,
            shards_answered: 0,
            peers: vec!["a".into()],
            rows: 1,
            bytes: 0,
            elapsed: Duration::from_micros(1250),
            retries: 1,
            ..Coverage::default()
        };
        assert_eq!(
            one.to_string(),
            "0 of 1 shard from 1 peer · 1 row · 0 B over the network · 1.2 ms · 1 retry"
        );
        assert!(!one.is_complete());
    }

    #[test]
    fn units_of_bytes_and_time() {
        assert_eq!(byte_text(999), "999 B");
        assert_eq!(byte_text(1000), "1.0 kB");
        assert_eq!(byte_text(999_960), "1.0 MB");
        assert_eq!(byte_text(5_000_000_000), "5.0 GB");
        assert_eq!(time_text(Duration::from_millis(2340)), "2.34 s");
    }

    #[test]
    fn complete_only_after_the_end() {
        let scan = ScanInfo {
            table: "flights".into(),
            shards: vec![ShardRef {
                shard: 0,
                holder: "a".into(),
                rows: 3,
                digest: String::new(),
            }],
        };
        let handle = CoverageHandle::new(Instant::now(), &[scan]);
        handle.add_rows(3);
        assert!(!handle.current().is_complete());
        handle.finish(7);
        let done = handle.current();
        assert!(done.is_complete());
        assert_eq!((done.rows, done.bytes), (3, 7));
        assert_eq!(done.peers, ["a"]);
        assert_eq!(done.tables[0].table, "flights");
    }
}
