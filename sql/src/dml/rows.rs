//! Rows and keys that a program holds already, without SQL text.
//!
//! Idea: they join the way of a statement where its query has run. Invariant: so they are completed and
//! checked like the rows of an INSERT, and the keys of a DELETE.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use netabase_store::{Change, Error, TableDef};

use super::assign::check_value;
use super::rewrite::{column_of, generated_error, is_generated, quoted};
use super::{Target, write_stream};
use crate::cluster::WriteReceipt;
use crate::ddl;
use crate::engine::Engine;
use crate::error::{from_arrow, invalid};
use crate::output::{Output, in_memory};
use crate::panics;
use crate::path;
use crate::running::Statement;
use crate::statement::definition_in_transaction;
use crate::write::{CheckedRows, NoOrigin};

impl Engine {
    /// Whether what this session writes is kept until its transaction is committed, and seen by its own
    /// queries alone until then.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.transaction().is_open()
    }

    /// Fails inside a transaction, as CREATE TABLE does.
    ///
    /// # Errors
    /// `InvalidInput` if one is open.
    pub fn refuse_definitions_in_transaction(&self) -> Result<(), Error> {
        match self.in_transaction() {
            true => Err(definition_in_transaction()),
            false => Ok(()),
        }
    }

    /// Writes rows that have these columns of a table: `INSERT INTO table (column, …)`. What they do
    /// not have takes its default, or NULL.
    ///
    /// # Errors
    /// Those of an INSERT: `NotFound` when there is no such table or column; `InvalidInput` for a
    /// generated column, and for a row that the table does not take; `Conflict` when a key comes
    /// twice; `Capacity` when the rows are larger than `max_insert_bytes`. Nothing was written then.
    pub async fn insert_rows(&self, table: &str, rows: RecordBatch) -> Result<WriteReceipt, Error> {
        let work = panics::caught(self.insert_given(table, rows));
        let text = format!("INSERT INTO {}", quoted(table));
        self.running().track(text, work).await
    }

    async fn insert_given(&self, table: &str, rows: RecordBatch) -> Result<WriteReceipt, Error> {
        let def = table_of(self, table)?;
        let schema = rows.schema();
        let mut given = Vec::with_capacity(rows.num_columns());
        for field in schema.fields() {
            let column = column_of(&def, field.name())?;
            if is_generated(&def, column) {
                return Err(generated_error(&def, column));
            }
            if given.contains(&column) {
                return Err(invalid(format!("column \"{}\" comes twice", field.name())));
            }
            given.push(column);
        }
        let rows = in_layout(&def, &given, &rows)?;
        let target = Target {
            label: quoted(&def.table_name()),
            def,
            returning: None,
        };
        let stream = in_memory(rows.schema(), vec![rows]);
        let output = write_stream(self, target, (stream, given), Vec::new()).await?;
        Ok(receipt_of(&output))
    }

    /// Removes the rows that have these primary keys.
    ///
    /// # Errors
    /// `NotFound` when there is no such table; `InvalidInput` when the columns are not those of its
    /// primary key, in its order.
    pub async fn delete_rows(&self, table: &str, keys: RecordBatch) -> Result<WriteReceipt, Error> {
        let work = panics::caught(self.delete_given(table, keys));
        let text = format!("DELETE FROM {}", quoted(table));
        self.running().track(text, work).await
    }

    async fn delete_given(&self, table: &str, keys: RecordBatch) -> Result<WriteReceipt, Error> {
        let def = table_of(self, table)?;
        check_key(&def, &keys.schema())?;
        let keys = in_layout(&def, &def.primary_key, &keys)?;
        let checked = CheckedRows::check(def, Change::Delete, vec![keys], NoOrigin).await?;
        let receipt = self.apply(vec![checked]).await?;
        Statement::current().add_written(receipt.rows);
        Ok(receipt)
    }
}

fn receipt_of(output: &Output) -> WriteReceipt {
    output.receipt().cloned().unwrap_or_default()
}

fn table_of(engine: &Engine, name: &str) -> Result<Arc<TableDef>, Error> {
    ddl::table_to_write(engine, &path::object_name(name))
}

/// The rows in the types of these columns of a table, as an INSERT casts them: a value that its cast
/// would change, or that does not fit, is refused. NULLs are checked later, by those who can name the
/// row.
fn in_layout(def: &TableDef, given: &[usize], rows: &RecordBatch) -> Result<RecordBatch, Error> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(given.len());
    let mut fields = Vec::with_capacity(given.len());
    for (column, values) in given.iter().zip(rows.columns()) {
        let data_type = def.schema.field(*column).data_type();
        columns.push(match values.data_type() == data_type {
            true => Arc::clone(values),
            false => {
                check_value(def, *column, values.data_type())?;
                let cast = cast_with_options(values, data_type, &options);
                cast.map_err(|error| {
                    let error = from_arrow(error);
                    let (table, column) = (&def.name, def.column_name(*column));
                    let text = format!("column \"{column}\" of table \"{table}\": {error}");
                    Error::new(error.kind(), text)
                })?
            }
        });
        fields.push(Field::new(
            def.column_name(*column),
            data_type.clone(),
            true,
        ));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let schema = Arc::new(Schema::new(fields));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(from_arrow)
}

/// Fails with `InvalidInput` unless the columns are those of the primary key, in its order.
fn check_key(def: &TableDef, keys: &Schema) -> Result<(), Error> {
    let wanted = def
        .primary_key
        .iter()
        .map(|column| def.column_name(*column));
    let given = keys.fields().iter().map(|field| field.name().as_str());
    if wanted.clone().eq(given.clone()) {
        return Ok(());
    }
    let [wanted, given] = [wanted.collect::<Vec<_>>(), given.collect()];
    Err(invalid(format!(
        "the primary key of table \"{}\" is ({}), but the keys have the columns ({})",
        def.name,
        wanted.join(", "),
        given.join(", ")
    )))
}
