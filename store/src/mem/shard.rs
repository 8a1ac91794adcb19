//! One shard: a memtable that takes writes, perhaps one that is being flushed, and segments.
//!
//! Invariant: of every key at most one record is current in all of them together; the others are
//! hidden where they lie when a newer one arrives, so that no scan ever merges by key. Which one is
//! current depends only on the set of records seen.
//! Non-goals: files are not written here, and only read to find the losers of a bulk load.

use std::sync::Arc;

use hashbrown::DefaultHashBuilder;

use super::frozen::FrozenBatch;
use super::hidden::{Hidden, Liveness};
use super::located::{Found, Located, SegmentList};
use super::memtable::{Below, Known, Memtable};
use super::part::Part;
use crate::clock::Version;
use crate::digest::{Digest, DigestTree, RecordDigest, RecordHasher};
use crate::error::Result;
use crate::ids::Stamp;
use crate::segment::{GROUP_ROWS, Segment};
use crate::write::{Applied, Change};

/// A segment and its hidden rows.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) segment: Arc<Segment>,
    pub(crate) hidden: Hidden,
}

/// A segment as a snapshot sees it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) segment: Arc<Segment>,
    pub(crate) live: Liveness,
    pub(crate) live_rows: u64,
}

impl Seen {
    /// The live row with this key. Reads the file.
    pub(crate) fn find(&self, key: &[u8]) -> Result<Option<u32>> {
        let row = self.segment.locate_one(key)?;
        Ok(row.filter(|row| self.is_live(*row)))
    }

    pub(crate) fn is_live(&self, row: u32) -> bool {
        match self.live.get(row as usize / GROUP_ROWS) {
            Some(Some(live)) => live.value(row as usize % GROUP_ROWS),
            _ => true,
        }
    }
}

/// The records of one shard.
#[derive(Debug)]
pub(crate) struct Shard {
    active: Memtable,
    flushing: Option<Memtable>,
    segments: Vec<Held>,
    list: SegmentList,
    seen: Option<Arc<[Seen]>>,
    /// Digest of the current records in segments.
    sum: DigestTree,
    /// Greatest version that ever was in segments.
    newest: Version,
    hasher: RecordHasher,
}

/// A shard at the moment when a checkpoint begins.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) newest: Version,
    /// Live rows, and the digest of all records, wherever they lie.
    pub(crate) rows: u64,
    pub(crate) digest: Digest,
    /// Digest of what will be in segments.
    pub(crate) sum: DigestTree,
    pub(crate) segments: Arc<[Seen]>,
    /// What was in memory.
    pub(crate) batches: Vec<FrozenBatch>,
    /// Whether `batches` go to segments; else they are few, and go into the checkpoint itself.
    pub(crate) flush: bool,
}

/// A segment made of rows in memory, and where each row came from.
#[derive(Debug)]
pub(crate) struct Flushed {
    pub(crate) segment: Arc<Segment>,
    /// Batch of the memtable, and row, for every row of the segment.
    pub(crate) origins: Vec<(u32, u32)>,
}

/// A segment made of others.
#[derive(Debug)]
pub(crate) struct Compacted {
    /// The others, as they were, and where each of their rows went: `u32::MAX` for nowhere.
    pub(crate) inputs: Vec<(Seen, Vec<u32>)>,
    /// What became of them. Their rows are counted through, from the first one's on.
    pub(crate) outputs: Vec<Arc<Segment>>,
    /// Records that were left out on purpose: input, row, digest.
    pub(crate) dropped: Vec<(u32, u32, RecordDigest)>,
}

/// A record of a bulk load that meets a record of the same key in an older segment.
#[derive(Debug)]
pub(crate) struct Clash {
    /// The older record.
    pub(crate) found: Found,
    /// The older record's digest.
    pub(crate) old: RecordDigest,
    /// The row of the new segment.
    pub(crate) row: u32,
    /// The new record's digest.
    pub(crate) new: RecordDigest,
}

/// A segment of a bulk load, and everything it replaces.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) segment: Arc<Segment>,
    pub(crate) stamp: Stamp,
    pub(crate) sum: DigestTree,
    pub(crate) epoch: u64,
    pub(crate) clashes: Vec<Clash>,
    /// Rows whose keys are in memory, too.
    pub(crate) in_memory: Vec<(Vec<u8>, u32)>,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            active: Memtable::default(),
            flushing: None,
            segments: Vec::new(),
            list: SegmentList {
                epoch: 0,
                segments: Arc::new([]),
            },
            seen: None,
            sum: DigestTree::default(),
            newest: Version::default(),
            hasher: RecordHasher::default(),
        }
    }
}

