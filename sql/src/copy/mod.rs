//! Files into tables.
//!
//! Purpose: `COPY table FROM 'file'` and [`Engine::copy_from`](crate::Engine::copy_from).
//!
//! Invariant: a file is read and checked to its end before its first row is written; an error says
//! where in the file it is.
//!
//! Non-goals: other formats, remote files, writing files.

mod csv;
mod parquet;
mod records;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::sql::sqlparser::ast::{
    CopyOption, CopySource, CopyTarget, Statement as SqlStatement,
};
use netabase_store::{Change, Error, ErrorKind, TableDef};

use crate::catalog::live_table;
use crate::cluster::{BulkSink, WriteReceipt};
use crate::declared;
use crate::engine::Engine;
use crate::error::{capacity, interrupted, invalid, not_found};
use crate::output::Output;
use crate::statement::{TableName, ident_of, table_name};
use crate::write::{CheckedRows, Origin};

/// Files of this size go straight to segments, in bounded memory; smaller ones are read first, so
/// that an error can name the row.
const BULK_FILE_BYTES: u64 = 4 << 20;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    /// Text with separated fields, quoted with `"` where needed.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// How a file is read. The default tells the format from the file's extension and reads CSV with a
/// header, commas, and nothing but empty fields as NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    /// The format; `None` tells it from the extension.
    pub format: Option<CopyFormat>,
    /// CSV: whether the first line names the columns. Without names, fields are in table order.
    pub header: bool,
    /// CSV: what separates fields, an ASCII character.
    pub delimiter: u8,
    /// CSV: an unquoted field with this text is NULL, as is an empty unquoted one.
    pub null: String,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            format: None,
            header: true,
            delimiter: b',',
            null: String::new(),
        }
    }
}

impl CopyOptions {
    /// The format of a file.
    fn format_of(&self, path: &Path) -> Result<CopyFormat, Error> {
        if let Some(format) = self.format {
            return Ok(format);
        }
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .map(str::to_lowercase);
        match extension.as_deref() {
            Some("csv") => Ok(CopyFormat::Csv),
            Some("parquet") => Ok(CopyFormat::Parquet),
            _ => Err(invalid(format!(
                "the format of {} is not clear from its name: add WITH (format csv) or WITH \
                 (format parquet)",
                path.display()
            ))),
        }
    }
}

/// Rows of a file, cast to the table's columns.
struct Loaded {
    batches: Vec<RecordBatch>,
    origin: FileOrigin,
}

/// Where each row of a file is.
struct FileOrigin {
    path: PathBuf,
    position: Position,
}

enum Position {
    /// The line on which each row of each batch begins.
    Lines(Vec<Vec<u64>>),
    /// How many rows come before each batch.
    Rows(Vec<u64>),
}

impl Origin for FileOrigin {
    fn describe(&self, batch: usize, row: usize) -> String {
        let path = self.path.display();
        match &self.position {
            Position::Lines(lines) => match lines.get(batch).and_then(|lines| lines.get(row)) {
                Some(line) => format!("{path} line {line}: "),
                None => format!("{path}: "),
            },
            Position::Rows(before) => match before.get(batch) {
                Some(before) => format!("{path} row {}: ", before + row as u64 + 1),
                None => format!("{path}: "),
            },
        }
    }
}

/// Loads a file.
pub(crate) async fn copy_from(
    engine: &Engine,
    table: &str,
    path: &Path,
    options: CopyOptions,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<WriteReceipt, Error> {
    let def = live_table(engine.store(), table)
        .ok_or_else(|| not_found(format!("table \"{table}\" does not exist")))?;
    let format = options.format_of(path)?;
    let (source, owner) = (path.to_path_buf(), Arc::clone(&def));
    if format == CopyFormat::Parquet
        && std::fs::metadata(path).is_ok_and(|file| file.len() >= BULK_FILE_BYTES)
        && let Some(sink) = engine.cluster().bulk_sink(&def)?
    {
        let receipt = bulk_copy(source, owner, sink).await?;
        progress(receipt.rows, receipt.rows);
        return Ok(receipt);
    }
    let limit = engine.settings().max_insert_bytes;
    let read = move || {
        let file = open(&source)?;
        match format {
            CopyFormat::Csv => csv::read(file, &source, &owner, &options, limit),
            CopyFormat::Parquet => parquet::read(file, &source, &owner, limit),
        }
    };
    let loaded = tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| interrupted(&error))??;
    let checked = CheckedRows::check(def, Change::Upsert, loaded.batches, loaded.origin).await?;
    checked.write(engine.cluster(), progress).await
}

