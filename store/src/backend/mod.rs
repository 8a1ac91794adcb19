//! Ordered maps of small values beside the log: catalog, manifest, state of the layers above.
//!
//! Purpose: the contract an index must keep. Invariant: a batch is applied whole or not at all,
//! over all its maps. Non-goal: no backend is trusted with rows; what it loses is rebuilt from the
//! log, except the small state of the layers above.

mod memory;
mod sled_backend;

use std::fmt::Debug;

pub use memory::MemoryBackend;
pub use sled_backend::SledBackend;

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
pub trait Backend: Send + Sync + Debug {
    /// A short name for messages, such as `sled`.
    fn name(&self) -> &str;

    /// The value of `key` in `map`.
    fn get(&self, map: &str, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Applies all changes, or none.
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

    /// Returns when everything applied so far is on disk.
    fn flush(&self) -> Result<()>;

    /// Removes every entry of every map.
    fn clear(&self) -> Result<()>;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What every backend must do.
    fn conforms(backend: &dyn Backend) {
        let mut batch = Batch::new();
        for key in 0..10u8 {
            batch.put("a", [key], [key, key]);
        }
        batch.put("ab", [3], b"other map".to_vec());
        batch.put("b", [255, 255], b"high".to_vec());
        backend.apply(batch).unwrap();
        assert_eq!(backend.get("a", &[3]).unwrap().unwrap(), [3, 3]);
        assert_eq!(backend.get("ab", &[3]).unwrap().unwrap(), b"other map");
        assert!(backend.get("c", &[3]).unwrap().is_none());
        assert!(backend.get("a", &[]).unwrap().is_none());

        let all = backend.range("a", &[], None, 100).unwrap();
        assert_eq!(all.len(), 10);
        assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let some = backend.range("a", &[2], Some(&[5]), 100).unwrap();
        assert_eq!(
            some.iter().map(|(k, _)| k[0]).collect::<Vec<_>>(),
            [2, 3, 4]
        );
        assert_eq!(backend.range("a", &[2], None, 2).unwrap().len(), 2);
        assert_eq!(backend.range("a", &[5], Some(&[2]), 9).unwrap().len(), 0);
        assert_eq!(backend.range("b", &[255], None, 9).unwrap().len(), 1);

        let mut batch = Batch::new();
        batch.delete("a", [3]);
        batch.delete("a", [77]);
        batch.put("a", [4], b"first".to_vec());
        batch.put("a", [4], b"last".to_vec());
        batch.put("b", [1], b"same batch".to_vec());
        backend.apply(batch).unwrap();
        assert!(backend.get("a", &[3]).unwrap().is_none());
        assert_eq!(backend.get("a", &[4]).unwrap().unwrap(), b"last");
        assert_eq!(backend.get("b", &[1]).unwrap().unwrap(), b"same batch");
        backend.flush().unwrap();

        let mut wrong = Batch::new();
        wrong.put("a", [9], b"not applied".to_vec());
        wrong.put("zero\0byte", [1], b"x".to_vec());
        assert!(backend.apply(wrong).is_err());
        assert_eq!(backend.get("a", &[9]).unwrap().unwrap(), [9, 9]);

        backend.clear().unwrap();
        assert!(backend.range("a", &[], None, 9).unwrap().is_empty());
        assert!(backend.range("b", &[], None, 9).unwrap().is_empty());
    }

    #[test]
    fn memory_conforms() {
        conforms(&MemoryBackend::new());
    }

    #[test]
    fn sled_conforms_and_keeps() {
        let dir = tempfile::tempdir().unwrap();
        let backend = SledBackend::open(dir.path(), 1 << 20).unwrap();
        conforms(&backend);
        let mut batch = Batch::new();
        batch.put("m", b"k".to_vec(), b"v".to_vec());
        backend.apply(batch).unwrap();
        backend.flush().unwrap();
        drop(backend);
        let backend = SledBackend::open(dir.path(), 1 << 20).unwrap();
        assert_eq!(backend.get("m", b"k").unwrap().unwrap(), b"v");
    }
}
