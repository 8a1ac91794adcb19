//! `COPY … FROM`: files into a table.
//!
//! Invariant: rows are checked to the last before the first is written, or go to a bulk load, which
//! shows all of them at once or none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use netabase_store::{Change, Error, TableDef};
use tokio::sync::watch;

use super::arrow::ArrowReader;
use super::columns::{check_chosen, nullable};
use super::csv::CsvReader;
use super::json::JsonReader;
use super::options::{Direction, Settled};
use super::parquet::ParquetReader;
use super::{CopyFormat, CopyOptions, FilePath, Owner, Part, Place, RowReader, files};
use crate::cluster::{BulkSink, WriteReceipt};
use crate::declared;
use crate::dml::RowRules;
use crate::engine::Engine;
use crate::error::{capacity, from_arrow, interrupted, unavailable};
use crate::running::{CopyProgress, Statement};
use crate::write::{CheckedRows, Origin, logical_bytes, null_error};

/// Files of this size together go straight to segments, in bounded memory; smaller ones are read
/// first, so that an error can name the row.
const BULK_FILE_BYTES: u64 = 4 << 20;
/// Rows of smaller files that take more bytes than this, in memory, do so too.
const BULK_ROW_BYTES: usize = 32 << 20;

/// Rows that are loaded, and how many there may be.
type Progress = (u64, u64);

/// What is to be loaded.
struct Job {
    owner: Owner,
    path: PathBuf,
    options: CopyOptions,
    rules: RowRules,
    /// The table's columns as the store has them.
    schema: SchemaRef,
    engine: Engine,
    /// Bytes of rows that may be in memory.
    limit: usize,
    statement: Arc<Statement>,
}

/// What became of it.
enum Gathered {
    /// The rows are in memory, not checked yet.
    Rows(Vec<RecordBatch>, FileOrigin),
    /// They are loaded.
    Loaded(WriteReceipt),
}

/// Loads files.
pub(crate) async fn copy_from(
    engine: &Engine,
    def: Arc<TableDef>,
    (path, options): (&Path, CopyOptions),
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<WriteReceipt, Error> {
    check_chosen(&def, &options.columns)?;
    let job = Job {
        owner: Owner {
            def: Arc::clone(&def),
            chosen: options.columns.clone(),
        },
        path: path.to_path_buf(),
        options,
        rules: RowRules::of(engine, &def)?,
        schema: nullable(&def.schema),
        engine: engine.clone(),
        limit: engine.settings().max_insert_bytes,
        statement: Statement::current(),
    };
    let (told, mut heard) = watch::channel((0, 0));
    let mut work = tokio::task::spawn_blocking(move || job.gather(&told));
    while heard.changed().await.is_ok() {
        let (done, total) = *heard.borrow_and_update();
        progress(done, total);
    }
    match (&mut work).await.map_err(|error| interrupted(&error))?? {
        Gathered::Rows(rows, origin) => {
            let checked = CheckedRows::check(def, Change::Upsert, rows, origin).await?;
            if engine.transaction().is_open() {
                let receipt = engine.apply(vec![checked]).await?;
                progress(receipt.rows, receipt.rows);
                return Ok(receipt);
            }
            engine.write_rows(checked, progress).await
        }
        Gathered::Loaded(receipt) => {
            progress(receipt.rows, receipt.rows);
            Ok(receipt)
        }
    }
}

impl Job {
    /// Reads all rows, and loads them if they are many.
    fn gather(&self, told: &watch::Sender<Progress>) -> Result<Gathered, Error> {
        let paths = files::find(&self.path)?;
        let mut all = Vec::with_capacity(paths.len());
        let mut bytes = 0_u64;
        for path in paths {
            let settled = self.options.settle(&path, Direction::From)?;
            // One that cannot be asked is not opened, either, and says why then.
            let size = std::fs::metadata(&path).map_or(0, |about| about.len());
            bytes += size;
            all.push((FilePath::from(path), settled, size));
        }
        let mut gathering = Gathering {
            job: self,
            rows: Vec::new(),
            origin: FileOrigin::default(),
            bytes: 0,
            sink: None,
            loaded: 0,
        };
        if bytes >= BULK_FILE_BYTES {
            gathering.sink = self.engine.bulk_sink(&self.owner.def)?;
        }
        let (mut before, mut rows) = (0, 0);
        self.note(rows, (before, bytes));
        for (path, settled, size) in all {
            let mut reader = self.open(&path, &settled)?;
            while let Some(part) = reader.next()? {
                // Nobody waits any more: the statement was cancelled.
                if told.is_closed() {
                    return Err(unavailable("COPY was stopped; nothing was written"));
                }
                rows += part.rows.num_rows() as u64;
                gathering.take(part, &path)?;
                self.note(rows, (before + reader.bytes_read(), bytes));
                if gathering.sink.is_some() {
                    let read = before + reader.bytes_read();
                    told.send_replace((gathering.loaded, guess(gathering.loaded, read, bytes)));
                }
            }
            before += size;
            self.note(rows, (before, bytes));
        }
        gathering.finish()
    }

    /// Lets others see how far it is.
    fn note(&self, rows: u64, (read, all): (u64, u64)) {
        let bytes = Some((read.min(all), all));
        self.statement.note_copy(CopyProgress { rows, bytes });
    }

    /// Whole rows of the table, by its rules: defaults, generated columns, checks. Its declared types
    /// were checked by who knows the lines.
    fn complete(&self, part: &Part) -> Result<RecordBatch, Error> {
        let whole = self.rules.complete_kept(&part.given, &part.rows)?;
        RecordBatch::try_new(Arc::clone(&self.schema), whole.columns().to_vec()).map_err(from_arrow)
    }

    fn open(&self, path: &FilePath, settled: &Settled) -> Result<Box<dyn RowReader>, Error> {
        let opened = files::open(path)?;
        let (path, owner) = (Arc::clone(path), &self.owner);
        let text = |opened: (std::fs::File, u64)| files::text(opened.0, &path, settled.compression);
        Ok(match settled.format {
            CopyFormat::Csv => {
                let text = text(opened)?;
                Box::new(CsvReader::new(text, path, owner, settled)?)
            }
            CopyFormat::Json => {
                let text = text(opened)?;
                Box::new(JsonReader::new(text, path, owner, settled)?)
            }
            CopyFormat::Parquet => Box::new(ParquetReader::new(opened, path, owner)?),
            CopyFormat::Arrow => Box::new(ArrowReader::new(opened, path, owner)?),
        })
    }
}

/// How many rows there may be, going by the bytes that those so far took.
fn guess(rows: u64, read: u64, bytes: u64) -> u64 {
    let total = u128::from(rows) * u128::from(bytes) / u128::from(read.max(1));
    u64::try_from(total).unwrap_or(rows).max(rows)
}

/// Rows on their way to memory or to a bulk load.
struct Gathering<'a> {
    job: &'a Job,
    rows: Vec<RecordBatch>,
    origin: FileOrigin,
    bytes: usize,
    sink: Option<Box<dyn BulkSink>>,
    loaded: u64,
}

