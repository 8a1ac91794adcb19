//! Values by key: the table `objects` seen as a map of bytes.
//!
//! Purpose: `put`, `get` and `delete` are writes and reads of rows that SQL sees as well.
//! Invariant: the table appears with the first `put`; before that, every key is missing.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use netabase_sql::{WriteReceipt, objects_table};
use netabase_store::{Change, Error, ErrorKind, KeyEncoder, TableDef};

use crate::database::{Inner, Netabase};

/// Name of the table.
const TABLE: &str = "objects";
/// Column of the keys.
const KEY: &str = "key";
/// Column of the values.
const VALUE: &str = "value";
/// Longest key, in bytes.
const MAX_KEY: usize = 64 << 10;

impl Netabase {
    /// Stores a value under a key, in the place of any older one.
    ///
    /// # Errors
    /// `InvalidInput` for an empty or oversized key; `Unavailable` when a replica cannot be reached
    /// (putting it again is safe); `Capacity` at a limit.
    pub async fn put(&self, key: &[u8], value: &[u8]) -> Result<WriteReceipt, Error> {
        check_key(key)?;
        let (key, value) = (key.to_vec(), value.to_vec());
        self.run(move |inner| async move {
            let def = inner.table_or_create(TABLE, objects_table).await?;
            let rows = object_row(&def.schema, &key, &value)?;
            inner.write(def, Change::Upsert, &rows).await
        })
        .await
    }

    /// Reads the value of a key; `None` when there is none.
    ///
    /// # Errors
    /// `InvalidInput` for an empty or oversized key; `Unavailable` when no holder of the key's shard
    /// can be reached.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        check_key(key)?;
        let key = key.to_vec();
        self.run(move |inner| async move { inner.object(&key).await })
            .await
    }

    /// Removes a key; says whether it had a value.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        check_key(key)?;
        let key = key.to_vec();
        self.run(move |inner| async move {
            let Some(def) = inner.objects() else {
                return Ok(false);
            };
            if inner.object(&key).await?.is_none() {
                return Ok(false);
            }
            let rows = key_row(&def.key_schema(), &key)?;
            inner.write(def, Change::Delete, &rows).await?;
            Ok(true)
        })
        .await
    }
}

impl Inner {
    fn objects(&self) -> Option<Arc<TableDef>> {
        self.live_table(TABLE)
    }

    async fn write(
        &self,
        def: Arc<TableDef>,
        change: Change,
        rows: &RecordBatch,
    ) -> Result<WriteReceipt, Error> {
        let parts = KeyEncoder::new(&def)?.split(rows)?;
        self.cluster().write(def, change, parts).await
    }

    async fn object(self: &Arc<Self>, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Some(def) = self.objects() else {
            return Ok(None);
        };
        let row = key_row(&def.key_schema(), key)?;
        if !self.is_read_here(&def, &row)? {
            return self.object_elsewhere(key).await;
        }
        match self.stored_row(&def, row).await? {
            Some(batch) => bytes_of(batch.column_by_name(VALUE)).map(Some),
            None => Ok(None),
        }
    }

    async fn object_elsewhere(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let select = format!("SELECT {VALUE} FROM public.{TABLE} WHERE {KEY} = X'{hex}'");
        let batches = self.engine().sql(&select).await?.collect().await?;
        match batches.iter().find(|batch| batch.num_rows() > 0) {
            Some(batch) => bytes_of(batch.columns().first()).map(Some),
            None => Ok(None),
        }
    }
}

fn check_key(key: &[u8]) -> Result<(), Error> {
    let text = if key.is_empty() {
        "a key cannot be empty".to_owned()
    } else if key.len() > MAX_KEY {
        format!("the key has {} bytes; the longest has {MAX_KEY}", key.len())
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidInput, text))
}

fn object_row(schema: &SchemaRef, key: &[u8], value: &[u8]) -> Result<RecordBatch, Error> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            KEY => bytes_column(key, field.data_type()),
            VALUE => bytes_column(value, field.data_type()),
            _ => Ok(new_null_array(field.data_type(), 1)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|e| foreign_table(&e))
}

fn key_row(schema: &SchemaRef, key: &[u8]) -> Result<RecordBatch, Error> {
    let types = schema.fields().iter().map(|field| field.data_type());
    let columns = types
        .map(|data_type| bytes_column(key, data_type))
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|e| foreign_table(&e))
}

fn bytes_column(bytes: &[u8], data_type: &DataType) -> Result<ArrayRef, Error> {
    let column: ArrayRef = Arc::new(BinaryArray::from_vec(vec![bytes]));
    if column.data_type() == data_type {
        return Ok(column);
    }
    cast(&column, data_type).map_err(|e| foreign_table(&e))
}

/// The bytes of the first row of a column, whichever layout it has.
fn bytes_of(column: Option<&ArrayRef>) -> Result<Vec<u8>, Error> {
    let missing = || ArrowError::SchemaError(format!("it has no column \"{VALUE}\""));
    let column = column.ok_or_else(|| foreign_table(&missing()))?;
    let plain = cast(column, &DataType::LargeBinary).map_err(|e| foreign_table(&e))?;
    Ok(plain.as_binary::<i64>().value(0).to_vec())
}

/// Somebody made a table `objects` of other columns.
fn foreign_table(cause: &ArrowError) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "table \"{TABLE}\" does not hold bytes by key ({cause}); it was created by SQL with other \
             columns: drop it, and the next put makes the built-in one"
        ),
    )
}
