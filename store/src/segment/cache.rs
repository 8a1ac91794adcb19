//! Decoded columns, kept while there is room.
//!
//! Idea: second-chance eviction (CLOCK) in shards with a lock each; the bound is one for all
//! shards, so that a large column fits as long as the whole cache is larger. Invariant: the bytes
//! of all entries never exceed the bound. Non-goal: keeping two threads from decoding the same
//! column; nothing is locked while something is decoded.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef};
use parking_lot::Mutex;

use super::summary::FastBuild;

/// Number of locks.
const SHARDS: usize = 16;

/// Bytes counted for an entry beside its array.
const ENTRY_BYTES: usize = 128;

/// What is cached of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    pub(super) segment: u64,
    pub(super) group: u32,
    /// A column's position, or one of the pseudo columns.
    pub(super) column: u32,
    /// A page of the column, or [`WHOLE`].
    pub(super) page: u32,
}

/// The column's values of the whole group.
pub(super) const WHOLE: u32 = u32::MAX;

/// The pseudo column of encoded keys.
pub(super) const KEYS: u32 = u32::MAX;

/// A bounded cache of decoded columns, shared by all segments of a store.
#[derive(Debug)]
pub(crate) struct ColumnCache {
    limit: usize,
    held: AtomicUsize,
    next_segment: AtomicU64,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashMap<CacheKey, Entry, FastBuild>,
    /// In order of eviction. Exactly the keys of `entries`, each once.
    queue: VecDeque<CacheKey>,
}

#[derive(Debug)]
struct Entry {
    values: ArrayRef,
    bytes: usize,
    used: bool,
}

impl ColumnCache {
    /// A cache that holds at most `limit` bytes; none with 0.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            held: AtomicUsize::new(0),
            next_segment: AtomicU64::new(0),
            shards: Default::default(),
        })
    }

    /// Bytes of all entries.
    pub(crate) fn bytes(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| {
                shard
                    .lock()
                    .entries
                    .values()
                    .map(|e| e.bytes)
                    .sum::<usize>()
            })
            .sum()
    }

    /// A number for a segment that no other one of this cache has.
    pub(super) fn new_segment(&self) -> u64 {
        self.next_segment.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn get(&self, key: CacheKey) -> Option<ArrayRef> {
        let mut shard = self.shard(key).lock();
        let entry = shard.entries.get_mut(&key)?;
        entry.used = true;
        Some(entry.values.clone())
    }

    /// Keeps `values` if there is, or can be made, room for them.
    pub(super) fn insert(&self, key: CacheKey, values: &ArrayRef) {
        let bytes = values.get_array_memory_size() + ENTRY_BYTES;
        if bytes > self.limit || self.get(key).is_some() {
            return;
        }
        self.held.fetch_add(bytes, Ordering::AcqRel);
        if !self.make_room(key) {
            self.held.fetch_sub(bytes, Ordering::AcqRel);
            return;
        }
        let entry = Entry {
            values: values.clone(),
            bytes,
            used: false,
        };
        let mut shard = self.shard(key).lock();
        match shard.entries.insert(key, entry) {
            // Another thread was faster; its entry is dropped.
            Some(old) => {
                self.held.fetch_sub(old.bytes, Ordering::AcqRel);
            }
            None => shard.queue.push_back(key),
        }
    }

    /// Drops everything of a segment.
    pub(crate) fn evict_segment(&self, segment: u64) {
        for shard in &self.shards {
            let mut guard = shard.lock();
            let shard = &mut *guard;
            shard.queue.retain(|key| key.segment != segment);
            let mut freed = 0;
            shard.entries.retain(|key, entry| {
                let keep = key.segment != segment;
                freed += if keep { 0 } else { entry.bytes };
                keep
            });
            self.held.fetch_sub(freed, Ordering::AcqRel);
        }
    }

    /// Evicts until what is held and reserved is within the limit; false if it cannot be.
    fn make_room(&self, key: CacheKey) -> bool {
        let first = index_of(key);
        let over = || self.held.load(Ordering::Acquire) > self.limit;
        // Twice around: what was used lately goes only if everything else did not suffice.
        for shard in self.shards.iter().cycle().skip(first).take(2 * SHARDS) {
            while over() {
                match shard.lock().evict_one() {
                    Some(bytes) => self.held.fetch_sub(bytes, Ordering::AcqRel),
                    None => break,
                };
            }
        }
        !over()
    }

    fn shard(&self, key: CacheKey) -> &Mutex<Shard> {
        let [first, ..] = &self.shards;
        self.shards.get(index_of(key)).unwrap_or(first)
    }
}

impl Shard {
    /// Evicts the first entry that was not used since it was last passed by.
    fn evict_one(&mut self) -> Option<usize> {
        for _ in 0..self.queue.len() {
            let key = self.queue.pop_front()?;
            match self.entries.get_mut(&key) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.queue.push_back(key);
                }
                _ => return self.entries.remove(&key).map(|entry| entry.bytes),
            }
        }
        None
    }
}

fn index_of(key: CacheKey) -> usize {
    use std::hash::BuildHasher;
    // The map inside of a shard uses the low bits.
    (FastBuild::default().hash_one(key) >> 32) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn key(segment: u64, group: u32) -> CacheKey {
        CacheKey {
            segment,
            group,
            column: 0,
            page: WHOLE,
        }
    }

    fn column(rows: usize) -> ArrayRef {
        Arc::new(Int64Array::from(vec![7; rows]))
    }

    #[test]
    fn the_bound_holds_and_used_columns_stay_longer() {
        let cache = ColumnCache::new(100_000);
        cache.insert(key(0, 0), &column(100));
        for group in 1..1000 {
            cache.insert(key(0, group), &column(100 + group as usize % 50));
            assert!(cache.bytes() <= 100_000);
            assert_eq!(cache.bytes(), cache.held.load(Ordering::Acquire));
            assert!(cache.get(key(0, 0)).is_some());
        }
        assert!(cache.bytes() > 50_000);
        cache.insert(key(1, 0), &column(20_000));
        assert!(cache.get(key(1, 0)).is_none());
        cache.insert(key(1, 1), &column(5_000));
        assert!(cache.get(key(1, 1)).is_some());
        cache.evict_segment(1);
        assert!(cache.get(key(1, 1)).is_none());
        cache.evict_segment(0);
        assert_eq!((cache.bytes(), cache.held.load(Ordering::Acquire)), (0, 0));
    }

    #[test]
    fn threads_keep_the_bound() {
        let cache = ColumnCache::new(50_000);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let cache = &cache;
                scope.spawn(move || {
                    for group in 0..2000 {
                        cache.insert(key(thread % 2, group % 97), &column(200));
                        cache.get(key(thread % 2, group % 13));
                        if group % 500 == 0 {
                            cache.evict_segment(thread % 2);
                        }
                    }
                });
            }
        });
        assert!(cache.bytes() <= 50_000);
        assert_eq!(cache.bytes(), cache.held.load(Ordering::Acquire));
    }
}
