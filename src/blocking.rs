//! The same database for callers that wait.
//!
//! Purpose: C and Python have no executor; every call here blocks its thread until it is done.
//! Invariant: no call may be made from inside an async runtime's thread, because it would block it.

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use futures::StreamExt;
use futures::executor::block_on;
use netabase_distributed::{Counters, PeerInfo};
use netabase_sql::WriteReceipt;
use netabase_store::Error;

use crate::answer::{AnswerStream, Batches};
use crate::builder::Builder;
use crate::coverage::{Coverage, CoverageHandle};
use crate::typed::Record;
use crate::views::{expand_batch, expand_schema};

pub use crate::typed::blocking::{Rows, Table};

/// A database whose calls block. Cheap to clone; safe to share between threads.
#[derive(Debug, Clone)]
pub struct Netabase(crate::Netabase);

impl Netabase {
    /// Opens what the builder describes.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn open(builder: Builder) -> Result<Self, Error> {
        block_on(builder.open()).map(Self)
    }

    /// The handle with async calls.
    #[must_use]
    pub fn handle(&self) -> &crate::Netabase {
        &self.0
    }

    /// Runs one statement. See [`crate::Netabase::sql`].
    ///
    /// # Errors
    /// As there.
    pub fn sql(&self, text: &str) -> Result<Answer, Error> {
        block_on(self.0.sql(text)).map(Answer)
    }

    /// Runs several statements. See [`crate::Netabase::script`].
    ///
    /// # Errors
    /// As there.
    pub fn script(&self, text: &str) -> Result<Vec<Answer>, Error> {
        let answers = block_on(self.0.script(text))?;
        Ok(answers.into_iter().map(Answer).collect())
    }

    /// Ends a statement that runs. See [`crate::Netabase::cancel`].
    ///
    /// # Errors
    /// As there.
    pub fn cancel(&self, id: u64) -> Result<(), Error> {
        self.0.cancel(id)
    }

    /// Opens a session. See [`crate::Netabase::session`].
    #[must_use]
    pub fn session(&self) -> Session {
        Session(self.0.session())
    }

    /// The table of a record. See [`crate::Netabase::table`].
    #[must_use]
    pub fn table<R: Record>(&self) -> Table<R> {
        Table::of(self.0.table())
    }

    /// Stores a value. See [`crate::Netabase::put`].
    ///
    /// # Errors
    /// As there.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<WriteReceipt, Error> {
        block_on(self.0.put(key, value))
    }

    /// Reads a value. See [`crate::Netabase::get`].
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        block_on(self.0.get(key))
    }

    /// Removes a value. See [`crate::Netabase::delete`].
    ///
    /// # Errors
    /// As there.
    pub fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        block_on(self.0.delete(key))
    }

    /// This peer's id.
    #[must_use]
    pub fn peer_id(&self) -> &str {
        self.0.peer_id()
    }

    /// The addresses this peer listens on.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.0.addresses()
    }

    /// The other peers of the network that are ready.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.0.peers()
    }

    /// What this peer has done. See [`crate::Netabase::counters`].
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.counters()
    }

    /// Waits for other peers. See [`crate::Netabase::wait_for_peers`].
    ///
    /// # Errors
    /// As there.
    pub fn wait_for_peers(&self, count: usize, timeout: std::time::Duration) -> Result<(), Error> {
        block_on(self.0.wait_for_peers(count, timeout))
    }

    /// Closes the database. See [`crate::Netabase::close`].
    ///
    /// # Errors
    /// As there.
    pub fn close(&self) -> Result<(), Error> {
        block_on(self.0.close())
    }
}

/// A session whose calls block. Clones are the same session.
#[derive(Debug, Clone)]
pub struct Session(crate::Session);

impl Session {
    /// Runs one statement. See [`crate::Session::sql`].
    ///
    /// # Errors
    /// As there.
    pub fn sql(&self, text: &str) -> Result<Answer, Error> {
        block_on(self.0.sql(text)).map(Answer)
    }

    /// Runs several statements. See [`crate::Session::script`].
    ///
    /// # Errors
    /// As there.
    pub fn script(&self, text: &str) -> Result<Vec<Answer>, Error> {
        let answers = block_on(self.0.script(text))?;
        Ok(answers.into_iter().map(Answer).collect())
    }

    /// The table of a record, for this session. See [`crate::Session::table`].
    #[must_use]
    pub fn table<R: Record>(&self) -> Table<R> {
        Table::of(self.0.table())
    }
}

/// The answer to one statement.
#[derive(Debug)]
pub struct Answer(crate::Answer);

impl Answer {
    /// The columns of the rows.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    /// What a write reached; `None` for anything else.
    #[must_use]
    pub fn receipt(&self) -> Option<&WriteReceipt> {
        self.0.receipt()
    }

    /// What is known so far about the answer's coverage.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        self.0.coverage()
    }

    /// A handle to the coverage that outlives this value.
    #[must_use]
    pub fn coverage_handle(&self) -> CoverageHandle {
        self.0.coverage_handle()
    }

    /// The plan as text; see [`crate::Answer::plan_text`].
    #[must_use]
    pub fn plan_text(&self) -> Option<String> {
        self.0.plan_text()
    }

    /// The rows, batch by batch, as they arrive.
    pub fn reader(self) -> Reader {
        Reader::new(self.0.stream())
    }

    /// Reads every row into memory.
    ///
    /// # Errors
    /// Whatever cut the answer short.
    pub fn collect(self) -> Result<Batches, Error> {
        block_on(self.0.collect())
    }

    /// Reads every row and lays them out as a text table.
    ///
    /// # Errors
    /// Whatever cut the answer short.
    pub fn show(self) -> Result<String, Error> {
        block_on(self.0.show())
    }
}

