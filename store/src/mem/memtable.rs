//! The rows of one shard that are in memory: batches, key map, counts and digest.
//!
//! A memtable may lie on top of others and of segments: a record that arrives with a key it does not
//! have is compared with what lies below, by a function of the caller's.

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
use crate::digest::{DigestTree, RecordHasher};
use crate::ids::Stamp;
use crate::write::{Applied, Change};

/// Batches with fewer rows are not rewritten on their own when most of their rows are hidden.
const MIN_REWRITE_ROWS: usize = 64;

/// Records of one shard, in memory.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    map: HashTable<Entry>,
    runs: Runs,
    live: u64,
    sum: DigestTree,
    newest: Version,
    batch_bytes: usize,
    unmergeable: bool,
    record_hasher: RecordHasher,
}

impl Memtable {
    /// Rows that are neither replaced nor deleted.
    pub(crate) fn live(&self) -> u64 {
        self.live
    }

    /// Records, tombstones included.
    pub(crate) fn records(&self) -> u64 {
        self.map.len() as u64
    }

    pub(crate) fn sum(&self) -> &DigestTree {
        &self.sum
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(crate) fn newest(&self) -> Version {
        self.newest
    }

    /// Bytes held: rows, keys, stamps, key map.
    pub(crate) fn bytes(&self) -> usize {
        self.batch_bytes + self.map.allocation_size()
    }

    /// Applies a part on top of what `below` answers for. Whatever the order of parts, the same
    /// records end up current.
    pub(crate) fn apply(
        &mut self,
        part: Part,
        hasher: &DefaultHashBuilder,
        below: &mut dyn FnMut(&Part, usize) -> Below,
    ) -> Applied {
        let rows = part.rows.num_rows();
        let change = part.change;
        let slot = self.runs.of(change).len() as u32;
        let batch = slot | batch_bit(change);
        let mut current = Bitmap::all(rows);
        let mut applied = Applied::default();
        let mut hidden_here = 0;
        let mut thinned = Vec::new();
        self.newest = self.newest.max(part.stamps.newest());
        self.map.reserve(rows, |entry| entry.hash);
        for (row, &hash) in part.hashes.iter().enumerate() {
            let new = Entry {
                hash,
                batch,
                row: row as u32,
            };
            match self.place(new, &part, below) {
                Placed::Lost => {
                    current.unset(row);
                    continue;
                }
                Placed::New => {}
                Placed::Above { row } => applied.hidden += u64::from(row),
                Placed::Replaced(old) => {
                    hidden_here += u64::from(old.change() == Change::Upsert);
                    self.hide(old, part.keys.value(row), &mut thinned);
                }
            }
            applied.rows += 1;
            if let Some(digest) = part.digests.get(row) {
                self.sum.add(*digest);
            }
        }
        if change == Change::Upsert {
            self.live += applied.rows;
        }
        self.live -= hidden_here;
        applied.hidden += hidden_here;
        if applied.rows > 0 {
            let rows = (part.rows, part.row_bytes);
            let added = MemBatch::new(rows, part.keys, part.stamps, current);
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

    /// What this memtable, lying below another, has to say about row `row` of `part`: if it has the
    /// key and its record loses, the record is hidden. Batches stay where they are.
    pub(crate) fn challenge(&mut self, part: &Part, row: usize) -> Below {
        let key = part.keys.value(row);
        match part.hashes.get(row) {
            Some(hash) => self.challenge_with(*hash, key, rank(&part.stamps, row, part.change)),
            None => Below::Nothing,
        }
    }

    fn challenge_with(&mut self, hash: u64, key: &[u8], challenger: Rank<'_>) -> Below {
        let runs = &self.runs;
        let same = |entry: &Entry| entry.hash == hash && runs.has_key(*entry, key);
        let Ok(found) = self.map.find_entry(hash, same) else {
            return Below::Nothing;
        };
        let old = *found.get();
        let wins = self
            .runs
            .batch(old)
            .is_none_or(|batch| challenger > rank(&batch.stamps, old.row as usize, old.change()));
        if !wins {
            return Below::Wins;
        }
        found.remove();
        let row = old.change() == Change::Upsert;
        self.live -= u64::from(row);
        self.hide(old, key, &mut Vec::new());
        Below::Hidden { row }
    }

    /// Whether a row of a batch is the current record of its key.
    pub(crate) fn is_current(&self, change: Change, slot: usize, row: usize) -> bool {
        let batch = self.runs.of(change).get(slot).and_then(Option::as_ref);
        batch.is_some_and(|batch| batch.current.is_set(row))
    }

    /// Every record's key, in no particular order.
    pub(crate) fn each_key(&self, mut see: impl FnMut(&[u8])) {
        for entry in &self.map {
            if let Some(batch) = self.runs.batch(*entry) {
                see(batch.keys.value(entry.row as usize));
            }
        }
    }

    /// Hides the record of `key` if an upsert with `stamp`, which is elsewhere, beats it.
    pub(crate) fn yield_to(
        &mut self,
        key: &[u8],
        stamp: &Stamp,
        hasher: &DefaultHashBuilder,
    ) -> Below {
        let hash = hasher.hash_one(key);
        let challenger = (stamp.version, &*stamp.author, true);
        self.challenge_with(hash, key, challenger)
    }

    /// What is known of an encoded key: nothing, a tombstone, or its row.
    pub(crate) fn get(&self, key: &[u8], hasher: &DefaultHashBuilder) -> Known<'_> {
        let hash = hasher.hash_one(key);
        let same = |entry: &&Entry| entry.hash == hash && self.runs.has_key(**entry, key);
        let Some(entry) = self.map.find(hash, |entry| same(&entry)) else {
            return Known::Nothing;
        };
        match self.runs.batch(*entry) {
            Some(batch) if entry.change() == Change::Upsert => {
                let row = entry.row as usize;
                Known::Row {
                    rows: &batch.rows,
                    row,
                    version: batch.stamps.version(row),
                }
            }
            _ => Known::Deleted,
        }
    }

    /// The current rows, and the tombstones if asked for, as they are now.
    pub(crate) fn freeze(&mut self, tombstones: bool) -> Vec<FrozenBatch> {
        let frozen = |change| {
            move |(slot, batch): (usize, &mut MemBatch)| FrozenBatch {
                change,
                slot,
                keys: batch.keys.clone(),
                rows: batch.rows.clone(),
                stamps: batch.stamps.clone(),
                current: batch.current.freeze(),
                current_rows: batch.current.set(),
            }
        };
        let mut all: Vec<_> = numbered(&mut self.runs.upserts)
            .map(frozen(Change::Upsert))
            .collect();
        if tombstones {
            all.extend(numbered(&mut self.runs.deletes).map(frozen(Change::Delete)));
        }
        all.retain(|batch| batch.current_rows > 0);
        all
    }

    /// The digest, computed anew from the records.
    #[cfg(test)]
    pub(crate) fn recomputed_digest(&mut self) -> DigestTree {
        let mut sum = DigestTree::default();
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
        sum
    }

    /// Number of batches, tombstones included.
    pub(crate) fn batches(&self) -> usize {
        self.runs.upserts.iter().flatten().count() + self.runs.deletes.iter().flatten().count()
    }

    fn place(
        &mut self,
        new: Entry,
        part: &Part,
        below: &mut dyn FnMut(&Part, usize) -> Below,
    ) -> Placed {
        let runs = &self.runs;
        let row = new.row as usize;
        let key = part.keys.value(row);
        let same = |entry: &Entry| entry.hash == new.hash && runs.has_key(*entry, key);
        match self.map.entry(new.hash, same, |entry| entry.hash) {
            MapEntry::Vacant(vacant) => {
                let placed = match below(part, row) {
                    Below::Nothing => Placed::New,
                    Below::Wins => return Placed::Lost,
                    Below::Hidden { row } => Placed::Above { row },
                };
                vacant.insert(new);
                placed
            }
            MapEntry::Occupied(mut occupied) => {
                let old = *occupied.get();
                let wins = runs.batch(old).is_none_or(|batch| {
                    rank(&part.stamps, row, part.change)
                        > rank(&batch.stamps, old.row as usize, old.change())
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

/// The slots that are not empty, with their numbers.
fn numbered(slots: &mut [Option<MemBatch>]) -> impl Iterator<Item = (usize, &mut MemBatch)> {
    let filled = |(slot, batch): (usize, _)| Option::map(batch, |batch| (slot, batch));
    slots
        .iter_mut()
        .map(Option::as_mut)
        .enumerate()
        .filter_map(filled)
}

enum Placed {
    New,
    /// Nothing in this memtable had the key; something below had.
    Above {
        row: bool,
    },
    Replaced(Entry),
    Lost,
}

/// What lies below a memtable for a key that it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Below {
    /// No record.
    Nothing,
    /// A record that beats the new one.
    Wins,
    /// A record that was hidden now; whether it was a row, and not a tombstone.
    Hidden {
        /// Whether it was a row.
        row: bool,
    },
}

/// What is known of a key.
#[derive(Debug)]
pub(crate) enum Known<'a> {
    /// No record here.
    Nothing,
    /// A tombstone.
    Deleted,
    /// A live row.
    Row {
        /// The batch that it is in.
        rows: &'a RecordBatch,
        /// Its place there.
        row: usize,
        /// When it was written.
        version: Version,
    },
}

/// What decides between two records of a key: version, author, and, should one stamp both delete
/// and upsert it, the upsert.
type Rank<'a> = (Version, &'a str, bool);

fn rank(stamps: &Stamps, row: usize, change: Change) -> Rank<'_> {
    let author = stamps.author(row).map_or("", |author| author);
    (stamps.version(row), author, change == Change::Upsert)
}
