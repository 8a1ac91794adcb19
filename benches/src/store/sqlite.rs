//! SQLite: a database in a file, with a log that is synced for each transaction.

use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use rusqlite::{Connection, OptionalExtension, params};

use crate::Failure;
use crate::store::peer::{Key, KeyValue, Numbers, Value, key, number, value};

/// The tables, and the settings under which a commit is on disk.
const SCRIPT: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS rows (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS numbers (k INTEGER PRIMARY KEY, v INTEGER NOT NULL);
";

/// One connection that threads share: SQLite has one writer at a time in any case.
struct Sqlite(Mutex<Connection>);

impl Sqlite {
    fn open(folder: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder)?;
        let connection = Connection::open(folder.join("rows.sqlite"))?;
        connection.execute_batch(SCRIPT)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn connection(&self) -> Result<MutexGuard<'_, Connection>, Failure> {
        let locked = self.0.lock();
        locked.map_err(|_| "another thread failed in SQLite".into())
    }
}

pub(crate) fn rows(folder: &Path) -> Result<Box<dyn KeyValue>, Failure> {
    Ok(Box::new(Sqlite::open(folder)?))
}

pub(crate) fn numbers(folder: &Path) -> Result<Box<dyn Numbers>, Failure> {
    Ok(Box::new(Sqlite::open(folder)?))
}

impl KeyValue for Sqlite {
    fn load(&self, rows: Range<u64>) -> Result<(), Failure> {
        let mut connection = self.connection()?;
        let transaction = connection.transaction()?;
        let mut insert = transaction.prepare("INSERT INTO rows VALUES (?, ?)")?;
        for row in rows {
            insert.execute(params![&key(row)[..], &value(row)[..]])?;
        }
        drop(insert);
        Ok(transaction.commit()?)
    }

    fn put(&self, key: &Key, value: &Value) -> Result<(), Failure> {
        let connection = self.connection()?;
        let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO rows VALUES (?, ?)")?;
        insert.execute(params![&key[..], &value[..]])?;
        Ok(())
    }

    fn get(&self, key: &Key) -> Result<Option<usize>, Failure> {
        let connection = self.connection()?;
        let mut select = connection.prepare_cached("SELECT v FROM rows WHERE k = ?")?;
        let length = |row: &rusqlite::Row<'_>| Ok(row.get_ref(0)?.as_blob()?.len());
        Ok(select.query_row([&key[..]], length).optional()?)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        let connection = self.0.into_inner();
        let connection = connection.map_err(|_| "another thread failed in SQLite")?;
        connection.close().map_err(|(_, error)| error.into())
    }
}

impl Numbers for Sqlite {
    fn load(&self, rows: u64) -> Result<(), Failure> {
        let mut connection = self.connection()?;
        let transaction = connection.transaction()?;
        let mut insert = transaction.prepare("INSERT INTO numbers VALUES (?, ?)")?;
        for row in 0..rows {
            insert.execute(params![row as i64, number(row)])?;
        }
        drop(insert);
        Ok(transaction.commit()?)
    }

    fn sum(&self) -> Result<i64, Failure> {
        let connection = self.connection()?;
        let mut select = connection.prepare_cached("SELECT sum(v) FROM numbers")?;
        Ok(select.query_row([], |row| row.get(0))?)
    }
}