/// The rows of an answer as an iterator of batches.
#[derive(Debug)]
pub struct Reader {
    stream: AnswerStream,
    schema: SchemaRef,
    expand: bool,
}

impl Reader {
    /// Reads a stream.
    #[must_use]
    pub fn new(stream: AnswerStream) -> Self {
        Self {
            schema: stream.schema(),
            stream,
            expand: false,
        }
    }

    /// Turns string and binary views into the plain layouts that every Arrow consumer knows.
    #[must_use]
    pub fn expand_views(mut self) -> Self {
        self.schema = expand_schema(&self.schema);
        self.expand = true;
        self
    }

    /// What is known so far; complete after the last batch.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        self.stream.coverage()
    }

    /// The next batch; `None` after the last.
    ///
    /// # Errors
    /// Whatever cut the answer short.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        let Some(batch) = block_on(self.stream.next()).transpose()? else {
            return Ok(None);
        };
        if !self.expand {
            return Ok(Some(batch));
        }
        expand_batch(&batch, &self.schema).map(Some)
    }
}

impl Iterator for Reader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().map_err(arrow_error).transpose()
    }
}

impl RecordBatchReader for Reader {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }
}

/// Foreign readers take the text as a C string, which a zero byte would cut.
fn arrow_error(error: Error) -> ArrowError {
    let text = error.to_string();
    if text.contains('\0') {
        return ArrowError::ComputeError(text.replace('\0', " "));
    }
    ArrowError::ExternalError(Box::new(error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::datatypes::DataType;
    use netabase_store::ErrorKind;

    #[test]
    fn a_lone_peer_answers_and_closes() {
        let db = Netabase::open(Builder::default()).unwrap();
        let _ = db
            .sql("CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT)")
            .unwrap();
        let written = db
            .sql("INSERT INTO t VALUES (1, 'one'), (2, NULL)")
            .unwrap();
        assert_eq!(written.receipt().unwrap().rows, 2);
        assert!(written.coverage().is_complete());

        let answer = db.sql("SELECT id, name FROM t ORDER BY id").unwrap();
        assert!(answer.plan_text().is_some());
        let coverage = answer.coverage_handle();
        let reader = answer.reader().expand_views();
        assert_eq!(reader.schema().field(1).data_type(), &DataType::LargeUtf8);
        let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(rows, 2);
        let coverage = coverage.current();
        assert!(coverage.is_complete());
        assert_eq!((coverage.rows, coverage.bytes), (2, 0));
        assert_eq!(coverage.tables[0].table, "t");

        assert!(
            db.sql("SELECT count(*) AS n FROM t")
                .unwrap()
                .show()
                .unwrap()
                .contains("| 2 |")
        );
        db.close().unwrap();
        db.close().unwrap();
        let error = db.sql("SELECT 1").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("closed"));
    }

    #[test]
    fn objects_are_values_by_key_and_rows_in_sql() {
        let db = Netabase::open(Builder::default()).unwrap();
        assert_eq!(db.get(b"greeting").unwrap(), None);
        assert!(!db.delete(b"greeting").unwrap());
        assert_eq!(db.put(b"greeting", b"hello").unwrap().rows, 1);
        assert_eq!(db.put(b"greeting", b"hello again").unwrap().rows, 1);
        assert_eq!(db.get(b"greeting").unwrap().unwrap(), b"hello again");
        let rows = db
            .sql("SELECT key, value FROM objects")
            .unwrap()
            .collect()
            .unwrap();
        assert_eq!(rows.num_rows(), 1);
        assert!(db.delete(b"greeting").unwrap());
        assert!(!db.delete(b"greeting").unwrap());
        assert_eq!(db.get(b"greeting").unwrap(), None);
        for value in [b"first", b"again"] {
            let _ = db.put(b"greeting", value).unwrap();
            assert_eq!(db.get(b"greeting").unwrap().unwrap(), value);
            let _ = db.sql("DROP TABLE objects").unwrap();
            assert_eq!(db.get(b"greeting").unwrap(), None);
        }
        db.close().unwrap();
    }

    #[test]
    fn what_is_on_disk_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Netabase::open(Builder::default().data_dir(dir.path())).unwrap();
        let db = open();
        let _ = db.sql("CREATE TABLE t (id BIGINT PRIMARY KEY)").unwrap();
        let _ = db.sql("INSERT INTO t VALUES (7)").unwrap();
        let me = db.peer_id().to_owned();
        db.close().unwrap();
        let db = open();
        assert_eq!(db.peer_id(), me);
        assert!(
            db.sql("SELECT id FROM t")
                .unwrap()
                .show()
                .unwrap()
                .contains('7')
        );
        db.close().unwrap();
    }

    #[test]
    fn errors_have_kinds() {
        let db = Netabase::open(Builder::default()).unwrap();
        let kind = |sql: &str| db.sql(sql).unwrap_err().kind();
        assert_eq!(kind("SELEC 1"), ErrorKind::InvalidInput);
        assert_eq!(kind("SELECT * FROM nowhere"), ErrorKind::NotFound);
        let _ = db.sql("CREATE TABLE t (id BIGINT PRIMARY KEY)").unwrap();
        assert_eq!(
            kind("CREATE TABLE t (id BIGINT PRIMARY KEY)"),
            ErrorKind::Conflict
        );
        db.close().unwrap();
    }
}