impl Gathering<'_> {
    fn take(&mut self, mut part: Part, path: &FilePath) -> Result<(), Error> {
        let described = |row| part.place.describe(path, row);
        let def = &self.job.owner.def;
        part.rows = declared::checked_given(def, &part.given, part.rows.clone(), described)?;
        part.rows = self.job.complete(&part).map_err(|error| {
            let text = format!("{}: {error}; nothing was written", path.display());
            Error::new(error.kind(), text)
        })?;
        if self.sink.is_some() {
            return self.load((&part.rows, &part.place), path);
        }
        self.bytes += logical_bytes(&part.rows);
        self.rows.push(part.rows);
        self.origin.parts.push((Arc::clone(path), part.place));
        if self.bytes > BULK_ROW_BYTES {
            self.sink = self.job.engine.bulk_sink(&self.job.owner.def)?;
        }
        if self.sink.is_none() {
            return self.check_size(path);
        }
        let origin = std::mem::take(&mut self.origin);
        for (rows, (path, place)) in std::mem::take(&mut self.rows).into_iter().zip(origin.parts) {
            self.load((&rows, &place), &path)?;
        }
        Ok(())
    }

    fn check_size(&self, path: &FilePath) -> Result<(), Error> {
        let limit = self.job.limit;
        if self.bytes <= limit {
            return Ok(());
        }
        Err(capacity(format!(
            "{} takes more than {limit} bytes of memory: raise max_insert_bytes, or cut the file",
            path.display()
        )))
    }

    /// Hands rows to the bulk load, which could not say where a NULL is.
    fn load(
        &mut self,
        (rows, place): (&RecordBatch, &Place),
        path: &FilePath,
    ) -> Result<(), Error> {
        let def = &self.job.owner.def;
        let columns = def.schema.fields().iter().zip(rows.columns());
        for (index, (field, column)) in columns.enumerate() {
            if !field.is_nullable() && column.null_count() > 0 {
                let row = (0..column.len()).find(|row| column.is_null(*row));
                let origin = place.describe(path, row.unwrap_or_default());
                return Err(null_error(def, def.column_name(index), &origin));
            }
        }
        let Some(sink) = &mut self.sink else {
            return Ok(());
        };
        self.job.statement.check()?;
        sink.push(rows).map_err(|error| in_bulk(path, &error))?;
        self.loaded += rows.num_rows() as u64;
        Ok(())
    }

    fn finish(self) -> Result<Gathered, Error> {
        match self.sink {
            None => Ok(Gathered::Rows(self.rows, self.origin)),
            Some(sink) => {
                self.job.statement.begin_writing()?;
                let loaded = sink.finish();
                let loaded = loaded.map_err(|error| in_bulk(&self.job.path, &error));
                loaded.map(Gathered::Loaded)
            }
        }
    }
}

fn in_bulk(path: &Path, error: &Error) -> Error {
    let text = format!("{}: {error}; nothing was written", path.display());
    Error::new(error.kind(), text)
}

/// Where each batch of rows is.
#[derive(Debug, Default)]
struct FileOrigin {
    parts: Vec<(FilePath, Place)>,
}

impl Origin for FileOrigin {
    fn describe(&self, batch: usize, row: usize) -> String {
        match self.parts.get(batch) {
            Some((path, place)) => place.describe(path, row),
            None => String::new(),
        }
    }
}
