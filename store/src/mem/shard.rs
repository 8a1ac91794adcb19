//! One shard: batches, key map, counts and digest.

use std::hash::BuildHasher;

use arrow::array::RecordBatch;
use hashbrown::hash_table::Entry as MapEntry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::bitmap::Bitmap;
use super::frozen::FrozenBatch;
use super::merge;
use super::part::Part;
use super::runs::{Entry, MemBatch, Runs, batch_bit};
use super::stamps::Stamps;
use crate::clock::Version;
use crate::digest::{Digest, DigestSum, RecordHasher};
use crate::write::{Applied, Change};

/// Batches with fewer rows are not rewritten on their own when most of their rows are hidden.
const MIN_REWRITE_ROWS: usize = 64;

/// The records of one shard.
#[derive(Debug, Default)]
pub(crate) struct ShardMem {
    map: HashTable<Entry>,
    runs: Runs,
    live: u64,
    sum: DigestSum,
    newest: Version,
    batch_bytes: usize,
    unmergeable: bool,
    record_hasher: RecordHasher,
}

impl ShardMem {
    /// Rows that are neither replaced nor deleted.
    pub(crate) fn live(&self) -> u64 {
        self.live
    }

    /// Records, tombstones included.
    pub(crate) fn records(&self) -> u64 {
        self.map.len() as u64
    }

    pub(crate) fn digest(&self) -> Digest {
        self.sum.digest()
    }

    pub(crate) fn newest(&self) -> Version {
        self.newest
    }

    /// Bytes held: rows, keys, stamps, key map.
    pub(crate) fn bytes(&self) -> usize {
        self.batch_bytes + self.map.allocation_size()
    }

    /// Applies a part. Whatever the order of parts, the same records end up current.
    pub(crate) fn apply(&mut self, part: Part, hasher: &DefaultHashBuilder) -> Applied {
        let rows = part.rows.num_rows();
        let change = part.change;
        let slot = self.runs.of(change).len() as u32;
        let batch = slot | batch_bit(change);
        let mut current = Bitmap::all(rows);
        let mut applied = Applied::default();
        let mut thinned = Vec::new();
        self.newest = self.newest.max(part.stamps.newest());
        self.sum.add(part.sum);
        self.map.reserve(rows, |entry| entry.hash);
        for (row, &hash) in part.hashes.iter().enumerate() {
            let new = Entry {
                hash,
                batch,
                row: row as u32,
            };
            match self.place(new, &part) {
                Placed::Lost => {
                    current.unset(row);
                    self.unsum(part.keys.value(row), &part.stamps, row, change);
                }
                Placed::New => applied.rows += 1,
                Placed::Replaced(old) => {
                    applied.rows += 1;
                    applied.hidden += u64::from(old.change() == Change::Upsert);
                    self.hide(old, part.keys.value(row), &mut thinned);
                }
            }
        }
        if change == Change::Upsert {
            self.live += applied.rows;
        }
        self.live -= applied.hidden;
        if applied.rows > 0 {
            let added = MemBatch::new(part.rows, part.keys, part.stamps, current);
            self.batch_bytes += added.bytes;
            self.runs.of_mut(change).push(Some(added));
            thinned.push(Entry {
                hash: 0,
                batch,
                row: 0,
            });
        }
        self.tidy(thinned, hasher);
        self.coalesce(change, hasher);
        applied
    }

    /// The live row of an encoded key, as a batch of one row.
    pub(crate) fn get(&self, key: &[u8], hasher: &DefaultHashBuilder) -> Option<RecordBatch> {
        let hash = hasher.hash_one(key);
        let entry = *self.map.find(hash, |entry| {
            entry.hash == hash && self.runs.has_key(*entry, key)
        })?;
        if entry.change() == Change::Delete {
            return None;
        }
        let batch = self.runs.batch(entry)?;
        Some(batch.rows.slice(entry.row as usize, 1))
    }

    /// The current rows, and the tombstones if asked for, as they are now.
    pub(crate) fn freeze(&mut self, tombstones: bool) -> Vec<FrozenBatch> {
        let frozen = |change| {
            move |batch: &mut MemBatch| FrozenBatch {
                change,
                rows: batch.rows.clone(),
                stamps: batch.stamps.clone(),
                current: batch.current.freeze(),
                current_rows: batch.current.set(),
            }
        };
        let upserts = self.runs.upserts.iter_mut().flatten();
        let mut all: Vec<_> = upserts.map(frozen(Change::Upsert)).collect();
        if tombstones {
            let deletes = self.runs.deletes.iter_mut().flatten();
            all.extend(deletes.map(frozen(Change::Delete)));
        }
        all.retain(|batch| batch.current_rows > 0);
        all
    }

    /// The digest, computed anew from the records.
    #[cfg(test)]
    pub(crate) fn recomputed_digest(&mut self) -> Digest {
        let mut sum = DigestSum::default();
        for entry in &self.map {
            if let Some(batch) = self.runs.batch(*entry) {
                let row = entry.row as usize;
                sum.add(self.record_hasher.hash(
                    batch.keys.value(row),
                    batch.stamps.version(row),
                    batch.stamps.author(row).map_or("", |author| author),
                    entry.change() == Change::Delete,
                ));
            }
        }
        sum.digest()
    }

    /// Number of batches, tombstones included.
    pub(crate) fn batches(&self) -> usize {
        self.runs.upserts.iter().flatten().count() + self.runs.deletes.iter().flatten().count()
    }

