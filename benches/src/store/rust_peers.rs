//! sled, redb and fjall: embedded stores of keys and values.
//!
//! Invariant: a `put` returns once the row is on disk, in the way that each store means it to be
//! used from several threads.

use std::ops::Range;
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::Failure;
use crate::store::peer::{Key, KeyValue, Numbers, Value, chunks, key, number, value};

/// The second column of a row of numbers.
fn read_number(bytes: &[u8]) -> Result<i64, Failure> {
    Ok(i64::from_le_bytes(bytes.try_into()?))
}

/// A tree of sled; its log is flushed for all writers that wait. A load inserts row by row: what a
/// batch of sled replaces is freed after the batch only, which takes gigabytes for a million rows.
struct Sled(sled::Db);

pub(crate) fn sled_rows(folder: &Path) -> Result<Box<dyn KeyValue>, Failure> {
    Ok(Box::new(Sled(sled::open(folder)?)))
}

pub(crate) fn sled_numbers(folder: &Path) -> Result<Box<dyn Numbers>, Failure> {
    Ok(Box::new(Sled(sled::open(folder)?)))
}

impl KeyValue for Sled {
    fn load(&self, rows: Range<u64>) -> Result<(), Failure> {
        for chunk in chunks(rows) {
            for row in chunk {
                self.0.insert(key(row), &value(row)[..])?;
            }
            self.0.flush()?;
        }
        Ok(())
    }

    fn put(&self, key: &Key, value: &Value) -> Result<(), Failure> {
        self.0.insert(key, &value[..])?;
        self.0.flush()?;
        Ok(())
    }

    fn get(&self, key: &Key) -> Result<Option<usize>, Failure> {
        Ok(self.0.get(key)?.map(|value| value.len()))
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.0.flush()?;
        Ok(())
    }
}

impl Numbers for Sled {
    fn load(&self, rows: u64) -> Result<(), Failure> {
        for chunk in chunks(0..rows) {
            for row in chunk {
                self.0
                    .insert(row.to_be_bytes(), &number(row).to_le_bytes())?;
            }
            self.0.flush()?;
        }
        Ok(())
    }

    fn sum(&self) -> Result<i64, Failure> {
        let mut sum = 0;
        for row in self.0.iter() {
            sum += read_number(&row?.1)?;
        }
        Ok(sum)
    }
}

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const NUMBERS: TableDefinition<'_, u64, i64> = TableDefinition::new("numbers");

/// A file of redb; one transaction writes at a time.
struct Redb(redb::Database);

impl Redb {
    fn open(folder: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder)?;
        Ok(Self(redb::Database::create(folder.join("rows.redb"))?))
    }

    /// A transaction that is on disk once it is committed.
    fn begin(&self) -> Result<redb::WriteTransaction, Failure> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction)
    }
}

pub(crate) fn redb_rows(folder: &Path) -> Result<Box<dyn KeyValue>, Failure> {
    Ok(Box::new(Redb::open(folder)?))
}

pub(crate) fn redb_numbers(folder: &Path) -> Result<Box<dyn Numbers>, Failure> {
    Ok(Box::new(Redb::open(folder)?))
}

impl KeyValue for Redb {
    fn load(&self, rows: Range<u64>) -> Result<(), Failure> {
        let transaction = self.begin()?;
        let mut table = transaction.open_table(ROWS)?;
        for row in rows {
            table.insert(&key(row)[..], &value(row)[..])?;
        }
        drop(table);
        Ok(transaction.commit()?)
    }

    fn put(&self, key: &Key, value: &Value) -> Result<(), Failure> {
        let transaction = self.begin()?;
        transaction.open_table(ROWS)?.insert(&key[..], &value[..])?;
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &Key) -> Result<Option<usize>, Failure> {
        let table = self.0.begin_read()?.open_table(ROWS)?;
        Ok(table.get(&key[..])?.map(|value| value.value().len()))
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}

impl Numbers for Redb {
    fn load(&self, rows: u64) -> Result<(), Failure> {
        let transaction = self.begin()?;
        let mut table = transaction.open_table(NUMBERS)?;
        for row in 0..rows {
            table.insert(row, number(row))?;
        }
        drop(table);
        Ok(transaction.commit()?)
    }

    fn sum(&self) -> Result<i64, Failure> {
        let table = self.0.begin_read()?.open_table(NUMBERS)?;
        let mut sum = 0;
        for row in table.iter()? {
            sum += row?.1.value();
        }
        Ok(sum)
    }
}

/// A keyspace of fjall; its journal is synced after each write.
struct Fjall {
    database: Database,
    rows: Keyspace,
}

impl Fjall {
    fn open(folder: &Path) -> Result<Self, Failure> {
        let database = Database::builder(folder).open()?;
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default)?;
        Ok(Self { database, rows })
    }
}

pub(crate) fn fjall_rows(folder: &Path) -> Result<Box<dyn KeyValue>, Failure> {
    Ok(Box::new(Fjall::open(folder)?))
}

pub(crate) fn fjall_numbers(folder: &Path) -> Result<Box<dyn Numbers>, Failure> {
    Ok(Box::new(Fjall::open(folder)?))
}

impl KeyValue for Fjall {
    fn load(&self, rows: Range<u64>) -> Result<(), Failure> {
        for chunk in chunks(rows) {
            let mut batch = self.database.batch();
            for row in chunk {
                batch.insert(&self.rows, key(row), value(row));
            }
            batch.commit()?;
        }
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    fn put(&self, key: &Key, value: &Value) -> Result<(), Failure> {
        self.rows.insert(key, value)?;
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    fn get(&self, key: &Key) -> Result<Option<usize>, Failure> {
        Ok(self.rows.get(key)?.map(|value| value.len()))
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

impl Numbers for Fjall {
    fn load(&self, rows: u64) -> Result<(), Failure> {
        for chunk in chunks(0..rows) {
            let mut batch = self.database.batch();
            for row in chunk {
                batch.insert(&self.rows, row.to_be_bytes(), number(row).to_le_bytes());
            }
            batch.commit()?;
        }
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    fn sum(&self) -> Result<i64, Failure> {
        let mut sum = 0;
        for row in self.rows.iter() {
            sum += read_number(&row.into_inner()?.1)?;
        }
        Ok(sum)
    }
}