impl Shard {
    /// Rows that are neither replaced nor deleted.
    pub(crate) fn live(&self) -> u64 {
        let mems = self.memtables().map(Memtable::live).sum::<u64>();
        mems + self.live_in(Change::Upsert)
    }

    /// Records, tombstones included.
    pub(crate) fn records(&self) -> u64 {
        let mems = self.memtables().map(Memtable::records).sum::<u64>();
        mems + self.live_in(Change::Upsert) + self.live_in(Change::Delete)
    }

    /// The digests of all records.
    pub(crate) fn tree(&self) -> DigestTree {
        let mut tree = self.sum.clone();
        self.memtables().for_each(|mem| tree.add_tree(mem.sum()));
        tree
    }

    /// The digest of all records, which is the root of `tree`.
    pub(crate) fn root(&self) -> Digest {
        let sums = self.memtables().map(|mem| mem.sum().root_sum());
        let mut root = self.sum.root_sum();
        sums.for_each(|sum| root.add(sum));
        root.digest()
    }

    pub(crate) fn newest(&self) -> Version {
        let mems = self.memtables().map(Memtable::newest);
        mems.fold(self.newest, Version::max)
    }

    /// Bytes held in memory: rows, keys, stamps, key maps.
    pub(crate) fn bytes(&self) -> usize {
        self.memtables().map(Memtable::bytes).sum()
    }

    /// Number of batches in memory, tombstones included.
    pub(crate) fn batches(&self) -> usize {
        self.memtables().map(Memtable::batches).sum()
    }

    /// The segments, for finding keys without a lock.
    pub(crate) fn list(&self) -> &SegmentList {
        &self.list
    }

    pub(crate) fn segments(&self) -> &[Held] {
        &self.segments
    }

    /// Applies a part that was located at this epoch.
    pub(crate) fn apply(&mut self, mut part: Part, hasher: &DefaultHashBuilder) -> Applied {
        let located = std::mem::take(&mut part.located);
        let below = &mut Lower {
            flushing: self.flushing.as_mut(),
            segments: &mut self.segments,
            sum: &mut self.sum,
            hasher: &mut self.hasher,
            changed: false,
        };
        let applied = self.active.apply(part, hasher, &mut |part, row| {
            below.challenge(part, row, &located)
        });
        if below.changed {
            self.seen = None;
        }
        applied
    }

