//! What a backup consists of.
//!
//! A line with the name of the format, its number and the blake3 hash of what follows, then JSON:
//! people and other tools can read it. Invariant: it is written last; what it lists is on disk.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::damaged;
use crate::error::{Error, Result};
use crate::ids::TableId;

/// Format of a backup. Raised when an older release could not read it any more.
const BACKUP_FORMAT: u32 = 1;
/// First word of a manifest, and of the mark of a folder of backups.
const WORD: &str = "netabase-backup";

/// One backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Backups in one folder are counted from 1.
    pub(super) number: u64,
    /// When it was made, in milliseconds since 1970.
    pub(super) made_millis: u64,
    /// The file that lists everything else.
    pub(super) checkpoint: String,
    pub(super) tables: Vec<TableEntry>,
    /// The files by their paths in the backup.
    pub(super) files: BTreeMap<String, FileEntry>,
}

/// A table in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TableEntry {
    /// In hexadecimal digits.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) dropped: bool,
    pub(super) shards: Vec<ShardEntry>,
}

/// A shard in a backup; empty ones are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardEntry {
    pub(super) shard: u32,
    pub(super) rows: u64,
    /// Of all records, in hexadecimal digits.
    pub(super) digest: String,
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileEntry {
    pub(super) bytes: u64,
    pub(super) blake3: String,
}

impl TableEntry {
    pub(super) fn rows(&self) -> u64 {
        self.shards.iter().map(|shard| shard.rows).sum()
    }

    pub(super) fn table_id(&self) -> Option<TableId> {
        table_id(&self.id)
    }
}

impl Manifest {
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::invalid(format!("write a manifest: {error}")))?;
        let hash = blake3::hash(&json).to_hex();
        let mut bytes = format!("{WORD} {BACKUP_FORMAT} {hash}\n").into_bytes();
        bytes.extend(json);
        Ok(bytes)
    }

    /// Fails with `Corrupt`, naming `path`, or with `InvalidInput` if a newer release made it.
    pub(super) fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (head, json) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        let head = String::from_utf8_lossy(head);
        let hash = check_format(path, &head)?;
        if hash != Some(blake3::hash(json).to_hex().as_str()) {
            return Err(damaged(path, "its checksum differs"));
        }
        serde_json::from_slice(json).map_err(|error| damaged(path, error))
    }
}

/// The text of the file that marks a folder of backups.
pub(super) fn mark() -> String {
    format!("{WORD} {BACKUP_FORMAT}\n")
}

/// Fails unless a mark or the first line of a manifest names a format that can be read. Returns the
/// third word.
pub(super) fn check_format<'a>(path: &Path, line: &'a str) -> Result<Option<&'a str>> {
    let mut words = line.split_whitespace();
    let named = words.next() == Some(WORD);
    match words.next().and_then(|format| format.parse::<u32>().ok()) {
        Some(BACKUP_FORMAT) if named => Ok(words.next()),
        Some(format) if named && format > BACKUP_FORMAT => Err(Error::invalid(format!(
            "{} has format {format}; this release reads backups up to format {BACKUP_FORMAT}: use \
             a newer netabase",
            path.display()
        ))),
        _ => Err(damaged(path, "it does not begin like a file of a backup")),
    }
}

/// An id from its hexadecimal digits.
pub(super) fn table_id(digits: &str) -> Option<TableId> {
    let mut id = [0; 16];
    if digits.len() != 2 * id.len() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(TableId(id))
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_manifest_comes_back_and_damage_is_noticed() {
        let manifest = Manifest {
            number: 3,
            made_millis: 1,
            checkpoint: "checkpoints/000003.checkpoint".to_owned(),
            tables: Vec::new(),
            files: BTreeMap::new(),
        };
        let path = Path::new("manifests/000003.json");
        let bytes = manifest.to_bytes().unwrap();
        assert_eq!(Manifest::from_bytes(path, &bytes).unwrap(), manifest);
        let mut other = bytes.clone();
        *other.last_mut().unwrap() ^= 1;
        let error = Manifest::from_bytes(path, &other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("000003.json"));
        let newer = b"netabase-backup 2 00\n{}";
        let error = Manifest::from_bytes(path, newer).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let id = TableId([0xa5; 16]);
        assert_eq!(table_id(&id.to_string()), Some(id));
        assert_eq!(table_id("é5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"), None);
    }
}
