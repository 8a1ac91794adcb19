//! The index in SQLite, in one file.
//!
//! All maps share one table with the primary key (map, key). The journal is a write-ahead log
//! synced only by `flush` (`synchronous = NORMAL`): a batch costs no sync, a killed process loses
//! nothing, and lost power takes the newest batches but never leaves half of one. A rollback
//! journal would have to sync with every batch to promise as much. The file is held exclusively, so
//! that no shared memory is needed.
//!
//! Non-goal: one connection serves everybody in turn; readers wait for each other.

use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::ffi::ErrorCode;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::keys::{check_map, damaged};
use super::open::make_home;
use super::{Backend, Batch, KeyValue};
use crate::error::{Error, ErrorKind, Result};

const NAME: &str = "sqlite";
/// The file inside the folder of the index.
pub(super) const FILE: &str = "index.sqlite";
/// How long SQLite waits for a file that another process holds.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);
/// Without row ids the table is the tree of its primary key: one lookup per entry, not two.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS entries (\
     map TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (map, key)\
     ) WITHOUT ROWID";
const GET: &str = "SELECT value FROM entries WHERE map = ?1 AND key = ?2";
const PUT: &str = "INSERT OR REPLACE INTO entries (map, key, value) VALUES (?1, ?2, ?3)";
const DELETE: &str = "DELETE FROM entries WHERE map = ?1 AND key = ?2";
const RANGE: &str = "SELECT key, value FROM entries \
     WHERE map = ?1 AND key >= ?2 ORDER BY key LIMIT ?3";
const RANGE_TO_END: &str = "SELECT key, value FROM entries \
     WHERE map = ?1 AND key >= ?2 AND key < ?4 ORDER BY key LIMIT ?3";
const NEXT_MAP: &str = "SELECT map FROM entries WHERE map > ?1 ORDER BY map LIMIT 1";

/// Ordered maps in one SQLite file.
#[derive(Debug)]
pub struct SqliteBackend {
    connection: Mutex<Connection>,
}

impl SqliteBackend {
    /// Opens or creates `index.sqlite` in `folder`, with a cache of `cache_bytes`. Fails with
    /// `Corrupt` if the file is not ours or damaged, `Unavailable` if another process has it open,
    /// `Io` if the system refuses.
    pub fn open(folder: &Path, cache_bytes: u64) -> Result<Self> {
        make_home(NAME, folder)?;
        connect(&folder.join(FILE), cache_bytes)
            .map(|connection| Self {
                connection: Mutex::new(connection),
            })
            .map_err(failed)
    }

    fn with<T>(&self, run: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        run(&mut self.connection.lock()).map_err(failed)
    }
}

fn connect(file: &Path, cache_bytes: u64) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(BUSY_PATIENCE)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "locking_mode", "exclusive")?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    // Negative: in units of 1024 bytes.
    let cache = i64::try_from(cache_bytes >> 10).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -cache)?;
    connection.execute(CREATE, [])?;
    // Fails now, not at the first use, if the file holds a table of another shape.
    for statement in [GET, PUT, DELETE, RANGE, RANGE_TO_END, NEXT_MAP] {
        drop(connection.prepare_cached(statement)?);
    }
    Ok(connection)
}

/// What an error of SQLite means to the caller.
fn failed(error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::new(
            ErrorKind::Unavailable,
            format!("the index ({NAME}) is used by another process: {error}; close it there"),
        ),
        Some(ErrorCode::TooBig) => Error::invalid(format!(
            "an entry of the index ({NAME}) is too large: {error}"
        )),
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::DiskFull
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OperationInterrupted
            | ErrorCode::OutOfMemory
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure,
        ) => Error::io(format!("the index ({NAME})"), std::io::Error::other(error)),
        // Not a database, damaged pages, another table than ours, values of another type.
        _ => damaged(NAME, error),
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<KeyValue> {
    Ok((row.get(0)?, row.get(1)?))
}

fn apply_all(connection: &mut Connection, batch: &Batch) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut put = transaction.prepare_cached(PUT)?;
        let mut delete = transaction.prepare_cached(DELETE)?;
        for change in batch.changes() {
            match &change.value {
                Some(value) => put.execute(params![change.map, change.key, value])?,
                None => delete.execute(params![change.map, change.key])?,
            };
        }
    }
    transaction.commit()
}

impl Backend for SqliteBackend {
    fn name(&self) -> &str {
        NAME
    }

    fn get(&self, map: &str, key: &[u8]) -> Result<Option<Vec<u8>>> {
        check_map(map)?;
        self.with(|connection| {
            let mut statement = connection.prepare_cached(GET)?;
            statement
                .query_row(params![map, key], |row| row.get(0))
                .optional()
        })
    }

    fn apply(&self, batch: Batch) -> Result<()> {
        for change in batch.changes() {
            check_map(&change.map)?;
        }
        self.with(|connection| apply_all(connection, &batch))
    }

    fn range(
        &self,
        map: &str,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeyValue>> {
        check_map(map)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.with(|connection| match end {
            None => connection
                .prepare_cached(RANGE)?
                .query_map(params![map, start, limit], entry)?
                .collect(),
            Some(end) => connection
                .prepare_cached(RANGE_TO_END)?
                .query_map(params![map, start, limit, end], entry)?
                .collect(),
        })
    }

    fn maps(&self) -> Result<Vec<String>> {
        self.with(|connection| {
            let mut next = connection.prepare_cached(NEXT_MAP)?;
            let mut names: Vec<String> = Vec::new();
            loop {
                let after = names.last().map_or("", String::as_str);
                match next.query_row([after], |row| row.get(0)).optional()? {
                    Some(name) => names.push(name),
                    None => return Ok(names),
                }
            }
        })
    }

    /// Moves the write-ahead log into the file; SQLite syncs the one before and the other after.
    fn flush(&self) -> Result<()> {
        let blocked: i64 = self.with(|connection| {
            connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| row.get(0))
        })?;
        if blocked != 0 {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("the index ({NAME}) is used by another process; close it there"),
            ));
        }
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        self.with(|connection| connection.execute("DELETE FROM entries", []))?;
        Ok(())
    }
}
