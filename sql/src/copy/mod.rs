//! Files into tables, and tables into files.
//!
//! Purpose: `COPY`, [`Engine::copy_from`](crate::Engine::copy_from) and
//! [`Engine::copy_to`](crate::Engine::copy_to). `statement` reads what is written, `options` decides
//! what it means for a file, `load` runs a COPY from files and `save` one into a file.
//!
//! Invariants: files are read and checked to their end before their first row is visible, and an
//! error says where in the file it is; a file is there whole or not at all.
//!
//! Non-goals: remote files, standard input and output.

mod arrow;
mod columns;
mod csv;
mod csv_text;
mod files;
mod json;
mod json_text;
mod load;
mod options;
mod parquet;
mod records;
mod save;
mod statement;
mod target;
mod typed;
mod words;
mod writers;

use std::path::Path;
use std::sync::Arc;

use ::arrow::record_batch::RecordBatch;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Statement as SqlStatement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use netabase_store::{Error, TableDef};

pub(crate) use self::load::copy_from;
pub use self::options::{CopyCompression, CopyFormat, CopyOptions, ForceQuote};
pub(crate) use self::save::copy_to;
pub(crate) use self::statement::{CopyStatement, parse};
pub(crate) use self::typed::unhex;

use self::statement::Rows;
use crate::engine::Engine;
use crate::error::{error_from_datafusion, invalid};
use crate::output::Output;
use crate::statement::{ident_of, table_name};
use crate::upkeep::Parsed;

/// The path of a file, which many rows share.
type FilePath = Arc<Path>;

/// What files are loaded into.
#[derive(Debug)]
struct Owner {
    def: Arc<TableDef>,
    /// The columns that are loaded; empty: those that a file has.
    chosen: Vec<String>,
}

/// Rows of a file, cast to the table's columns.
struct Part {
    rows: RecordBatch,
    /// Which columns of the table these are.
    given: Vec<usize>,
    place: Place,
}

/// Where the rows of a part are.
#[derive(Debug)]
enum Place {
    /// The line on which each begins.
    Lines(Vec<u64>),
    /// Behind so many others.
    After(u64),
}

impl Place {
    /// Names a row.
    fn describe(&self, path: &Path, row: usize) -> String {
        let path = path.display();
        match self {
            Place::Lines(lines) => match lines.get(row) {
                Some(line) => format!("{path} line {line}: "),
                None => format!("{path}: "),
            },
            Place::After(before) => format!("{path} row {}: ", before + row as u64 + 1),
        }
    }
}

/// Reads a file, in order.
trait RowReader {
    /// The next rows; `None` at the end.
    fn next(&mut self) -> Result<Option<Part>, Error>;

    /// How much of the file the rows so far took, about, in bytes.
    fn bytes_read(&self) -> u64;
}

/// Runs a COPY.
pub(crate) async fn run(engine: &Engine, copy: CopyStatement) -> Result<Output, Error> {
    let CopyStatement {
        rows,
        file,
        options,
    } = copy;
    let target = (Path::new(&file), options);
    let query = match rows {
        Rows::Into(name) => {
            let def = crate::ddl::table_to_write(engine, &name)?;
            let receipt = copy_from(engine, def, target, &mut |_, _| {}).await?;
            return Output::written(receipt, Vec::new());
        }
        Rows::Of(name, columns) => query_of_table(&name, &columns)?,
        Rows::OfQuery(query) => SqlStatement::Query(query),
    };
    let (count, scans) = copy_to(engine, query, target, &mut |_| {}).await?;
    Output::counted(count, scans)
}

/// The one query that a text must be.
pub(crate) fn query_of(statements: Vec<Parsed>) -> Result<SqlStatement, Error> {
    let [Parsed::Sql(Statement::Statement(statement))] = statements.as_slice() else {
        return Err(not_a_query());
    };
    match statement.as_ref() {
        query @ SqlStatement::Query(_) => Ok(query.clone()),
        _ => Err(not_a_query()),
    }
}

fn not_a_query() -> Error {
    invalid("rows for a file come from one query: SELECT … FROM …")
}

/// `SELECT columns FROM name`.
fn query_of_table(name: &ObjectName, columns: &[Ident]) -> Result<SqlStatement, Error> {
    // A name that is no table's is refused with the same words as elsewhere.
    table_name(name)?;
    for (index, column) in columns.iter().enumerate() {
        let column = ident_of(column);
        let earlier = columns.iter().take(index);
        if earlier.map(ident_of).any(|other| other == column) {
            return Err(invalid(format!("column \"{column}\" is listed twice")));
        }
    }
    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
    let columns = match columns.is_empty() {
        true => "*".to_owned(),
        false => columns.join(", "),
    };
    let text = format!("SELECT {columns} FROM {name}");
    let statements = Parser::parse_sql(&GenericDialect {}, &text)
        .map_err(|error| error_from_datafusion(error.into()))?;
    statements
        .into_iter()
        .next()
        .ok_or_else(|| invalid(format!("{name} is not the name of a table")))
}
