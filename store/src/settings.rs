//! Plain settings of a store. Components (a backend of one's own) are passed beside them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::segment::Codec;

/// Default of [`Settings::memory_limit`]: 8 GiB.
const DEFAULT_MEMORY_LIMIT: usize = 8 << 30;
/// Default of [`Settings::log_file_bytes`]: 256 MiB.
const DEFAULT_LOG_FILE_BYTES: u64 = 256 << 20;
/// Default of [`Settings::index_cache_bytes`]: 64 MiB.
const DEFAULT_INDEX_CACHE_BYTES: u64 = 64 << 20;
/// Default of [`Settings::flush_bytes`]: 64 MiB.
const DEFAULT_FLUSH_BYTES: u64 = 64 << 20;
/// Default of [`Settings::checkpoint_log_bytes`]: 64 MiB.
const DEFAULT_CHECKPOINT_LOG_BYTES: u64 = 64 << 20;
/// Share of the machine's memory that decoded columns may take by default: a quarter.
const CACHE_SHARE: u64 = 4;
/// Default of [`Settings::cache_bytes`] where the machine's memory is not known: 512 MiB.
const FALLBACK_CACHE_BYTES: u64 = 512 << 20;
/// Default of [`Settings::snapshot_patience_secs`]: an hour.
const DEFAULT_SNAPSHOT_PATIENCE_SECS: u64 = 3600;
/// Default of [`Settings::compaction_bytes_per_sec`]: 64 MiB.
const DEFAULT_COMPACTION_BYTES_PER_SEC: u64 = 64 << 20;
/// Least of `flush_bytes` and `checkpoint_log_bytes`: 64 KiB.
const MIN_FLUSH_BYTES: u64 = 64 << 10;
/// Least memory a store accepts: 64 KiB.
const MIN_MEMORY_LIMIT: usize = 64 << 10;
/// Smallest log file after which the log rotates: 4 KiB.
const MIN_LOG_FILE_BYTES: u64 = 4 << 10;
/// Least cache of the index: 1 MiB.
const MIN_INDEX_CACHE_BYTES: u64 = 1 << 20;

/// When a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Durability {
    /// When it is on disk: it survives the loss of power.
    #[default]
    Durable,
    /// When the operating system has it: it survives the end of the process. What was written in
    /// the last second may be lost with the machine's power.
    Relaxed,
}

/// Which index stands beside the log. Its names, in settings and on command lines, are lower-case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// sled, in several files of the folder `index/`.
    #[default]
    #[serde(alias = "Sled")]
    Sled,
    /// SQLite, in the file `index/index.sqlite`.
    Sqlite,
    /// redb, in the file `index/index.redb`.
    Redb,
    /// In memory: rebuilt from the log on every open; small state of the layers above is lost. It
    /// leaves an index that is on disk as it is.
    #[serde(alias = "Memory")]
    Memory,
}

impl BackendKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Sled, Self::Sqlite, Self::Redb, Self::Memory];

    /// Its name, such as `sled`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Sqlite => "sqlite",
            Self::Redb => "redb",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BackendKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::invalid(format!("no backend is named {name:?}; there are {names}"))
        })
    }
}