    fn place(&mut self, new: Entry, part: &Part) -> Placed {
        let runs = &self.runs;
        let row = new.row as usize;
        let key = part.keys.value(row);
        let same = |entry: &Entry| entry.hash == new.hash && runs.has_key(*entry, key);
        match self.map.entry(new.hash, same, |entry| entry.hash) {
            MapEntry::Vacant(vacant) => {
                vacant.insert(new);
                Placed::New
            }
            MapEntry::Occupied(mut occupied) => {
                let old = *occupied.get();
                let wins = runs.batch(old).is_none_or(|batch| {
                    rank(&part.stamps, row, new) > rank(&batch.stamps, old.row as usize, old)
                });
                if !wins {
                    return Placed::Lost;
                }
                *occupied.get_mut() = new;
                Placed::Replaced(old)
            }
        }
    }

    fn hide(&mut self, old: Entry, key: &[u8], thinned: &mut Vec<Entry>) {
        let Some(batch) = self.runs.batch_mut(old) else {
            return;
        };
        batch.current.unset(old.row as usize);
        if batch.current.set() * 2 < batch.rows.num_rows()
            && thinned.last().is_none_or(|last| last.batch != old.batch)
        {
            thinned.push(old);
        }
        let row = old.row as usize;
        let author = batch.stamps.author(row).map_or("", |author| author);
        let tombstone = old.change() == Change::Delete;
        let version = batch.stamps.version(row);
        self.sum
            .remove(self.record_hasher.hash(key, version, author, tombstone));
    }

    fn unsum(&mut self, key: &[u8], stamps: &Stamps, row: usize, change: Change) {
        let author = stamps.author(row).map_or("", |author| author);
        let tombstone = change == Change::Delete;
        self.sum.remove(
            self.record_hasher
                .hash(key, stamps.version(row), author, tombstone),
        );
    }

    /// Frees batches without current rows, and rewrites those where most rows are hidden.
    fn tidy(&mut self, mut thinned: Vec<Entry>, hasher: &DefaultHashBuilder) {
        thinned.sort_unstable_by_key(|entry| entry.batch);
        thinned.dedup_by_key(|entry| entry.batch);
        for entry in thinned {
            let Some(batch) = self.runs.batch(entry) else {
                continue;
            };
            let (set, rows) = (batch.current.set(), batch.rows.num_rows());
            if set == 0 {
                self.batch_bytes -= batch.bytes;
                if let Some(slot) = self.runs.of_mut(entry.change()).get_mut(entry.index()) {
                    *slot = None;
                }
            } else if rows >= MIN_REWRITE_ROWS && set * 2 < rows {
                let at = entry.index();
                self.merge(entry.change(), at, at + 1, hasher);
            }
        }
    }

    /// Merges the batches at the end until no merge is due.
    fn coalesce(&mut self, change: Change, hasher: &DefaultHashBuilder) {
        while !self.unmergeable {
            let rows_of = self
                .runs
                .of(change)
                .iter()
                .map(|slot| slot.as_ref().map_or(0, |batch| batch.current.set()));
            let Some(start) = merge::due(rows_of) else {
                return;
            };
            let end = self.runs.of(change).len();
            if !self.merge(change, start, end, hasher) {
                return;
            }
            self.runs.of_mut(change).truncate(start + 1);
        }
    }

    /// Puts the current rows of slots `start..end` into slot `start` and empties the others.
    fn merge(
        &mut self,
        change: Change,
        start: usize,
        end: usize,
        hasher: &DefaultHashBuilder,
    ) -> bool {
        let Some(slots) = self.runs.of_mut(change).get_mut(start..end) else {
            return false;
        };
        let mut batches: Vec<&mut MemBatch> = slots.iter_mut().flatten().collect();
        if batches.is_empty() {
            return true;
        }
        let Ok(merged) = merge::merge(&mut batches) else {
            self.unmergeable = true;
            return false;
        };
        let freed: usize = batches.iter().map(|batch| batch.bytes).sum();
        self.repoint(change, start, end, hasher);
        self.batch_bytes = self.batch_bytes - freed + merged.bytes;
        if let Some(slots) = self.runs.of_mut(change).get_mut(start..end) {
            slots.iter_mut().for_each(|slot| *slot = None);
            if let Some(slot) = slots.first_mut() {
                *slot = Some(merged);
            }
        }
        true
    }

    /// Points the map at the rows' places after the merge of `start..end` into `start`.
    fn repoint(&mut self, change: Change, start: usize, end: usize, hasher: &DefaultHashBuilder) {
        let bit = batch_bit(change);
        let mut to = 0;
        for at in start..end {
            let Some(batch) = self
                .runs
                .of_mut(change)
                .get_mut(at)
                .and_then(Option::as_mut)
            else {
                continue;
            };
            let current = batch.current.freeze();
            for row in 0..batch.rows.num_rows() {
                if current.as_ref().is_some_and(|current| !current.value(row)) {
                    continue;
                }
                let hash = hasher.hash_one(batch.keys.value(row));
                let from = at as u32 | bit;
                let here = |entry: &Entry| {
                    entry.hash == hash && entry.batch == from && entry.row == row as u32
                };
                if let Some(entry) = self.map.find_mut(hash, here) {
                    entry.batch = start as u32 | bit;
                    entry.row = to;
                }
                to += 1;
            }
        }
    }
}

enum Placed {
    New,
    Replaced(Entry),
    Lost,
}

/// What decides between two records of a key: version, author, and, should one stamp both delete
/// and upsert it, the upsert.
fn rank(stamps: &Stamps, row: usize, entry: Entry) -> (Version, &str, bool) {
    let author = stamps.author(row).map_or("", |author| author);
    (
        stamps.version(row),
        author,
        entry.change() == Change::Upsert,
    )
}
