//! Fewer and denser segments.
//!
//! What is merged: segments of which much is hidden, and segments of similar size when there are
//! several of them, as in a size-tiered log-structured merge tree. Segments of a bulk load that
//! follow each other without overlap are left alone: merging them would gain nothing.
//!
//! Invariant: a compaction changes where records lie, never which are current; but rows that have
//! outlived their table's time to live it leaves out, for good.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::{Core, file_bytes};
use super::home::SegmentHome;
use super::lane::MAX_SEGMENT_ROWS;
use crate::catalog::TableState;
use crate::clock::Version;
use crate::digest::RecordDigest;
use crate::error::{Error, Result};
use crate::ids::Stamp;
use crate::mem::{Compacted, Seen};
use crate::segment::{
    GROUP_ROWS, MergeInput, Merged, Segment, SegmentMeta, SegmentWriter, merge_sorted,
};
use crate::write::Change;

/// So many segments of similar size are merged into one.
const FAN_IN: usize = 4;
/// Two segments are of similar size if the larger has less than so many times the rows.
const SIZE_RATIO: u32 = 4;
/// Segments with fewer rows are merged even if they do not overlap.
const SMALL_ROWS: u64 = 4 * GROUP_ROWS as u64;
/// A segment is rewritten if at least one row in so many is hidden.
const HIDDEN_SHARE: u64 = 3;

/// Segments of a shard that should be merged now, if any. What is older than `cutoff` counts as
/// hidden.
pub(super) fn due(
    table: &TableState,
    shard: u32,
    cutoff: Option<Version>,
) -> Result<Option<Vec<Seen>>> {
    let seen = match table.mem.lock().get_mut(shard as usize) {
        Some(shard) => shard.seen(),
        None => return Ok(None),
    };
    for change in [Change::Upsert, Change::Delete] {
        let of_kind = seen.iter().filter(|s| s.segment.meta().change == change);
        let young = of_kind.map(|seen| without_expired(seen, cutoff));
        if let Some(picked) = pick(young.collect::<Result<_>>()?) {
            let number = |seen: &Seen| seen.segment.meta().number;
            let is_picked = |seen: &&Seen| picked.iter().any(|p| number(p) == number(seen));
            return Ok(Some(seen.iter().filter(is_picked).cloned().collect()));
        }
    }
    Ok(None)
}

fn without_expired(seen: &Seen, cutoff: Option<Version>) -> Result<Seen> {
    match cutoff {
        Some(cutoff) => seen.without_expired(cutoff),
        None => Ok(seen.clone()),
    }
}

/// All segments of a shard, by kind, as far as merging them changes anything.
pub(super) fn everything(
    table: &TableState,
    shard: u32,
    cutoff: Option<Version>,
) -> Vec<Vec<Seen>> {
    let seen = match table.mem.lock().get_mut(shard as usize) {
        Some(shard) => shard.seen(),
        None => return Vec::new(),
    };
    let old = |seen: &Seen| cutoff.is_some_and(|cutoff| seen.segment.meta().oldest < cutoff);
    let mut all = Vec::new();
    for change in [Change::Upsert, Change::Delete] {
        let of_kind = |seen: &&Seen| seen.segment.meta().change == change;
        let of_kind: Vec<Seen> = seen.iter().filter(of_kind).cloned().collect();
        let hidden = of_kind
            .iter()
            .any(|seen| hidden_rows(seen) > 0 || change == Change::Upsert && old(seen));
        if hidden || of_kind.len() > 1 {
            all.push(of_kind);
        }
    }
    all
}

fn pick(mut seen: Vec<Seen>) -> Option<Vec<Seen>> {
    let dead = |seen: &Seen| hidden_rows(seen) * HIDDEN_SHARE >= rows(seen);
    if let Some(place) = seen.iter().position(dead) {
        return Some(vec![seen.swap_remove(place)]);
    }
    seen.sort_by_key(rows);
    let class = |seen: &Seen| rows(seen).max(1).ilog(u64::from(SIZE_RATIO));
    seen.chunk_by(|a, b| class(a) == class(b))
        .filter(|tier| tier.len() >= FAN_IN)
        .find(|tier| is_worth_merging(tier))
        .map(<[Seen]>::to_vec)
}

fn is_worth_merging(tier: &[Seen]) -> bool {
    let small = tier.iter().filter(|seen| rows(seen) < SMALL_ROWS).count();
    small >= FAN_IN || overlaps(tier)
}

/// Whether the key ranges of two of them have keys in common.
fn overlaps(tier: &[Seen]) -> bool {
    let mut metas: Vec<&SegmentMeta> = tier.iter().map(|seen| seen.segment.meta()).collect();
    metas.sort_by(|a, b| a.min_key.cmp(&b.min_key));
    metas
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a.overlaps(b)))
}

fn rows(seen: &Seen) -> u64 {
    seen.segment.meta().rows
}

fn hidden_rows(seen: &Seen) -> u64 {
    rows(seen).saturating_sub(seen.live_rows)
}

