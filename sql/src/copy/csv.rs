//! CSV, typed by the table.
//!
//! Invariant: of several errors the first line's is reported.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringBuilder, new_null_array};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field};
use arrow::record_batch::RecordBatch;
use netabase_store::{Error, TableDef};

use super::records::{Record, Records};
use super::{CopyOptions, FileOrigin, Loaded, Position, is_delimiter, match_columns, too_large};
use crate::error::{from_arrow, invalid};
use crate::write::logical_bytes;

/// Rows that are parsed before their columns are typed.
const ROWS_PER_BATCH: usize = 16_384;
/// Bytes of text after which columns are typed earlier.
const BYTES_PER_BATCH: usize = 8 << 20;
/// Bytes of a file read at once.
const READ_BYTES: usize = 1 << 20;
/// Characters of a broken value that an error repeats.
const SHOWN_CHARACTERS: usize = 64;

/// Reads and types a whole file.
pub(super) fn read(
    file: File,
    path: &Path,
    def: &TableDef,
    options: &CopyOptions,
    limit: usize,
) -> Result<Loaded, Error> {
    if !is_delimiter(options.delimiter) {
        return Err(invalid(format!(
            "byte {} cannot separate fields",
            options.delimiter
        )));
    }
    let input = BufReader::with_capacity(READ_BYTES, file);
    let mut records = Records::new(input, path, options.delimiter)?;
    let mut record = Record::default();
    let names = if options.header {
        header(&mut records, &mut record)?
    } else {
        def.schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect()
    };
    let mut typed = Typed::new(path, def, &names, &options.null, limit)?;
    loop {
        match records.next(&mut record) {
            Ok(true) => typed.push(&record)?,
            Ok(false) => return typed.finish(),
            Err(error) => {
                // A broken value further up is the better answer.
                typed.flush()?;
                return Err(error);
            }
        }
    }
}

fn header<R: BufRead>(
    records: &mut Records<'_, R>,
    record: &mut Record,
) -> Result<Vec<String>, Error> {
    if !records.next(record)? {
        return Err(records.broken(
            1,
            "the file is empty, but its first line should name columns",
        ));
    }
    let text = std::str::from_utf8(&record.text)
        .map_err(|_| records.broken(1, "the names of the columns are not UTF-8"))?;
    let mut start = 0;
    let mut names = Vec::with_capacity(record.fields.len());
    for field in &record.fields {
        names.push(
            text.get(start..field.end)
                .unwrap_or_default()
                .trim()
                .to_string(),
        );
        start = field.end;
    }
    Ok(names)
}

fn check_types(path: &Path, def: &TableDef, columns: &[Option<usize>]) -> Result<(), Error> {
    let fields = def.schema.fields().iter().zip(columns);
    for (field, _) in fields.filter(|(_, column)| column.is_some()) {
        if !can_cast_types(&DataType::Utf8, field.data_type()) {
            return Err(invalid(format!(
                "{}: column \"{}\" is {}, which CSV cannot hold; use Parquet",
                path.display(),
                field.name(),
                field.data_type()
            )));
        }
    }
    Ok(())
}

/// Collects records into typed batches.
struct Typed<'a> {
    path: &'a Path,
    def: &'a TableDef,
    /// For every column of the file, the column of the table.
    targets: Vec<usize>,
    /// For every column of the table, the column of the file.
    columns: Vec<Option<usize>>,
    null: &'a str,
    /// Bytes that all typed rows may take, and what they take.
    limit: usize,
    bytes: usize,
    /// Text of the rows that are not typed yet: its size, its values, its lines.
    pending: usize,
    builders: Vec<StringBuilder>,
    lines: Vec<u64>,
    batches: Vec<RecordBatch>,
    /// The lines of every batch.
    all_lines: Vec<Vec<u64>>,
}

impl<'a> Typed<'a> {
    /// For rows with fields of these names.
    fn new(
        path: &'a Path,
        def: &'a TableDef,
        names: &[String],
        null: &'a str,
        limit: usize,
    ) -> Result<Self, Error> {
        let columns = match_columns(path, def, names)?;
        check_types(path, def, &columns)?;
        let mut targets = vec![0; names.len()];
        for (target, column) in columns.iter().enumerate() {
            if let Some(slot) = column.and_then(|column| targets.get_mut(column)) {
                *slot = target;
            }
        }
        Ok(Self {
            path,
            def,
            builders: targets.iter().map(|_| StringBuilder::new()).collect(),
            targets,
            columns,
            null,
            limit,
            bytes: 0,
            pending: 0,
            lines: Vec::new(),
            batches: Vec::new(),
            all_lines: Vec::new(),
        })
    }

