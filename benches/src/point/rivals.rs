//! SQLite through its C library, and DuckDB through Python.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Contender, LATE_ROWS, What, name_of};
use crate::Failure;
use crate::arguments::Settings;
use crate::process::{self, Talker};
use crate::tpch::duckdb_python;

/// The settings under which a commit is on disk.
const SQLITE_SCRIPT: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE points (id INTEGER PRIMARY KEY, grp INTEGER NOT NULL, name TEXT NOT NULL,
        value REAL NOT NULL);
    CREATE INDEX by_grp ON points (grp);
";
/// The program that speaks to DuckDB.
const DRIVER: &str = include_str!("driver.py");
/// The longest that one request may take.
const DEADLINE: Duration = Duration::from_secs(1800);

pub(super) struct Sqlite(Connection);

impl Sqlite {
    pub(super) fn load(folder: &Path, rows: i64) -> Result<Self, Failure> {
        let mut connection = Connection::open(folder.join("points.sqlite"))?;
        connection.execute_batch(SQLITE_SCRIPT)?;
        let transaction = connection.transaction()?;
        let mut insert = transaction.prepare(What::Insert.text())?;
        for id in 0..rows + LATE_ROWS {
            insert.execute(params![id, id / 10, name_of(id), id as f64 * 0.5])?;
        }
        drop(insert);
        transaction.commit()?;
        Ok(Self(connection))
    }

    /// Runs a statement, and counts the bytes of the names that it gives.
    fn run(&self, what: What, key: i64) -> Result<Vec<String>, Failure> {
        let connection = &self.0;
        let mut names = Vec::new();
        let mut read = |statement: &mut rusqlite::Statement<'_>, key: Option<i64>| {
            let mut rows = match key {
                Some(key) => statement.query([key])?,
                None => statement.query([])?,
            };
            while let Some(row) = rows.next()? {
                names.push(row.get(2)?);
            }
            Ok::<_, rusqlite::Error>(())
        };
        match what {
            What::Prepared | What::Index => {
                read(&mut *connection.prepare_cached(what.text())?, Some(key))?;
            }
            What::Unprepared => {
                let text = format!("{}{key}", what.text());
                read(&mut connection.prepare(&text)?, None)?;
            }
            What::Insert => {
                let row = params![key, key / 10, name_of(key), key as f64 * 0.5];
                connection.prepare_cached(what.text())?.execute(row)?;
            }
            What::Update => {
                let row = params![name_of(key), key as f64, key];
                connection.prepare_cached(what.text())?.execute(row)?;
            }
            What::Delete => {
                connection.prepare_cached(what.text())?.execute([key])?;
            }
        }
        Ok(names)
    }
}

impl Contender for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn names(&mut self, what: What, key: i64) -> Result<Vec<String>, Failure> {
        self.run(what, key)
    }

    fn times(&mut self, what: What, keys: &[i64]) -> Result<Vec<Duration>, Failure> {
        let timed = keys.iter().map(|key| {
            let started = Instant::now();
            self.run(what, *key)?;
            Ok(started.elapsed())
        });
        timed.collect()
    }

    fn rows(&mut self) -> Result<i64, Failure> {
        let count = "SELECT count(*) FROM points";
        Ok(self.0.query_row(count, [], |row| row.get(0))?)
    }
}

/// DuckDB in a process that times its own statements: without the pipe, with Python's share.
pub(super) struct DuckDb(Talker);

impl DuckDb {
    pub(super) fn load(settings: &Settings, folder: &Path, rows: i64) -> Result<Self, Failure> {
        let python = duckdb_python(&process::cache_folder(settings)?)?;
        let driver = folder.join("point.py");
        std::fs::write(&driver, DRIVER)?;
        let mut command = Command::new(python);
        command
            .arg(driver)
            .arg(folder.join("points.duckdb"))
            .arg(settings.partitions.to_string());
        let mut started = Self(Talker::start(command)?);
        started.ask::<bool>(&json!({ "load": [rows, LATE_ROWS] }))?;
        Ok(started)
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &Value) -> Result<T, Failure> {
        self.0.say(&request.to_string())?;
        let reply: Value = serde_json::from_str(&self.0.line(DEADLINE)?)?;
        match reply.get("error") {
            Some(error) => Err(format!("DuckDB: {error}").into()),
            None => Ok(serde_json::from_value(reply)?),
        }
    }
}

impl Contender for DuckDb {
    fn name(&self) -> &'static str {
        "duckdb"
    }

    fn names(&mut self, what: What, key: i64) -> Result<Vec<String>, Failure> {
        let text = match what {
            What::Unprepared => format!("{}{key}", what.text()),
            _ => what.text().replace("$1", &key.to_string()),
        };
        self.ask(&json!({ "names": text }))
    }

    fn times(&mut self, what: What, keys: &[i64]) -> Result<Vec<Duration>, Failure> {
        let kind = format!("{what:?}").to_lowercase();
        let request = json!({ "run": kind, "text": what.text(), "keys": keys });
        let seconds: Vec<f64> = self.ask(&request)?;
        Ok(seconds.into_iter().map(Duration::from_secs_f64).collect())
    }

    fn rows(&mut self) -> Result<i64, Failure> {
        self.ask(&json!({ "rows": true }))
    }
}