/// How a store is opened. Data only: can be read from a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The data folder; created if missing. `None`: everything in memory, gone on close.
    /// Default: `None`.
    pub data_dir: Option<PathBuf>,
    /// Which index to use; the one that made the folder's. Without a data folder it is always the
    /// one in memory. Default: sled.
    pub backend: BackendKind,
    /// When a write counts as done. Default: durable.
    pub durability: Durability,
    /// Most bytes of rows, keys and indexes held in memory; at least 64 KiB. Default: 8 GiB.
    pub memory_limit: usize,
    /// Length in bytes after which a new log file is begun; at least 4 KiB. Default: 256 MiB.
    pub log_file_bytes: u64,
    /// Cache of the index, in bytes; at least 1 MiB. Default: 64 MiB.
    pub index_cache_bytes: u64,
    /// Bytes of rows in memory above which they are moved to segments; at least 64 KiB. Default:
    /// 64 MiB.
    pub flush_bytes: u64,
    /// Bytes of log above which a checkpoint is made, so that opening stays fast; at least 64 KiB. A
    /// checkpoint moves rows to segments, too. In a small store one is made earlier: when the log
    /// has a quarter of the bytes that the store holds, but 16 MiB at least; and when replaced
    /// segments have an eighth of them, but 4 MiB at least. Default: 64 MiB.
    pub checkpoint_log_bytes: u64,
    /// Cache of decoded columns, in bytes; 0 for none. `None`: a quarter of the machine's memory.
    /// Default: `None`.
    pub cache_bytes: Option<u64>,
    /// How segments are compressed. Default: zstd, level 1.
    pub codec: Codec,
    /// Whether checkpoints and compaction run by themselves, in the background. Default: true.
    pub background: bool,
    /// How long a snapshot may hold back what was replaced, in seconds; reading from an older one
    /// fails. Default: 3600.
    pub snapshot_patience_secs: u64,
    /// How much compaction may read and write per second, in bytes; 0 for no bound. Default: 64 MiB.
    pub compaction_bytes_per_sec: u64,
    /// Whether the folder is only read: nothing in it changes, and writes fail. Default: false.
    pub read_only: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: None,
            backend: BackendKind::default(),
            durability: Durability::default(),
            memory_limit: DEFAULT_MEMORY_LIMIT,
            log_file_bytes: DEFAULT_LOG_FILE_BYTES,
            index_cache_bytes: DEFAULT_INDEX_CACHE_BYTES,
            flush_bytes: DEFAULT_FLUSH_BYTES,
            checkpoint_log_bytes: DEFAULT_CHECKPOINT_LOG_BYTES,
            cache_bytes: None,
            codec: Codec::default(),
            background: true,
            snapshot_patience_secs: DEFAULT_SNAPSHOT_PATIENCE_SECS,
            compaction_bytes_per_sec: DEFAULT_COMPACTION_BYTES_PER_SEC,
            read_only: false,
        }
    }
}

impl Settings {
    /// Checks every bound. Fails with `InvalidInput`, naming the setting and its bound.
    pub fn validate(&self) -> Result<()> {
        if self.memory_limit < MIN_MEMORY_LIMIT {
            return Err(below("memory_limit", MIN_MEMORY_LIMIT as u64));
        }
        if self.log_file_bytes < MIN_LOG_FILE_BYTES {
            return Err(below("log_file_bytes", MIN_LOG_FILE_BYTES));
        }
        if self.index_cache_bytes < MIN_INDEX_CACHE_BYTES {
            return Err(below("index_cache_bytes", MIN_INDEX_CACHE_BYTES));
        }
        if self.flush_bytes < MIN_FLUSH_BYTES {
            return Err(below("flush_bytes", MIN_FLUSH_BYTES));
        }
        if self.checkpoint_log_bytes < MIN_FLUSH_BYTES {
            return Err(below("checkpoint_log_bytes", MIN_FLUSH_BYTES));
        }
        Ok(())
    }

    /// The bound of the cache of decoded columns.
    pub(crate) fn cache_limit(&self) -> usize {
        let bytes = self
            .cache_bytes
            .or_else(|| Some(machine_memory()? / CACHE_SHARE))
            .unwrap_or(FALLBACK_CACHE_BYTES);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

/// Bytes of memory that the machine has, where it says so.
fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

fn below(setting: &str, least: u64) -> Error {
    Error::invalid(format!("setting {setting} must be at least {least} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_known_by_their_names() {
        for kind in BackendKind::ALL {
            assert_eq!(kind.name().parse::<BackendKind>().unwrap(), kind);
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{kind}\""));
            assert_eq!(serde_json::from_str::<BackendKind>(&json).unwrap(), kind);
        }
        let error = "rocks".parse::<BackendKind>().unwrap_err().to_string();
        assert!(error.contains("rocks") && error.contains("sled, sqlite, redb, memory"));
        let old: BackendKind = serde_json::from_str("\"Sled\"").unwrap();
        assert_eq!(old, BackendKind::Sled);
    }
}
