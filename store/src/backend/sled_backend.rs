//! The index in sled.
//!
//! All maps share one tree, each key preceded by its map's name and a zero byte, because sled's
//! batches are atomic within one tree only. sled is beta software: it may fail to open, or panic
//! on damaged files; both come back as `Corrupt`, and the store rebuilds the index from the log.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::keys::{check_map, damaged, full_key, full_range, key_of, map_end, map_of, stopped};
use super::{Backend, Batch, KeyValue};
use crate::error::{Error, Result};

const NAME: &str = "sled";
/// How often sled writes to disk on its own, in milliseconds.
const FLUSH_EVERY_MS: u64 = 500;

/// Ordered maps in one sled tree.
#[derive(Debug)]
pub struct SledBackend {
    db: sled::Db,
}

impl SledBackend {
    /// Opens or creates the index in folder `path`, with a cache of `cache_bytes`. Fails with
    /// `Corrupt` if the folder holds something else, with `Io` if the system refuses.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self> {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes)
            .flush_every_ms(Some(FLUSH_EVERY_MS));
        guarded(|| config.open()).map(|db| Self { db })
    }
}

/// Runs an operation of sled; a panic inside it counts as damage.
fn guarded<T>(operation: impl FnOnce() -> sled::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(source))) => Err(Error::io("the index (sled)", source)),
        Ok(Err(error)) => Err(damaged(NAME, error)),
        Err(_) => Err(stopped(NAME)),
    }
}

impl Backend for SledBackend {
    fn name(&self) -> &str {
        NAME
    }

    fn get(&self, map: &str, key: &[u8]) -> Result<Option<Vec<u8>>> {
        check_map(map)?;
        let value = guarded(|| self.db.get(full_key(map, key)))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn apply(&self, batch: Batch) -> Result<()> {
        let mut changes = sled::Batch::default();
        for change in batch.into_changes() {
            check_map(&change.map)?;
            let key = full_key(&change.map, &change.key);
            match change.value {
                Some(value) => changes.insert(key, value),
                None => changes.remove(key),
            }
        }
        guarded(|| self.db.apply_batch(changes))
    }

    fn range(
        &self,
        map: &str,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeyValue>> {
        check_map(map)?;
        let Some((start, end)) = full_range(map, start, end) else {
            return Ok(Vec::new());
        };
        guarded(|| {
            self.db
                .range(start..end)
                .take(limit)
                .map(|entry| {
                    let (full, value) = entry?;
                    Ok((key_of(&full, map), value.to_vec()))
                })
                .collect()
        })
    }

    fn maps(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut from = Vec::new();
        while let Some(first) = guarded(|| self.db.range(from.as_slice()..).next().transpose())? {
            let Some(name) = map_of(&first.0) else {
                return Err(damaged(NAME, "an entry belongs to no map"));
            };
            from = map_end(name);
            names.push(name.to_owned());
        }
        Ok(names)
    }

    fn flush(&self) -> Result<()> {
        guarded(|| self.db.flush()).map(|_| ())
    }

    fn clear(&self) -> Result<()> {
        guarded(|| self.db.clear())
    }
}