/// Loads a large file in bounded memory, as a whole or not at all.
async fn bulk_copy(
    path: PathBuf,
    def: Arc<TableDef>,
    mut sink: Box<dyn BulkSink>,
) -> Result<WriteReceipt, Error> {
    let copy = move || {
        let named = |error: Error| {
            let text = format!("{}: {error}; nothing was written", path.display());
            Error::new(error.kind(), text)
        };
        parquet::each(open(&path)?, &path, &def, &mut |rows| {
            let rows = declared::checked(&def, &def.schema, rows, |_| String::new());
            rows.and_then(|rows| sink.push(&rows)).map_err(named)
        })?;
        sink.finish().map_err(named)
    };
    tokio::task::spawn_blocking(copy)
        .await
        .map_err(|error| interrupted(&error))?
}

fn open(path: &Path) -> Result<File, Error> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            not_found(format!("file {} does not exist", path.display()))
        }
        _ => io_error(path, &error),
    };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(invalid(format!(
            "{} is a folder: name one file",
            path.display()
        )));
    }
    Ok(file)
}

fn io_error(path: &Path, error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Io,
        format!("{} cannot be read: {error}", path.display()),
    )
}

fn too_large(path: &Path, limit: usize) -> Error {
    capacity(format!(
        "{} takes more than {limit} bytes of memory: raise max_insert_bytes, or cut the file",
        path.display()
    ))
}

/// For every column of the table, the column of the file that fills it.
fn match_columns(
    path: &Path,
    def: &TableDef,
    names: &[String],
) -> Result<Vec<Option<usize>>, Error> {
    let file = path.display();
    for (index, name) in names.iter().enumerate() {
        if names.iter().take(index).any(|other| other == name) {
            return Err(invalid(format!("{file}: column \"{name}\" appears twice")));
        }
        if def.schema.index_of(name).is_err() {
            return Err(invalid(format!(
                "{file}: table \"{}\" has no column \"{name}\"; it has {}",
                def.name,
                column_list(def)
            )));
        }
    }
    let find = |field: &Arc<arrow::datatypes::Field>| {
        let found = names.iter().position(|name| name == field.name());
        if found.is_none() && !field.is_nullable() {
            return Err(invalid(format!(
                "{file}: there is no column \"{}\", which table \"{}\" needs (NOT NULL)",
                field.name(),
                def.name
            )));
        }
        Ok(found)
    };
    def.schema.fields().iter().map(find).collect()
}

fn column_list(def: &TableDef) -> String {
    let names: Vec<&str> = def
        .schema
        .fields()
        .iter()
        .map(|f| f.name().as_str())
        .collect();
    names.join(", ")
}

/// Runs `COPY … FROM`.
pub(crate) async fn copy_statement(
    engine: &Engine,
    statement: SqlStatement,
) -> Result<Output, Error> {
    let SqlStatement::Copy {
        source,
        to: false,
        target,
        options,
        legacy_options,
        ..
    } = statement
    else {
        return Err(invalid("COPY is written COPY table FROM 'file'"));
    };
    let CopySource::Table {
        table_name: name,
        columns,
    } = source
    else {
        return Err(invalid(
            "COPY … FROM loads into a table: COPY table FROM 'file'",
        ));
    };
    if !columns.is_empty() {
        return Err(invalid(
            "COPY table (columns) is not supported: columns are matched by their names in the file",
        ));
    }
    if !legacy_options.is_empty() {
        return Err(invalid(
            "options of COPY are written WITH (format csv, header true, delimiter ',', null '')",
        ));
    }
    let CopyTarget::File { filename } = target else {
        return Err(invalid("COPY … FROM reads a file: COPY table FROM 'file'"));
    };
    let table = match table_name(&name)? {
        TableName::Table(table) => table,
        TableName::Described => return Err(crate::ddl::read_only()),
    };
    let options = copy_options(options)?;
    let receipt = copy_from(
        engine,
        &table,
        Path::new(&filename),
        options,
        &mut |_, _| {},
    )
    .await?;
    Output::written(receipt, Vec::new())
}

fn copy_options(list: Vec<CopyOption>) -> Result<CopyOptions, Error> {
    let mut options = CopyOptions::default();
    for option in list {
        match option {
            CopyOption::Format(format) => {
                options.format = Some(match ident_of(&format).to_lowercase().as_str() {
                    "csv" => CopyFormat::Csv,
                    "parquet" => CopyFormat::Parquet,
                    other => {
                        return Err(invalid(format!(
                            "COPY reads csv and parquet, not \"{other}\""
                        )));
                    }
                });
            }
            CopyOption::Header(header) => options.header = header,
            CopyOption::Delimiter(delimiter) => {
                let byte = u8::try_from(delimiter)
                    .ok()
                    .filter(|byte| is_delimiter(*byte));
                options.delimiter = byte.ok_or_else(|| {
                    invalid(format!(
                        "{delimiter:?} cannot separate fields; use an ASCII character"
                    ))
                })?;
            }
            CopyOption::Null(null) => options.null = null,
            other => {
                return Err(invalid(format!(
                    "COPY option {other} is not supported; there are format, header, delimiter \
                     and null"
                )));
            }
        }
    }
    Ok(options)
}

/// Characters that cannot be confused with quotes, line ends or parts of other characters.
fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r' | 0)
}
