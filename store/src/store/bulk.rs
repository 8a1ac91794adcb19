//! Bulk loads: rows go straight to segments, beside the memtables.
//!
//! Rows are split by shard on the caller's thread; one thread per core encodes, checks, sorts and
//! writes them, in bounded memory. A load takes effect as a whole, with one frame in the log that
//! names its segments; before that, its files are nobody's.
//!
//! Invariant: a key appears once in a load. Records of the same keys that are stored already are
//! hidden when the load takes effect, so that a scan never merges by key.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use arrow::array::{Array, BinaryArray, RecordBatch};
use serde::{Deserialize, Serialize};

use super::Store;
use super::committer::Work;
use super::core::Core;
use super::home;
use super::lane::{LaneShard, Written};
use super::replay::Unplayed;
use crate::catalog::{Table, TableState};
use crate::digest::{DigestSum, DigestTree, RecordHasher};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Stamp, TableId};
use crate::log::{Frame, FrameKind};
use crate::mem::{Clash, Loaded, SegmentList};
use crate::segment::{Segment, SegmentMeta};
use crate::write::{Applied, Change};

/// Batches that wait for a lane.
const MAX_QUEUED_BATCHES: usize = 4;
/// Rows that wait to be sorted, over all shards of a load, in bytes.
const SORT_BYTES: usize = 128 << 20;
/// The least of them that a shard may keep, in bytes.
const MIN_SORT_BYTES: usize = 1 << 20;
/// Most threads of one load.
const MAX_LANES: usize = 16;

/// A shard and a segment that was loaded into it.
pub(super) type LoadedShard = (u32, Loaded);

/// A load that has not taken effect yet. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct BulkLoad {
    store: Store,
    table: Table,
    stamp: Stamp,
    lanes: Vec<Lane>,
}

#[derive(Debug)]
struct Lane {
    batches: SyncSender<(u32, RecordBatch)>,
    thread: JoinHandle<Result<Vec<Written>>>,
}

/// A load in the log.
#[derive(Debug, Serialize, Deserialize)]
struct LoadEntry {
    table: TableId,
    stamp: Stamp,
    segments: Vec<(SegmentMeta, Vec<(u8, DigestSum)>)>,
}

impl Store {
    /// Begins a load of many rows into `table`, all with one stamp. It needs a data folder.
    ///
    /// Fails with `NotFound` if the table is unknown or dropped, `InvalidInput` without a data
    /// folder or if the stamp is too far ahead of this machine's clock, `Unavailable` if the store
    /// is closed, `Io` if it takes no more writes.
    pub fn bulk_load(&self, table: TableId, stamp: Stamp) -> Result<BulkLoad> {
        let core = self.core();
        core.check_writable()?;
        let table = core.any_table(table)?;
        drop(table.state.lock()?);
        if core.home.is_none() {
            return Err(Error::invalid(
                "a bulk load needs a store with a data folder",
            ));
        }
        if !core.clock.accepts(stamp.version) {
            return Err(Error::invalid(format!(
                "version {} is too far ahead of this machine's clock; check the clock",
                stamp.version
            )));
        }
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let count = cores.min(table.state.shards as usize).clamp(1, MAX_LANES);
        let lanes = (0..count)
            .map(|_| Lane::start(self, &table, &stamp))
            .collect::<Result<_>>()?;
        Ok(BulkLoad {
            store: self.clone(),
            table,
            stamp,
            lanes,
        })
    }
}

impl Lane {
    fn start(store: &Store, table: &Table, stamp: &Stamp) -> Result<Self> {
        let (batches, received) = sync_channel(MAX_QUEUED_BATCHES);
        let core = Arc::clone(&store.0.core);
        let state = Arc::clone(&table.state);
        let stamp = stamp.clone();
        let thread = std::thread::Builder::new()
            .name("netabase-load".to_owned())
            .spawn(move || run_lane(&core, &state, &stamp, &received))
            .map_err(|error| Error::io("start a thread of a bulk load", error))?;
        Ok(Self { batches, thread })
    }
}

