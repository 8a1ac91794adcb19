//! What the backends share: the rule of map names, keys of all maps in one key space, and the way
//! out of damage.
//!
//! Invariant: in the common key space the entries of a map are adjacent and in order of their keys,
//! and maps are in order of their names. Non-goal: no backend must lay its entries out like this.

use std::fmt::Display;

use super::MAX_MAP_NAME;
use crate::error::{Error, Result};

/// Ends the name of a map; the key follows.
const NAME_END: u8 = 0;

/// Refuses map names that could not be told apart in a common key space.
pub(super) fn check_map(map: &str) -> Result<()> {
    if map.is_empty() || map.len() > MAX_MAP_NAME || map.contains('\0') {
        return Err(Error::invalid(format!(
            "map name {map:?}: give 1 to {MAX_MAP_NAME} bytes without zero bytes"
        )));
    }
    Ok(())
}

/// The key of `key` of `map` among the keys of all maps.
pub(super) fn full_key(map: &str, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(map.len() + 1 + key.len());
    full.extend_from_slice(map.as_bytes());
    full.push(NAME_END);
    full.extend_from_slice(key);
    full
}

/// The first key after all keys of `map`.
pub(super) fn map_end(map: &str) -> Vec<u8> {
    let mut end = map.as_bytes().to_vec();
    end.push(NAME_END + 1);
    end
}

/// The name of the map that a full key belongs to; `None` if no map of ours made this key.
pub(super) fn map_of(full: &[u8]) -> Option<&str> {
    let end = full.iter().position(|byte| *byte == NAME_END)?;
    std::str::from_utf8(full.get(..end)?).ok()
}

/// The key without the name of its map.
pub(super) fn key_of(full: &[u8], map: &str) -> Vec<u8> {
    full.get(map.len() + 1..).unwrap_or_default().to_vec()
}

/// The bounds of a range in the common key space; `None` if nothing can be in it.
pub(super) fn full_range(
    map: &str,
    start: &[u8],
    end: Option<&[u8]>,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let start = full_key(map, start);
    let end = end.map_or_else(|| map_end(map), |end| full_key(map, end));
    (start < end).then_some((start, end))
}

/// Damage of the index, with the way out of it.
pub(super) fn damaged(backend: &str, what: impl Display) -> Error {
    Error::corrupt(format!(
        "the index ({backend}) is damaged: {what}; close the store and run `netabase repair`, or \
         remove the folder index/, and it is rebuilt from the log"
    ))
}

/// What a panic inside a backend's library comes back as.
pub(super) fn stopped(backend: &str) -> Error {
    damaged(backend, "its library stopped on what it found there")
}
