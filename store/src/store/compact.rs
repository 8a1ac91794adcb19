//! Fewer and denser segments.
//!
//! What is merged: segments of which much is hidden, and segments of similar size when there are
//! several of them, as in a size-tiered log-structured merge tree. Segments of a bulk load that
//! follow each other without overlap are left alone: merging them would gain nothing.
//!
//! Invariant: a compaction changes where records lie, never which are current.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::{Core, file_bytes};
use super::home::SegmentHome;
use super::lane::MAX_SEGMENT_ROWS;
use crate::catalog::TableState;
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

/// Segments of a shard that should be merged now, if any.
pub(super) fn due(table: &TableState, shard: u32) -> Option<Vec<Seen>> {
    let seen = table.mem.lock().get_mut(shard as usize)?.seen();
    [Change::Upsert, Change::Delete]
        .into_iter()
        .find_map(|change| {
            let of_kind = |seen: &&Seen| seen.segment.meta().change == change;
            pick(seen.iter().filter(of_kind).cloned().collect())
        })
}

/// All segments of a shard, by kind, as far as merging them changes anything.
pub(super) fn everything(table: &TableState, shard: u32) -> Vec<Vec<Seen>> {
    let seen = match table.mem.lock().get_mut(shard as usize) {
        Some(shard) => shard.seen(),
        None => return Vec::new(),
    };
    let mut all = Vec::new();
    for change in [Change::Upsert, Change::Delete] {
        let of_kind = |seen: &&Seen| seen.segment.meta().change == change;
        let of_kind: Vec<Seen> = seen.iter().filter(of_kind).cloned().collect();
        let hidden = of_kind.iter().any(|seen| hidden_rows(seen) > 0);
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
    let merged = merge_sorted(inputs.iter().map(input_of).collect(), &mut |merged| {
        if core.is_stopping() {
            return Err(Error::closed());
        }
        output.push(&merged)
    });
    match merged.and_then(|()| output.close()) {
        Ok(()) => {
            home.sync(&output.metas())
                .inspect_err(|error| core.fail(error))?;
            Ok(Compacted {
                inputs: inputs.iter().cloned().zip(output.went).collect(),
                outputs: output.done,
                dropped: Vec::new(),
            })
        }
        Err(error) => {
            output.abandon();
            Err(error)
        }
    }
}

fn input_of(seen: &Seen) -> MergeInput {
    MergeInput::Segment {
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
