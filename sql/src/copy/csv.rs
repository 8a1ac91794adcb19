//! CSV, typed by the table.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, StringBuilder};
use netabase_store::{Error, TableDef};

use super::columns::{Matched, is_generated};
use super::files::Text;
use super::options::Settled;
use super::records::{Record, Records};
use super::typed::{BYTES_PER_BATCH, ROWS_PER_BATCH, Typer, takes_text};
use super::{FilePath, Owner, Part, RowReader};
use crate::error::invalid;

type Input = BufReader<Box<dyn Read + Send>>;

/// Reads the rows of a file.
pub(super) struct CsvReader {
    records: Records<Input>,
    record: Record,
    typer: Typer,
    null: String,
    at: Arc<std::sync::atomic::AtomicU64>,
    builders: Vec<StringBuilder>,
    lines: Vec<u64>,
    /// Bytes of the rows that are not typed yet.
    pending: usize,
    /// What is wrong with the line behind them.
    failed: Option<Error>,
    done: bool,
}

impl CsvReader {
    /// Reads the header, if there is one, and matches the columns.
    pub(super) fn new(
        text: Text,
        path: FilePath,
        owner: &Owner,
        settled: &Settled,
    ) -> Result<Self, Error> {
        let dialect = &settled.dialect;
        let def = &owner.def;
        let mut records = Records::new(text.input, Arc::clone(&path), dialect)?;
        let mut record = Record::default();
        let names = if dialect.header {
            header(&mut records, &mut record)?
        } else if owner.chosen.is_empty() {
            writable_names(def)
        } else {
            owner.chosen.clone()
        };
        let matched = Matched::new(&path, def, &names, &owner.chosen)?;
        check_types(&path, owner, &matched)?;
        let targets = matched.targets(names.len());
        if let [Some(only)] = targets.as_slice()
            && def.schema.field(*only).is_nullable()
        {
            records.take_blank_rows();
        }
        Ok(Self {
            records,
            record,
            typer: Typer {
                path,
                def: Arc::clone(def),
                matched,
            },
            null: dialect.null.clone(),
            at: text.at,
            builders: names.iter().map(|_| StringBuilder::new()).collect(),
            lines: Vec::new(),
            pending: 0,
            failed: None,
            done: false,
        })
    }

    /// Adds the record that was read.
    fn push(&mut self) -> Result<(), Error> {
        let (width, line) = (self.builders.len(), self.record.line);
        let fields = self.record.fields.len();
        let text = std::str::from_utf8(&self.record.text)
            .map_err(|_| self.typer.broken(line, "the text is not UTF-8"))?;
        if fields != width {
            let reason = format!("{fields} fields instead of {width}");
            return Err(self.typer.broken(line, &reason));
        }
        let mut start = 0;
        for (builder, field) in self.builders.iter_mut().zip(&self.record.fields) {
            let value = text.get(start..field.end).unwrap_or_default();
            start = field.end;
            if !field.quoted && (value.is_empty() || value == self.null) {
                builder.append_null();
            } else {
                builder.append_value(value);
            }
        }
        self.lines.push(line);
        self.pending += self.record.text.len();
        Ok(())
    }

    /// Reads until there is a batch, the file ends, or a line is broken.
    fn fill(&mut self) {
        while self.lines.len() < ROWS_PER_BATCH && self.pending < BYTES_PER_BATCH {
            let read = match self.records.next(&mut self.record) {
                Ok(false) => {
                    self.done = true;
                    return;
                }
                Ok(true) => self.push(),
                Err(error) => Err(error),
            };
            if let Err(error) = read {
                // A broken value further up is the better answer.
                self.failed = Some(error);
                self.done = true;
                return;
            }
        }
    }
}

impl RowReader for CsvReader {
    fn next(&mut self) -> Result<Option<Part>, Error> {
        if !self.done {
            self.fill();
        }
        if self.lines.is_empty() {
            return self.failed.take().map_or(Ok(None), Err);
        }
        let texts: Vec<ArrayRef> = self
            .builders
            .iter_mut()
            .map(|builder| Arc::new(builder.finish()) as ArrayRef)
            .collect();
        self.pending = 0;
        let lines = std::mem::take(&mut self.lines);
        self.typer.part(&texts, lines).map(Some)
    }

    fn bytes_read(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }
}

fn header<R: BufRead>(records: &mut Records<R>, record: &mut Record) -> Result<Vec<String>, Error> {
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
        let name = text.get(start..field.end).unwrap_or_default();
        names.push(name.trim().to_string());
        start = field.end;
    }
    Ok(names)
}

/// The columns of a file without names: those that take values.
fn writable_names(def: &TableDef) -> Vec<String> {
    let columns = def.visible_columns().into_iter();
    columns
        .filter(|column| !is_generated(def, *column))
        .map(|column| def.column_name(column).to_owned())
        .collect()
}

fn check_types(path: &FilePath, owner: &Owner, matched: &Matched) -> Result<(), Error> {
    for column in matched.given() {
        let field = owner.def.schema.field(column);
        if !takes_text(field.data_type()) {
            return Err(invalid(format!(
                "{}: column \"{}\" is {}, which CSV cannot hold; use Parquet, Arrow or JSON",
                path.display(),
                owner.def.column_name(column),
                field.data_type()
            )));
        }
    }
    Ok(())
}