    /// What memory knows of an encoded key.
    pub(crate) fn get(&self, key: &[u8], hasher: &DefaultHashBuilder) -> Known<'_> {
        match (self.active.get(key, hasher), &self.flushing) {
            (Known::Nothing, Some(flushing)) => flushing.get(key, hasher),
            (known, _) => known,
        }
    }

    /// The current rows in memory, and the tombstones if asked for, as they are now.
    pub(crate) fn freeze(&mut self, tombstones: bool) -> Vec<FrozenBatch> {
        let mut all = self.active.freeze(tombstones);
        if let Some(flushing) = &mut self.flushing {
            all.extend(flushing.freeze(tombstones));
        }
        all
    }

    /// The segments as they are now.
    pub(crate) fn seen(&mut self) -> Arc<[Seen]> {
        let segments = &mut self.segments;
        let seen = self.seen.get_or_insert_with(|| {
            let see = |held: &mut Held| Seen {
                segment: Arc::clone(&held.segment),
                live_rows: held.hidden.live(),
                live: held.hidden.freeze(),
            };
            segments.iter_mut().map(see).collect()
        });
        Arc::clone(seen)
    }

    /// Leaves out the rows in memory that are older than `cutoff`, if they are about to be set aside.
    pub(crate) fn expire(
        &mut self,
        flush_bytes: usize,
        cutoff: Version,
        hasher: &DefaultHashBuilder,
    ) {
        if self.flushing.is_none() && self.active.bytes() >= flush_bytes {
            self.active.expire(cutoff, hasher);
        }
    }

    /// Sets what is in memory aside if it has at least `flush_bytes`, and tells everything that a
    /// checkpoint needs.
    pub(crate) fn capture(&mut self, flush_bytes: usize) -> Captured {
        let newest = self.newest();
        let (rows, digest) = (self.live(), self.tree().root());
        let flush = self.flushing.is_none()
            && !self.active.is_empty()
            && self.active.bytes() >= flush_bytes;
        if flush {
            self.flushing = Some(std::mem::take(&mut self.active));
        }
        let mut sum = self.sum.clone();
        if let Some(flushing) = &self.flushing {
            sum.add_tree(flushing.sum());
        }
        let batches = match &mut self.flushing {
            Some(flushing) => flushing.freeze(true),
            None => self.active.freeze(true),
        };
        Captured {
            newest,
            rows,
            digest,
            sum,
            segments: self.seen(),
            batches,
            flush,
        }
    }

    /// Puts segments in the place of the memtable that was set aside. Returns the bytes it held.
    pub(crate) fn install(&mut self, flushed: Vec<Flushed>) -> usize {
        let Some(flushing) = self.flushing.take() else {
            return 0;
        };
        self.newest = self.newest.max(flushing.newest());
        self.sum.add_tree(flushing.sum());
        for Flushed { segment, origins } in flushed {
            let change = segment.meta().change;
            let mut hidden = Hidden::none(segment.meta().rows);
            for (at, (slot, row)) in (0..).zip(origins) {
                if !flushing.is_current(change, slot as usize, row as usize) {
                    hidden.hide(at);
                }
            }
            self.segments.push(Held { segment, hidden });
        }
        self.relist();
        flushing.bytes()
    }

    /// Takes a segment over as a checkpoint described it.
    pub(crate) fn restore(&mut self, segment: Arc<Segment>, hidden: &[(u32, Vec<u8>)]) {
        let mut held = Held {
            hidden: Hidden::none(segment.meta().rows),
            segment,
        };
        for (group, live) in hidden {
            held.hidden.restore(*group, live);
        }
        self.segments.push(held);
        self.relist();
    }

    /// Takes over what a checkpoint knew of the segments' records.
    pub(crate) fn restore_summary(&mut self, newest: Version, sum: DigestTree) {
        self.newest = newest;
        self.sum = sum;
    }

    /// Puts the result of a compaction in the place of its inputs. Returns these, or nothing if one
    /// of them is not here any more.
    pub(crate) fn swap(&mut self, compacted: Compacted) -> Vec<Arc<Segment>> {
        let number = |seen: &Seen| seen.segment.meta().number;
        let place = |wanted: u64| {
            self.segments
                .iter()
                .position(|held| held.segment.meta().number == wanted)
        };
        let inputs = &compacted.inputs;
        let places: Vec<Option<usize>> =
            inputs.iter().map(|(seen, _)| place(number(seen))).collect();
        if places.contains(&None) {
            return Vec::new();
        }
        for (input, row, digest) in &compacted.dropped {
            let place = places.get(*input as usize).copied().flatten();
            let held = place.and_then(|place| self.segments.get(place));
            if held.is_some_and(|held| !held.hidden.contains(*row)) {
                self.sum.remove(*digest);
            }
        }
        let mut outputs = Outputs::new(compacted.outputs);
        for ((_, went), place) in inputs.iter().zip(&places) {
            let Some(held) = place.and_then(|place| self.segments.get(place)) else {
                continue;
            };
            // Only few rows can have been hidden since the inputs were read.
            for (row, to) in (0..).zip(went) {
                if *to != u32::MAX && held.hidden.contains(row) {
                    outputs.hide(*to);
                }
            }
        }
        self.segments.extend(outputs.0);
        let gone: Vec<u64> = inputs.iter().map(|(seen, _)| number(seen)).collect();
        let (old, kept) = std::mem::take(&mut self.segments)
            .into_iter()
            .partition(|held| gone.contains(&held.segment.meta().number));
        self.segments = kept;
        self.relist();
        Vec::into_iter(old).map(|held: Held| held.segment).collect()
    }

    /// The keys in memory between two keys, ascending.
    pub(crate) fn keys_between(&self, min: &[u8], max: &[u8]) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        for mem in self.memtables() {
            mem.each_key(|key| {
                if (min..=max).contains(&key) {
                    keys.push(key.to_vec());
                }
            });
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Applies a bulk load's segment whose clashes were found at this epoch.
    pub(crate) fn apply_load(&mut self, load: Loaded, hasher: &DefaultHashBuilder) -> Applied {
        let Loaded { segment, stamp, .. } = &load;
        let mut hidden = Hidden::none(segment.meta().rows);
        let mut applied = Applied::default();
        self.sum.add_tree(&load.sum);
        self.newest = self.newest.max(stamp.version);
        for clash in &load.clashes {
            match self.meet(clash, stamp) {
                Below::Nothing => {}
                Below::Wins if hidden.hide(clash.row) => self.sum.remove(clash.new),
                Below::Wins => {}
                Below::Hidden { row } => applied.hidden += u64::from(row),
            }
        }
        for (key, row) in &load.in_memory {
            match self.yield_to(key, stamp, hasher) {
                Below::Wins if hidden.hide(*row) => {
                    let Stamp { version, author } = stamp;
                    self.sum
                        .remove(self.hasher.hash(key, *version, author, false));
                }
                Below::Nothing | Below::Wins => {}
                Below::Hidden { row } => applied.hidden += u64::from(row),
            }
        }
        applied.rows = hidden.live();
        self.segments.push(Held {
            segment: load.segment,
            hidden,
        });
        self.relist();
        applied
    }

    /// Lets a bulk load's record meet an older one in a segment.
    fn meet(&mut self, clash: &Clash, stamp: &Stamp) -> Below {
        let Some(held) = self.segments.get_mut(clash.found.slot as usize) else {
            return Below::Nothing;
        };
        if held.hidden.contains(clash.found.at) {
            return Below::Nothing;
        }
        let row = held.segment.meta().change == Change::Upsert;
        if (&clash.found.stamp, row) >= (stamp, true) {
            return Below::Wins;
        }
        held.hidden.hide(clash.found.at);
        self.sum.remove(clash.old);
        Below::Hidden { row }
    }

    /// Lets a bulk load's record meet one in memory.
    fn yield_to(&mut self, key: &[u8], stamp: &Stamp, hasher: &DefaultHashBuilder) -> Below {
        let mems = std::iter::once(&mut self.active).chain(&mut self.flushing);
        for mem in mems {
            let below = mem.yield_to(key, stamp, hasher);
            if below != Below::Nothing {
                return below;
            }
        }
        Below::Nothing
    }

    /// The digests of the records in memory, computed anew.
    #[cfg(test)]
    pub(crate) fn recomputed_digest(&mut self) -> DigestTree {
        self.active.recomputed_digest()
    }

    fn memtables(&self) -> impl Iterator<Item = &Memtable> {
        std::iter::once(&self.active).chain(&self.flushing)
    }

    fn live_in(&self, change: Change) -> u64 {
        let of_kind = |held: &&Held| held.segment.meta().change == change;
        let segments = self.segments.iter().filter(of_kind);
        segments.map(|held| held.hidden.live()).sum()
    }

    fn relist(&mut self) {
        self.seen = None;
        let segments = self.segments.iter().map(|held| Arc::clone(&held.segment));
        self.list = SegmentList {
            epoch: self.list.epoch + 1,
            segments: segments.collect(),
        };
    }
}

