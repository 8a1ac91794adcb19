//! Small state of the layers above, kept in the index: peers, hints.
//!
//! Non-goal: this state is not in the log. It is on disk after the next `flush` or `close`;
//! a damaged index loses it.

use super::Store;
use crate::backend::{Batch, KeyValue};
use crate::error::{Error, Result};

/// Longest key of small state, in bytes.
pub const MAX_META_KEY: usize = 1 << 10;
/// Longest value of small state, in bytes.
pub const MAX_META_VALUE: usize = 1 << 20;

/// Maps of the layers above have names with this prefix in the backend.
pub(super) const META_PREFIX: &str = "meta/";

impl Store {
    /// The value of `key` in `map`. Fails with `InvalidInput` if the map's name is not 1 to 123
    /// bytes without zero bytes, `Unavailable` if the store is closed.
    pub fn meta_get(&self, map: &str, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.core().backend()?.get(&full_name(map)?, key)
    }

    /// Sets `key` of `map` to `value`. Fails like `meta_get`, with `InvalidInput` if the key
    /// exceeds [`MAX_META_KEY`] or the value [`MAX_META_VALUE`], and like any write if the store is
    /// read only (`Unavailable`) or takes no more writes (`Io`).
    pub fn meta_put(&self, map: &str, key: &[u8], value: &[u8]) -> Result<()> {
        self.core().check_writable()?;
        if key.len() > MAX_META_KEY || value.len() > MAX_META_VALUE {
            return Err(Error::invalid(format!(
                "map {map}: a key of {} and a value of {} bytes; the limits are {MAX_META_KEY} and \
                 {MAX_META_VALUE}",
                key.len(),
                value.len()
            )));
        }
        let mut batch = Batch::new();
        batch.put(&full_name(map)?, key, value);
        self.core().backend()?.apply(batch)
    }

    /// Removes `key` from `map`; fine if it is not there. Fails like `meta_put`.
    pub fn meta_delete(&self, map: &str, key: &[u8]) -> Result<()> {
        self.core().check_writable()?;
        let mut batch = Batch::new();
        batch.delete(&full_name(map)?, key);
        self.core().backend()?.apply(batch)
    }

    /// The first `limit` entries of `map` with `start <= key`, and `key < end` if there is an
    /// end, in order of keys. Fails like `meta_get`.
    pub fn meta_scan(
        &self,
        map: &str,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeyValue>> {
        let backend = self.core().backend()?;
        backend.range(&full_name(map)?, start, end, limit)
    }
}

fn full_name(map: &str) -> Result<String> {
    if map.is_empty() {
        return Err(Error::invalid("the name of a map cannot be empty"));
    }
    Ok(format!("{META_PREFIX}{map}"))
}