    fn broken(&self, line: u64, reason: &str) -> Error {
        invalid(format!("{} line {line}: {reason}", self.path.display()))
    }

    fn push(&mut self, record: &Record) -> Result<(), Error> {
        let width = self.builders.len();
        let text = match std::str::from_utf8(&record.text) {
            Ok(text) if record.fields.len() == width => text,
            wrong => {
                self.flush()?;
                let reason = match wrong {
                    Err(_) => "the text is not UTF-8".to_string(),
                    Ok(_) => format!("{} fields instead of {width}", record.fields.len()),
                };
                return Err(self.broken(record.line, &reason));
            }
        };
        let mut start = 0;
        for (builder, field) in self.builders.iter_mut().zip(&record.fields) {
            let value = text.get(start..field.end).unwrap_or_default();
            start = field.end;
            if !field.quoted && (value.is_empty() || value == self.null) {
                builder.append_null();
            } else {
                builder.append_value(value);
            }
        }
        self.lines.push(record.line);
        self.pending += record.text.len();
        if self.lines.len() >= ROWS_PER_BATCH || self.pending >= BYTES_PER_BATCH {
            self.flush()?;
        }
        Ok(())
    }

    /// Types the pending rows.
    fn flush(&mut self) -> Result<(), Error> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let texts: Vec<ArrayRef> = self
            .builders
            .iter_mut()
            .map(|builder| Arc::new(builder.finish()) as ArrayRef)
            .collect();
        let typed = self.cast(&texts)?;
        self.pending = 0;
        let rows = self.lines.len();
        let columns = self
            .def
            .schema
            .fields()
            .iter()
            .zip(&self.columns)
            .map(
                |(field, column)| match column.and_then(|column| typed.get(column)) {
                    Some(array) => Arc::clone(array),
                    None => new_null_array(field.data_type(), rows),
                },
            );
        // NOT NULL is checked with everything else; here the rows only need the right types.
        let nullable: Vec<Field> = self
            .def
            .schema
            .fields()
            .iter()
            .map(|f| f.as_ref().clone().with_nullable(true))
            .collect();
        let schema = Arc::new(arrow::datatypes::Schema::new(nullable));
        let batch = RecordBatch::try_new(schema, columns.collect()).map_err(from_arrow)?;
        self.bytes += logical_bytes(&batch);
        if self.bytes > self.limit {
            return Err(too_large(self.path, self.limit));
        }
        self.batches.push(batch);
        self.all_lines.push(std::mem::take(&mut self.lines));
        Ok(())
    }

    /// Casts every column, or reports the first line that does not fit.
    fn cast(&self, texts: &[ArrayRef]) -> Result<Vec<ArrayRef>, Error> {
        let options = CastOptions {
            safe: true,
            ..CastOptions::default()
        };
        let mut typed = Vec::with_capacity(texts.len());
        let mut first: Option<(usize, usize)> = None;
        for (column, (text, target)) in texts.iter().zip(&self.targets).enumerate() {
            let to = self.def.schema.field(*target).data_type();
            let array = cast_with_options(text, to, &options).map_err(from_arrow)?;
            if array.null_count() > text.null_count() {
                let row = (0..text.len()).find(|row| array.is_null(*row) && text.is_valid(*row));
                if let Some(row) = row.filter(|row| first.is_none_or(|(found, _)| *row < found)) {
                    first = Some((row, column));
                }
            }
            typed.push(array);
        }
        match first {
            Some((row, column)) => Err(self.unparsable(texts, row, column)),
            None => Ok(typed),
        }
    }

    fn unparsable(&self, texts: &[ArrayRef], row: usize, column: usize) -> Error {
        let line = self.lines.get(row).copied().unwrap_or_default();
        let target = self.targets.get(column).copied().unwrap_or_default();
        let field = self.def.schema.field(target);
        let value = texts
            .get(column)
            .map(|texts| shown(texts, row))
            .unwrap_or_default();
        self.broken(
            line,
            &format!(
                "column \"{}\": cannot parse \"{value}\" as {}",
                field.name(),
                field.data_type()
            ),
        )
    }

    fn finish(mut self) -> Result<Loaded, Error> {
        self.flush()?;
        let position = Position::Lines(self.all_lines);
        let origin = FileOrigin {
            path: self.path.to_path_buf(),
            position,
        };
        Ok(Loaded {
            batches: self.batches,
            origin,
        })
    }
}

/// The beginning of a broken value.
fn shown(texts: &ArrayRef, row: usize) -> String {
    use arrow::array::AsArray;
    let value = texts.as_string::<i32>().value(row);
    let mut short: String = value.chars().take(SHOWN_CHARACTERS).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    short
}