/// Writes what it receives, until the sender is gone.
fn run_lane(
    core: &Core,
    table: &TableState,
    stamp: &Stamp,
    batches: &Receiver<(u32, RecordBatch)>,
) -> Result<Vec<Written>> {
    let Some(home) = &core.home else {
        return Ok(Vec::new());
    };
    let sort_bytes = (SORT_BYTES / table.shards.max(1) as usize).max(MIN_SORT_BYTES);
    let mut shards: Vec<LaneShard<'_>> = Vec::new();
    let done = (|| {
        for (number, rows) in batches {
            let place = shards.iter().position(|shard| shard.number() == number);
            let place = place.unwrap_or_else(|| {
                shards.push(LaneShard::new((home, table), number, stamp, sort_bytes));
                shards.len() - 1
            });
            if let Some(shard) = shards.get_mut(place) {
                shard.push(rows)?;
            }
        }
        Ok(())
    })();
    let mut written = Vec::new();
    let mut failed = done.err();
    for shard in shards {
        let finished = if failed.is_some() {
            shard.abandon();
            continue;
        } else {
            shard.finish()
        };
        match finished {
            Ok(segments) => written.extend(segments),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        None => Ok(written),
        Some(error) => {
            written
                .iter()
                .for_each(|w: &Written| w.segment.remove_files());
            Err(error)
        }
    }
}

impl BulkLoad {
    /// Takes rows with all columns of the table, in any order. Blocks while the threads are behind.
    ///
    /// Fails with `InvalidInput` if columns differ from the table's or a key or NOT NULL column has
    /// NULL, `Conflict` if a key was given twice (both may be noticed later, by another call or by
    /// `finish`), `Io` if the system refuses. The load has failed then.
    pub fn push(&mut self, rows: &RecordBatch) -> Result<()> {
        for (shard, rows) in self.table.state.encoder.split(rows)? {
            let lane = shard as usize % self.lanes.len().max(1);
            let sent = match self.lanes.get(lane) {
                Some(lane) => lane.batches.send((shard, rows)).is_ok(),
                None => false,
            };
            if !sent {
                // The lane ended early, and knows why.
                return Err(match self.join() {
                    Err(error) => error,
                    Ok(_) => Error::closed(),
                });
            }
        }
        Ok(())
    }

    /// Lets the load take effect, durably and as a whole. Fails like `push` and `Store::write`; then
    /// nothing was loaded.
    pub fn finish(mut self) -> Result<Applied> {
        let written = self.join()?;
        if written.is_empty() {
            return Ok(Applied::default());
        }
        let segments: Vec<Arc<Segment>> = written.iter().map(|w| Arc::clone(&w.segment)).collect();
        let done = self.apply(written);
        if done.is_err() {
            // If the frame may be in the log, the store takes no more writes, and keeps them.
            if self.store.core().check_failed().is_ok() {
                segments.iter().for_each(|segment| segment.remove_files());
            }
        }
        done
    }

    fn apply(&self, written: Vec<Written>) -> Result<Applied> {
        refuse_repeated(&self.table.state, &written)?;
        let core = self.store.core();
        if let Some(home) = &core.home {
            let metas: Vec<&SegmentMeta> = written.iter().map(|w| w.segment.meta()).collect();
            // What a failed sync lost, a later one would not bring to the disk.
            home.sync(&metas)
                .inspect_err(|error| core.fail_if_in_doubt(error))?;
        }
        let entry = LoadEntry {
            table: self.table.state.id,
            stamp: self.stamp.clone(),
            segments: written
                .iter()
                .map(|w| (w.segment.meta().clone(), w.sum.to_sparse()))
                .collect(),
        };
        let payload = postcard::to_extend(&entry, Vec::new())
            .map_err(|error| Error::invalid(format!("encode a bulk load: {error}")))?;
        let frame = Frame::new(FrameKind::Bulk, payload)?;
        let mut loads: Vec<LoadedShard> = written
            .into_iter()
            .map(|w| loaded(w.segment, &self.stamp, w.sum))
            .collect();
        relocate(&self.table.state, &mut loads)?;
        core.clock.advance(self.stamp.version);
        let work = Work::Load {
            table: self.table.clone(),
            loads,
        };
        Ok(self.store.submit(work, Some(frame))?.applied)
    }

    /// Ends the lanes. The first failure counts; the files of the others are removed then.
    fn join(&mut self) -> Result<Vec<Written>> {
        let mut all = Vec::new();
        let mut failed = None;
        for Lane { batches, thread } in self.lanes.drain(..) {
            drop(batches);
            match thread.join() {
                Ok(Ok(written)) => all.extend(written),
                Ok(Err(error)) => failed = failed.or(Some(error)),
                Err(_) => failed = failed.or(Some(Error::closed())),
            }
        }
        match failed {
            None => Ok(all),
            Some(error) => {
                all.iter().for_each(|w| w.segment.remove_files());
                Err(error)
            }
        }
    }
}

impl Drop for BulkLoad {
    fn drop(&mut self) {
        if let Ok(written) = self.join() {
            written.iter().for_each(|w| w.segment.remove_files());
        }
    }
}

/// A load's segment, not located yet.
fn loaded(segment: Arc<Segment>, stamp: &Stamp, sum: DigestTree) -> LoadedShard {
    let shard = segment.meta().shard;
    let load = Loaded {
        segment,
        stamp: stamp.clone(),
        sum,
        epoch: u64::MAX,
        clashes: Vec::new(),
        in_memory: Vec::new(),
    };
    (shard, load)
}

/// Finds what the loads replace, again if the shards have other segments now. Reads files.
pub(super) fn relocate(table: &TableState, loads: &mut [LoadedShard]) -> Result<()> {
    for (shard, load) in loads {
        let (min, max) = {
            let meta = load.segment.meta();
            (meta.min_key.clone(), meta.max_key.clone())
        };
        let (list, keys) = {
            let shards = table.mem.lock();
            let Some(shard) = shards.get(*shard as usize) else {
                continue;
            };
            (shard.list().clone(), shard.keys_between(&min, &max))
        };
        if list.epoch != load.epoch {
            load.clashes = clashes(&list, &load.segment, &load.stamp)?;
            load.epoch = list.epoch;
        }
        let wanted: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let mut in_memory = Vec::new();
        load.segment.locate(&wanted, &mut |index, row| {
            in_memory.extend(keys.get(index).map(|key| (key.clone(), row)));
        })?;
        load.in_memory = in_memory;
    }
    Ok(())
}

/// The records of older segments that have keys of `segment`.
fn clashes(list: &SegmentList, segment: &Segment, stamp: &Stamp) -> Result<Vec<Clash>> {
    let meta = segment.meta();
    let overlaps = list
        .segments
        .iter()
        .any(|older| older.meta().overlaps(meta));
    if !overlaps {
        return Ok(Vec::new());
    }
    let mut hasher = RecordHasher::default();
    let mut all = Vec::new();
    let mut first = 0;
    for group in 0..segment.groups() {
        let keys = segment.keys(group)?;
        for (row, found) in list.locate(&keys)?.into_found() {
            let key = keys.value(row as usize);
            let older = list.segments.get(found.slot as usize);
            let tombstone = older.is_some_and(|s| s.meta().change == Change::Delete);
            let Stamp { version, author } = &found.stamp;
            all.push(Clash {
                old: hasher.hash(key, *version, author, tombstone),
                new: hasher.hash(key, stamp.version, &stamp.author, false),
                row: first + row,
                found,
            });
        }
        first += keys.len() as u32;
    }
    Ok(all)
}

/// Fails with `Conflict` if two segments of a load have a key in common.
fn refuse_repeated(table: &TableState, written: &[Written]) -> Result<()> {
    for (index, later) in written.iter().enumerate() {
        let meta = later.segment.meta();
        let others = written.iter().take(index).map(|w| &w.segment);
        let overlapping: Vec<_> = others
            .filter(|other| other.meta().shard == meta.shard && other.meta().overlaps(meta))
            .collect();
        if overlapping.is_empty() {
            continue;
        }
        for group in 0..later.segment.groups() {
            let keys = later.segment.keys(group)?;
            let sorted: Vec<&[u8]> = (0..keys.len()).map(|row| keys.value(row)).collect();
            for other in &overlapping {
                let mut repeated = None;
                other.locate(&sorted, &mut |index, _| repeated = Some(index))?;
                if let Some(row) = repeated {
                    return Err(repeated_key(table, &later.segment, group, row));
                }
            }
        }
    }
    Ok(())
}

fn repeated_key(table: &TableState, segment: &Segment, group: usize, row: usize) -> Error {
    let rows = table
        .primary_key
        .iter()
        .map(|column| segment.column(group, *column))
        .collect::<Result<Vec<_>>>()
        .and_then(|columns| {
            RecordBatch::try_new(table.key_schema.clone(), columns)
                .map_err(|error| Error::arrow("a repeated key", error))
        });
    let key = match rows {
        Ok(rows) => table.encoder.describe(&rows, row),
        Err(_) => "(?)".to_owned(),
    };
    Error::conflict(format!(
        "table \"{}\": key {key} appears twice in one load",
        table.name
    ))
}

/// Lets a load of the log take effect again.
pub(super) fn replay(core: &Core, payload: &[u8]) -> Result<u64, Unplayed> {
    let entry: LoadEntry = match postcard::take_from_bytes(payload) {
        Ok((entry, [])) => entry,
        Ok(_) => return Err("bytes follow the load".to_owned().into()),
        Err(error) => return Err(error.to_string().into()),
    };
    let Some(home) = &core.home else {
        return Err("a bulk load in a store without a folder".to_owned().into());
    };
    let table = core.any_table(entry.table).map_err(|e| e.to_string())?;
    core.clock.advance(entry.stamp.version);
    let mut rows = 0;
    let mut loads = Vec::with_capacity(entry.segments.len());
    for (meta, sum) in entry.segments {
        home::check(&table.state, &meta)?;
        rows += meta.rows;
        // A load of a table that was set aside may be in the log twice.
        if !is_held(&table.state, &meta) {
            let segment = home.open(&table.state, meta);
            loads.push(loaded(segment, &entry.stamp, DigestTree::from_sparse(&sum)));
        }
    }
    let state = &table.state;
    if !state.is_dropped() && !state.is_set_aside() {
        match relocate(state, &mut loads) {
            Err(error) if error.kind() == ErrorKind::Corrupt => core.set_aside(state, &error),
            located => located.map_err(Unplayed::Because)?,
        }
    }
    if state.is_set_aside() && !state.is_dropped() {
        let frame = Frame::new(FrameKind::Bulk, payload.to_vec());
        core.carry(frame.map_err(Unplayed::Because)?);
    } else {
        core.apply_loads(&table, loads);
    }
    Ok(rows)
}

/// Whether a shard has this segment already.
fn is_held(table: &TableState, meta: &SegmentMeta) -> bool {
    let shards = table.mem.lock();
    let shard = shards.get(meta.shard as usize);
    shard.is_some_and(|shard| {
        let mut held = shard.segments().iter();
        held.any(|held| held.segment.meta().number == meta.number)
    })
}

/// Whether keys ascend strictly, beginning above `last`.
pub(super) fn ascends(keys: &BinaryArray, last: Option<&[u8]>) -> bool {
    let first = !keys.is_empty() && last.is_some_and(|last| keys.value(0) <= last);
    !first && (1..keys.len()).all(|row| keys.value(row - 1) < keys.value(row))
}
