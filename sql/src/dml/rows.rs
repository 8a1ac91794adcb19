//! Rows and keys that a program holds already, without SQL text.
//!
//! Idea: they join the way of a statement where its query has run. Invariant: so they are completed and
//! checked like the rows of an INSERT, and the keys of a DELETE.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use netabase_store::{Change, Error, TableDef};

use super::rewrite::{column_of, generated_error, is_generated, quoted};
use super::{Target, write_stream};
use crate::cluster::WriteReceipt;
use crate::ddl;
use crate::engine::Engine;
use crate::error::from_arrow;
use crate::output::{Output, in_memory};
use crate::path;
use crate::write::{CheckedRows, NoOrigin};

impl Engine {
    /// Whether what this session writes is kept until its transaction is committed, and seen by its own
    /// queries alone until then.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.transaction().is_open()
    }

    /// Writes rows that have these columns of a table: `INSERT INTO table (column, …)`. What they do
    /// not have takes its default, or NULL.
    ///
    /// # Errors
    /// Those of an INSERT: `NotFound` when there is no such table or column; `InvalidInput` for a
    /// generated column, and for a row that the table does not take; `Conflict` when a key comes
    /// twice; `Capacity` when the rows are larger than `max_insert_bytes`. Nothing was written then.
    pub async fn insert_rows(&self, table: &str, rows: RecordBatch) -> Result<WriteReceipt, Error> {
        let def = table_of(self, table)?;
        let schema = rows.schema();
        let mut given = Vec::with_capacity(rows.num_columns());
        for field in schema.fields() {
            let column = column_of(&def, field.name())?;
            if is_generated(&def, column) {
                return Err(generated_error(&def, column));
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
        let def = table_of(self, table)?;
        let keys = in_layout(&def, &def.primary_key.clone(), &keys)?;
        let checked = CheckedRows::check(def, Change::Delete, vec![keys], NoOrigin).await?;
        self.apply(vec![checked]).await
    }
}

fn receipt_of(output: &Output) -> WriteReceipt {
    output.receipt().cloned().unwrap_or_default()
}

fn table_of(engine: &Engine, name: &str) -> Result<Arc<TableDef>, Error> {
    ddl::table_to_write(engine, &path::object_name(name))
}

/// The rows in the types of these columns of a table. NULLs are checked later, by those who can name
/// the row.
fn in_layout(def: &TableDef, given: &[usize], rows: &RecordBatch) -> Result<RecordBatch, Error> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(given.len());
    let mut fields = Vec::with_capacity(given.len());
    for (column, values) in given.iter().zip(rows.columns()) {
        let data_type = def.schema.field(*column).data_type();
        columns.push(match values.data_type() == data_type {
            true => Arc::clone(values),
            false => cast(values, data_type).map_err(from_arrow)?,
        });
        fields.push(Field::new(
            def.column_name(*column),
            data_type.clone(),
            true,
        ));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(from_arrow)
}
