//! The index in memory: for stores without a folder, and for tests.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use parking_lot::RwLock;

use super::keys::check_map;
use super::{Backend, Batch, KeyValue};
use crate::error::Result;

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

    fn maps(&self) -> Result<Vec<String>> {
        let maps = self.maps.read();
        let filled = maps.iter().filter(|(_, entries)| !entries.is_empty());
        let mut names: Vec<String> = filled.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        self.maps.write().clear();
        Ok(())
    }
}
