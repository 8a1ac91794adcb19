//! The batches of a shard, and how its key map refers to them.

use arrow::array::{Array, BinaryArray, RecordBatch};

use super::bitmap::Bitmap;
use super::stamps::Stamps;
use crate::write::Change;

/// Rows, their keys and stamps, and which of them are current.
#[derive(Debug)]
pub(super) struct MemBatch {
    pub(super) rows: RecordBatch,
    pub(super) keys: BinaryArray,
    pub(super) stamps: Stamps,
    pub(super) current: Bitmap,
    pub(super) bytes: usize,
}

impl MemBatch {
    /// `row_bytes`: what the rows hold in memory.
    pub(super) fn new(
        (rows, row_bytes): (RecordBatch, usize),
        keys: BinaryArray,
        stamps: Stamps,
        current: Bitmap,
    ) -> Self {
        let bytes = row_bytes + keys.get_buffer_memory_size() + stamps.bytes() + size_of::<Self>();
        Self {
            rows,
            keys,
            stamps,
            current,
            bytes,
        }
    }
}

/// Where the current record of a key is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) hash: u64,
    pub(super) batch: u32,
    pub(super) row: u32,
}

/// Batch numbers of tombstones have this bit.
const TOMBSTONE: u32 = 1 << 31;

impl Entry {
    pub(super) fn change(self) -> Change {
        if self.batch & TOMBSTONE == 0 {
            Change::Upsert
        } else {
            Change::Delete
        }
    }

    pub(super) fn index(self) -> usize {
        (self.batch & !TOMBSTONE) as usize
    }
}

/// The batches of a shard: rows and tombstones apart. A slot is empty when nothing in it was
/// current any more.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) upserts: Vec<Option<MemBatch>>,
    pub(super) deletes: Vec<Option<MemBatch>>,
}

impl Runs {
    pub(super) fn of(&self, change: Change) -> &Vec<Option<MemBatch>> {
        match change {
            Change::Upsert => &self.upserts,
            Change::Delete => &self.deletes,
        }
    }

    pub(super) fn of_mut(&mut self, change: Change) -> &mut Vec<Option<MemBatch>> {
        match change {
            Change::Upsert => &mut self.upserts,
            Change::Delete => &mut self.deletes,
        }
    }

    pub(super) fn batch(&self, entry: Entry) -> Option<&MemBatch> {
        self.of(entry.change()).get(entry.index())?.as_ref()
    }

    pub(super) fn batch_mut(&mut self, entry: Entry) -> Option<&mut MemBatch> {
        self.of_mut(entry.change()).get_mut(entry.index())?.as_mut()
    }

    pub(super) fn has_key(&self, entry: Entry, key: &[u8]) -> bool {
        self.batch(entry)
            .is_some_and(|batch| batch.keys.value(entry.row as usize) == key)
    }
}

/// The bit that batch numbers of this kind have.
pub(super) fn batch_bit(change: Change) -> u32 {
    match change {
        Change::Upsert => 0,
        Change::Delete => TOMBSTONE,
    }
}
