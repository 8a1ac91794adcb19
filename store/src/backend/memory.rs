//! The index in memory: for stores without a folder, and for tests.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use parking_lot::RwLock;

use super::{Backend, Batch, KeyValue, MAX_MAP_NAME};
use crate::error::{Error, Result};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Ordered maps in memory. `flush` has nothing to do.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    maps: RwLock<HashMap<String, Map>>,
}

impl MemoryBackend {
    /// Without entries.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Refuses map names that could not be told apart in a common key space.
pub(super) fn check_map(map: &str) -> Result<()> {
    if map.is_empty() || map.len() > MAX_MAP_NAME || map.contains('\0') {
        return Err(Error::invalid(format!(
            "map name {map:?}: give 1 to {MAX_MAP_NAME} bytes without zero bytes"
        )));
    }
    Ok(())
}

impl Backend for MemoryBackend {
    fn name(&self) -> &str {
        "memory"
    }

    fn get(&self, map: &str, key: &[u8]) -> Result<Option<Vec<u8>>> {
        check_map(map)?;
        let maps = self.maps.read();
        Ok(maps.get(map).and_then(|entries| entries.get(key)).cloned())
    }

    fn apply(&self, batch: Batch) -> Result<()> {
        for change in batch.changes() {
            check_map(&change.map)?;
        }
        let mut maps = self.maps.write();
        for change in batch.into_changes() {
            let entries = maps.entry(change.map).or_default();
            match change.value {
                Some(value) => entries.insert(change.key, value),
                None => entries.remove(&change.key),
            };
        }
        Ok(())
    }

    fn range(
        &self,
        map: &str,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeyValue>> {
        check_map(map)?;
        if end.is_some_and(|end| end <= start) {
            return Ok(Vec::new());
        }
        let maps = self.maps.read();
        let Some(entries) = maps.get(map) else {
            return Ok(Vec::new());
        };
        let bounds = (
            Bound::Included(start),
            end.map_or(Bound::Unbounded, Bound::Excluded),
        );
        Ok(entries
            .range::<[u8], _>(bounds)
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        self.maps.write().clear();
        Ok(())
    }
}
