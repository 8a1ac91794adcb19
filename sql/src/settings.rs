//! The engine's limits, as data.

use std::thread;
use std::time::Duration;

use netabase_store::Error;
use serde::{Deserialize, Serialize};

use crate::error::invalid;

/// Rows per batch unless told otherwise.
const DEFAULT_BATCH_SIZE: usize = 8192;
/// Memory of all queries together unless told otherwise: 2 GiB.
const DEFAULT_MEMORY_LIMIT: usize = 2 << 30;
/// Bytes that queries may spill to disk unless told otherwise: 16 GiB.
const DEFAULT_SPILL_LIMIT: u64 = 16 << 30;
/// Time of one statement unless told otherwise.
const DEFAULT_STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes that one INSERT or COPY may bring unless told otherwise: 1 GiB.
const DEFAULT_MAX_INSERT_BYTES: usize = 1 << 30;
/// The smallest useful memory pool: 16 MiB. Below it a single sort cannot reserve its buffers.
pub(crate) const MIN_MEMORY_LIMIT: usize = 16 << 20;
/// The most partitions a plan may have.
pub(crate) const MAX_TARGET_PARTITIONS: usize = 1024;
/// The most rows a batch may have.
pub(crate) const MAX_BATCH_SIZE: usize = 1 << 20;

/// Limits of an [`Engine`](crate::Engine). Plain data; see [`EngineSettings::validate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineSettings {
    /// Partitions of a plan, that is, how many cores one query uses. Default: the machine's cores.
    pub target_partitions: usize,
    /// Rows per batch. Default: 8192.
    pub batch_size: usize,
    /// Bytes that all running queries may use together, until `SET netabase.memory_limit` changes it.
    /// Default: 2 GiB.
    pub memory_limit: usize,
    /// Bytes that all running queries may spill to disk together. Default: 16 GiB.
    pub spill_limit: u64,
    /// How long one statement may run. Default: 300 s.
    pub statement_timeout: Duration,
    /// Bytes in memory that the rows of one INSERT, DELETE or COPY may take; more is refused.
    /// Default: 1 GiB.
    pub max_insert_bytes: usize,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            target_partitions: thread::available_parallelism().map_or(1, usize::from),
            batch_size: DEFAULT_BATCH_SIZE,
            memory_limit: DEFAULT_MEMORY_LIMIT,
            spill_limit: DEFAULT_SPILL_LIMIT,
            statement_timeout: DEFAULT_STATEMENT_TIMEOUT,
            max_insert_bytes: DEFAULT_MAX_INSERT_BYTES,
        }
    }
}

impl EngineSettings {
    /// Checks every limit.
    ///
    /// # Errors
    /// `InvalidInput` naming the setting and what it accepts.
    pub fn validate(&self) -> Result<(), Error> {
        let ranges = [
            (
                "target_partitions",
                self.target_partitions,
                1,
                MAX_TARGET_PARTITIONS,
            ),
            ("batch_size", self.batch_size, 1, MAX_BATCH_SIZE),
            (
                "memory_limit",
                self.memory_limit,
                MIN_MEMORY_LIMIT,
                usize::MAX,
            ),
            ("max_insert_bytes", self.max_insert_bytes, 1, usize::MAX),
        ];
        for (name, value, least, most) in ranges {
            if value < least {
                return Err(invalid(format!(
                    "{name} is {value}, but must be at least {least}"
                )));
            }
            if value > most {
                return Err(invalid(format!(
                    "{name} is {value}, but must be at most {most}"
                )));
            }
        }
        if self.statement_timeout.is_zero() {
            return Err(invalid("statement_timeout must be longer than zero"));
        }
        Ok(())
    }
}