/// Writes the live rows of the inputs, which are of one kind, into new segments.
pub(super) fn merge(
    core: &Core,
    table: &TableState,
    shard: u32,
    inputs: &[Seen],
    throttled: bool,
) -> Result<Compacted> {
    let (Some(home), Some(first)) = (&core.home, inputs.first()) else {
        return Err(Error::closed());
    };
    let change = first.segment.meta().change;
    let (young, dropped) = leave_out_expired(inputs, core.cutoff(table))?;
    let mut output = Output {
        home,
        table,
        shard,
        change,
        stamp: common_stamp(inputs)?,
        open: None,
        done: Vec::new(),
        rows: 0,
        went: inputs
            .iter()
            .map(|seen| vec![u32::MAX; rows(seen) as usize])
            .collect(),
        throttle: Throttle::new(match throttled {
            true => core.settings.compaction_bytes_per_sec,
            false => 0,
        }),
        bytes_per_row: bytes_per_row(inputs),
    };
    let merged = merge_sorted(young.iter().map(input_of).collect(), &mut |merged| {
        if core.is_stopping() {
            return Err(Error::closed());
        }
        output.push(&merged)
    });
    match merged.and_then(|()| output.close()) {
        Ok(()) => {
            home.sync(&output.metas())?;
            Ok(Compacted {
                inputs: inputs.iter().cloned().zip(output.went).collect(),
                outputs: output.done,
                dropped,
            })
        }
        Err(error) => {
            output.abandon();
            Err(error)
        }
    }
}

/// A record that a compaction leaves out: input, row, digest.
type Dropped = (u32, u32, RecordDigest);

/// The inputs without what is older than `cutoff`, and what that leaves out.
fn leave_out_expired(
    inputs: &[Seen],
    cutoff: Option<Version>,
) -> Result<(Vec<Seen>, Vec<Dropped>)> {
    let mut young = Vec::with_capacity(inputs.len());
    let mut dropped = Vec::new();
    for (input, seen) in (0..).zip(inputs) {
        let less = without_expired(seen, cutoff)?;
        let lost = seen.lost_in(&less)?.into_iter();
        dropped.extend(lost.map(|(row, digest)| (input, row, digest)));
        young.push(less);
    }
    Ok((young, dropped))
}

fn input_of(seen: &Seen) -> MergeInput {
    MergeInput {
        segment: Arc::clone(&seen.segment),
        live: seen.live.to_vec(),
    }
}

/// The stamp of all rows of all inputs, if they have but one.
fn common_stamp(inputs: &[Seen]) -> Result<Option<Stamp>> {
    let mut common = None;
    for seen in inputs {
        match (seen.segment.uniform_stamp()?, &common) {
            (Some(stamp), None) => common = Some(stamp),
            (Some(stamp), Some(known)) if stamp == *known => {}
            _ => return Ok(None),
        }
    }
    Ok(common)
}

/// Bytes on disk of an average row.
fn bytes_per_row(inputs: &[Seen]) -> u64 {
    let bytes: u64 = inputs.iter().map(|seen| file_bytes(&seen.segment)).sum();
    bytes / inputs.iter().map(rows).sum::<u64>().max(1)
}

/// The new segments.
struct Output<'a> {
    home: &'a SegmentHome,
    table: &'a TableState,
    shard: u32,
    change: Change,
    stamp: Option<Stamp>,
    open: Option<SegmentWriter>,
    done: Vec<Arc<Segment>>,
    /// Rows written, over all new segments.
    rows: u32,
    /// For each input, where its rows went.
    went: Vec<Vec<u32>>,
    throttle: Throttle,
    bytes_per_row: u64,
}

impl Output<'_> {
    fn push(&mut self, merged: &Merged) -> Result<()> {
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.rows() >= MAX_SEGMENT_ROWS)
        {
            self.close()?;
        }
        let mut writer = match self.open.take() {
            Some(writer) => writer,
            None => {
                let stamp = self.stamp.clone();
                self.home
                    .begin(self.table, self.shard, self.change, stamp)?
            }
        };
        let pushed = writer.push(&merged.rows, &merged.keys, &merged.stamps);
        self.open = Some(writer);
        pushed?;
        for origin in &merged.origins {
            let went = self.went.get_mut(origin.input as usize);
            if let Some(to) = went.and_then(|went| went.get_mut(origin.row as usize)) {
                *to = self.rows;
            }
            self.rows += 1;
        }
        self.throttle
            .pass(merged.origins.len() as u64 * self.bytes_per_row);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if let Some(writer) = self.open.take() {
            let meta = writer.finish()?;
            self.done.push(self.home.open(self.table, meta));
        }
        Ok(())
    }

    fn metas(&self) -> Vec<&SegmentMeta> {
        self.done.iter().map(|segment| segment.meta()).collect()
    }

    fn abandon(self) {
        if let Some(writer) = self.open {
            writer.abandon();
        }
        self.done.iter().for_each(|segment| segment.remove_files());
    }
}

/// Bounds the bytes per second.
struct Throttle {
    bytes_per_sec: u64,
    since: Instant,
    passed: u64,
}

/// Longest single pause, so that closing a store need not wait.
const MAX_PAUSE: Duration = Duration::from_millis(200);

impl Throttle {
    /// `bytes_per_sec` of 0: no bound.
    fn new(bytes_per_sec: u64) -> Self {
        Self {
            bytes_per_sec,
            since: Instant::now(),
            passed: 0,
        }
    }

    /// Pauses if more bytes have passed than the time allows.
    fn pass(&mut self, bytes: u64) {
        if self.bytes_per_sec == 0 {
            return;
        }
        self.passed += bytes;
        let due = Duration::from_secs_f64(self.passed as f64 / self.bytes_per_sec as f64);
        let early = due.saturating_sub(self.since.elapsed());
        std::thread::sleep(early.min(MAX_PAUSE));
    }
}
