//! Tables of records for callers that wait.
//!
//! Invariant: every call does what the async one of its name does, and blocks its thread until it is done;
//! no call may be made from inside an async runtime's thread.

use std::fmt;

use futures::executor::block_on;
use netabase_sql::WriteReceipt;
use netabase_store::Error;

use super::Record;
use super::columns::Filter;
use crate::coverage::{Coverage, CoverageHandle};

/// The table of a record, with calls that block. Cheap to clone and to make.
pub struct Table<R>(super::Table<R>);

impl<R> Clone for Table<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R: Record> fmt::Debug for Table<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<R: Record> Table<R> {
    pub(crate) fn of(table: super::Table<R>) -> Self {
        Self(table)
    }

    /// See [`create`](super::Table::create).
    ///
    /// # Errors
    /// As there.
    pub fn create(&self) -> Result<(), Error> {
        block_on(self.0.create())
    }

    /// See [`insert`](super::Table::insert).
    ///
    /// # Errors
    /// As there.
    pub fn insert(&self, row: &R) -> Result<WriteReceipt, Error> {
        block_on(self.0.insert(row))
    }

    /// See [`insert_many`](super::Table::insert_many).
    ///
    /// # Errors
    /// As there.
    pub fn insert_many(&self, rows: &[R]) -> Result<WriteReceipt, Error> {
        block_on(self.0.insert_many(rows))
    }

    /// See [`get`](super::Table::get).
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, key: R::Key<'_>) -> Result<Option<R>, Error> {
        block_on(self.0.get(key))
    }

    /// See [`update`](super::Table::update).
    ///
    /// # Errors
    /// As there.
    pub fn update(&self, row: &R) -> Result<WriteReceipt, Error> {
        block_on(self.0.update(row))
    }

    /// See [`delete`](super::Table::delete).
    ///
    /// # Errors
    /// As there.
    pub fn delete(&self, key: R::Key<'_>) -> Result<bool, Error> {
        block_on(self.0.delete(key))
    }

    /// See [`scan`](super::Table::scan).
    ///
    /// # Errors
    /// As there.
    pub fn scan(&self) -> Result<Rows<R>, Error> {
        block_on(self.0.scan()).map(Rows)
    }

    /// See [`filter`](super::Table::filter).
    ///
    /// # Errors
    /// As there.
    pub fn filter(&self, filter: Filter<R>) -> Result<Rows<R>, Error> {
        block_on(self.0.filter(filter)).map(Rows)
    }
}

/// The rows that a scan or a filter finds, as an iterator.
#[derive(Debug)]
pub struct Rows<R>(super::Rows<R>);

impl<R: Record> Rows<R> {
    /// Reads every row that is left into memory.
    ///
    /// # Errors
    /// As [`all`](super::Rows::all).
    pub fn all(self) -> Result<Vec<R>, Error> {
        block_on(self.0.all())
    }

    /// What is known so far about what the rows cover; complete after the last one.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        self.0.coverage()
    }

    /// A handle to the coverage that outlives this value.
    #[must_use]
    pub fn coverage_handle(&self) -> CoverageHandle {
        self.0.coverage_handle()
    }
}

impl<R: Record> Iterator for Rows<R> {
    type Item = Result<R, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        block_on(self.0.next())
    }
}