/// Segments whose rows are counted through.
struct Outputs(Vec<Held>);

impl Outputs {
    fn new(segments: Vec<Arc<Segment>>) -> Self {
        let held = |segment: Arc<Segment>| Held {
            hidden: Hidden::none(segment.meta().rows),
            segment,
        };
        Self(segments.into_iter().map(held).collect())
    }

    fn hide(&mut self, row: u32) {
        let mut row = u64::from(row);
        for held in &mut self.0 {
            let rows = held.segment.meta().rows;
            if row < rows {
                held.hidden.hide(row as u32);
                return;
            }
            row -= rows;
        }
    }
}

/// What lies below the active memtable.
struct Lower<'a> {
    flushing: Option<&'a mut Memtable>,
    segments: &'a mut [Held],
    sum: &'a mut DigestTree,
    hasher: &'a mut RecordHasher,
    changed: bool,
}

impl Lower<'_> {
    fn challenge(&mut self, part: &Part, row: usize, located: &Located) -> Below {
        if let Some(flushing) = &mut self.flushing {
            let below = flushing.challenge(part, row);
            if below != Below::Nothing {
                return below;
            }
        }
        for found in located.of(row) {
            let Some(held) = self.segments.get_mut(found.slot as usize) else {
                continue;
            };
            if held.hidden.contains(found.at) {
                continue;
            }
            let change = held.segment.meta().change;
            let old = (&found.stamp, change == Change::Upsert);
            let stamp = part.stamps.stamp(row);
            if (&stamp, part.change == Change::Upsert) <= old {
                return Below::Wins;
            }
            held.hidden.hide(found.at);
            self.changed = true;
            let Stamp { version, author } = &found.stamp;
            let tombstone = change == Change::Delete;
            let key = part.keys.value(row);
            self.sum
                .remove(self.hasher.hash(key, *version, author, tombstone));
            return Below::Hidden { row: !tombstone };
        }
        Below::Nothing
    }
}
