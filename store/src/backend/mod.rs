//! Ordered maps of small values beside the log: catalog, manifest, state of the layers above.
//!
//! Purpose: the contract an index must keep. Invariant: a batch is applied whole or not at all,
//! over all its maps. Non-goal: no backend is trusted with rows; what it loses is rebuilt from the
//! log, except the small state of the layers above.

mod keys;
mod memory;
mod open;
mod redb_backend;
mod sled_backend;
mod sqlite_backend;

use std::fmt::Debug;

pub use memory::MemoryBackend;
pub(crate) use open::{made_with, move_aside, open, open_patiently, remove};
pub use redb_backend::RedbBackend;
pub use sled_backend::SledBackend;
pub use sqlite_backend::SqliteBackend;

use crate::error::Result;

/// A key and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// Longest name of a map, in bytes.
pub const MAX_MAP_NAME: usize = 128;

/// Changes that take effect together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    changes: Vec<BatchChange>,
}

/// One change of a [`Batch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchChange {
    /// The map to change; at most [`MAX_MAP_NAME`] bytes, without zero bytes.
    pub map: String,
    /// The key to change.
    pub key: Vec<u8>,
    /// The new value; `None` removes the key.
    pub value: Option<Vec<u8>>,
}

impl Batch {
    /// A batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` of `map` to `value`.
    pub fn put(&mut self, map: &str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.push(map, key.into(), Some(value.into()));
    }

    /// Removes `key` from `map`; fine if it is not there.
    pub fn delete(&mut self, map: &str, key: impl Into<Vec<u8>>) {
        self.push(map, key.into(), None);
    }

    /// The changes, in order; a later one wins over an earlier one of the same key.
    pub fn changes(&self) -> &[BatchChange] {
        &self.changes
    }

    /// The changes, in order, by value.
    pub fn into_changes(self) -> Vec<BatchChange> {
        self.changes
    }

    fn push(&mut self, map: &str, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.changes.push(BatchChange {
            map: map.to_owned(),
            key,
            value,
        });
    }
}

/// Ordered maps with atomic batches. Implementations are used from several threads at once.
///
/// [`conformance::check`](crate::conformance::check) tells whether an implementation keeps this
/// contract. A map comes into being with its first entry. Names that break the rule of
/// [`BatchChange::map`] are refused with `InvalidInput` by every method that takes one.
pub trait Backend: Send + Sync + Debug {
    /// A short name for messages, such as `sled`.
    fn name(&self) -> &str;

    /// The value of `key` in `map`.
    fn get(&self, map: &str, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Applies all changes, or none; readers see all of them, or none. Visible on return, on disk
    /// after the next `flush`.
    fn apply(&self, batch: Batch) -> Result<()>;

    /// The first `limit` entries of `map` with `start <= key`, and `key < end` if there is an end,
    /// in order of keys.
    fn range(
        &self,
        map: &str,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeyValue>>;

    /// The names of all maps that have entries, in order of their bytes.
    fn maps(&self) -> Result<Vec<String>>;

    /// Returns when everything applied so far is on disk.
    fn flush(&self) -> Result<()>;

    /// Removes every entry of every map.
    fn clear(&self) -> Result<()>;
}
