//! The index in redb, in one file.
//!
//! All maps share one table, each key preceded by its map's name and a zero byte: a table per map
//! would cost a lookup of the table with every operation. A batch is a commit that is not synced;
//! `flush` is an empty commit that is, and takes those before it along. So that neither the file
//! nor the loss after a kill grows without limit, a batch is synced, too, when the last sync is
//! half a second or many bytes ago.
//!
//! Readers work on the last commit and wait for nobody; writers wait for each other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redb::{Database, Durability, ReadableDatabase, TableDefinition, WriteTransaction};

use super::keys::{check_map, damaged, full_key, full_range, key_of, map_end, map_of, stopped};
use super::open::make_home;
use super::{Backend, Batch, KeyValue};
use crate::error::{Error, ErrorKind, Result};

const NAME: &str = "redb";
/// The file inside the folder of the index.
pub(super) const FILE: &str = "index.redb";
const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
/// Time after which a batch is synced.
const SYNC_EVERY: Duration = Duration::from_millis(500);
/// Bytes after which a batch is synced.
const MAX_UNSYNCED_BYTES: usize = 16 << 20;
/// What a commit writes at least: a page for each level of the tree.
const COMMIT_BYTES: usize = 16 << 10;

/// Ordered maps in one redb file.
#[derive(Debug)]
pub struct RedbBackend {
    db: Database,
    unsynced: Mutex<Unsynced>,
}

#[derive(Debug)]
struct Unsynced {
    bytes: usize,
    since: Instant,
}

impl Unsynced {
    fn none() -> Self {
        Self {
            bytes: 0,
            since: Instant::now(),
        }
    }
}

impl RedbBackend {
    /// Opens or creates `index.redb` in `folder`, with a cache of `cache_bytes`. Fails with
    /// `Corrupt` if the file is not ours or damaged, `Unavailable` if somebody has it open, `Io` if
    /// the system refuses.
    pub fn open(folder: &Path, cache_bytes: u64) -> Result<Self> {
        make_home(NAME, folder)?;
        let file = folder.join(FILE);
        let db = guarded(|| {
            let db = Database::builder()
                .set_cache_size(usize::try_from(cache_bytes).unwrap_or(usize::MAX))
                .create(&file)?;
            // Readers cannot create the table.
            let transaction = db.begin_write()?;
            transaction.open_table(ENTRIES)?;
            transaction.commit()?;
            Ok(db)
        })?;
        Ok(Self {
            db,
            unsynced: Mutex::new(Unsynced::none()),
        })
    }

    /// Whether a batch of so many bytes must be synced; if so, counting begins anew.
    fn must_sync(&self, bytes: usize) -> bool {
        let mut unsynced = self.unsynced.lock();
        unsynced.bytes = unsynced.bytes.saturating_add(bytes.max(COMMIT_BYTES));
        let due = unsynced.bytes > MAX_UNSYNCED_BYTES || unsynced.since.elapsed() > SYNC_EVERY;
        if due {
            *unsynced = Unsynced::none();
        }
        due
    }

    fn write(
        &self,
        durability: Durability,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<()> {
        guarded(|| {
            let mut transaction = self.db.begin_write()?;
            transaction.set_durability(durability)?;
            change(&transaction)?;
            Ok(transaction.commit()?)
        })
    }
}

/// Runs an operation of redb; a panic inside it counts as damage.
fn guarded<T>(operation: impl FnOnce() -> Result<T, redb::Error>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(done) => done.map_err(failed),
        Err(_) => Err(stopped(NAME)),
    }
}

/// What an error of redb means to the caller.
fn failed(error: redb::Error) -> Error {
    use std::io::ErrorKind as Io;
    match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Error::new(
            ErrorKind::Unavailable,
            format!("the index ({NAME}) is in use: {error}; close it there"),
        ),
        redb::Error::ValueTooLarge(bytes) => Error::invalid(format!(
            "an entry of {bytes} bytes is too large for the index ({NAME})"
        )),
        // So redb says that a file is not its own, or too short.
        redb::Error::Io(error) if matches!(error.kind(), Io::InvalidData | Io::UnexpectedEof) => {
            damaged(NAME, error)
        }
        redb::Error::Io(error) => Error::io(format!("the index ({NAME})"), error),
        error @ redb::Error::PreviousIo => {
            Error::io(format!("the index ({NAME})"), std::io::Error::other(error))
        }
        error => damaged(NAME, error),
    }
}

fn apply_all(transaction: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    let mut entries = transaction.open_table(ENTRIES)?;
    for change in batch.changes() {
        let key = full_key(&change.map, &change.key);
        match &change.value {
            Some(value) => entries.insert(key.as_slice(), value.as_slice())?,
            None => entries.remove(key.as_slice())?,
        };
    }
    Ok(())
}

impl Backend for RedbBackend {
    fn name(&self) -> &str {
        NAME
    }

    fn get(&self, map: &str, key: &[u8]) -> Result<Option<Vec<u8>>> {
        check_map(map)?;
        let key = full_key(map, key);
        guarded(|| {
            let entries = self.db.begin_read()?.open_table(ENTRIES)?;
            let value = entries.get(key.as_slice())?;
            Ok(value.map(|value| value.value().to_vec()))
        })
    }

    fn apply(&self, batch: Batch) -> Result<()> {
        let mut bytes = 0usize;
        for change in batch.changes() {
            check_map(&change.map)?;
            bytes += change.key.len() + change.value.as_ref().map_or(0, Vec::len);
        }
        let durability = match self.must_sync(bytes) {
            true => Durability::Immediate,
            false => Durability::None,
        };
        self.write(durability, |transaction| apply_all(transaction, &batch))
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
            let entries = self.db.begin_read()?.open_table(ENTRIES)?;
            let range = entries.range(start.as_slice()..end.as_slice())?;
            range
                .take(limit)
                .map(|entry| {
                    let (full, value) = entry?;
                    Ok((key_of(full.value(), map), value.value().to_vec()))
                })
                .collect()
        })
    }

    fn maps(&self) -> Result<Vec<String>> {
        let unreadable = || damaged(NAME, "an entry belongs to no map");
        let found = guarded(|| {
            let entries = self.db.begin_read()?.open_table(ENTRIES)?;
            let mut names = Vec::new();
            let mut from = Vec::new();
            while let Some(first) = entries.range(from.as_slice()..)?.next() {
                let (full, _) = first?;
                let Some(name) = map_of(full.value()) else {
                    return Ok(None);
                };
                from = map_end(name);
                names.push(name.to_owned());
            }
            Ok(Some(names))
        })?;
        found.ok_or_else(unreadable)
    }

    fn flush(&self) -> Result<()> {
        *self.unsynced.lock() = Unsynced::none();
        self.write(Durability::Immediate, |_| Ok(()))
    }

    fn clear(&self) -> Result<()> {
        self.write(Durability::None, |transaction| {
            transaction.delete_table(ENTRIES)?;
            transaction.open_table(ENTRIES)?;
            Ok(())
        })
    }
}
