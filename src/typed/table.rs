//! A table whose rows are records.
//!
//! Invariant: what a call does is what the SQL statement of its name does to the same row. Every call
//! compares the table with the record first, so that neither is read or written as something else.
//! Non-goal: joins, groups and orders, which are SQL.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use datafusion::logical_expr::{Expr, ident};
use netabase_sql::{Engine, WriteReceipt};
use netabase_store::{Error, ErrorKind, KeyEncoder, TableDef};

use super::Record;
use super::columns::Filter;
use super::error::ConversionError;
use super::rows::Rows;
use super::shape::Shape;
use super::source::{Source, answer, definition, row_of, stored_key};
use crate::database::{Inner, Netabase};
use crate::session::Session;

/// The table of a record. Cheap to clone and to make; it holds nothing but the handle.
pub struct Table<R> {
    database: Netabase,
    /// The session that its calls belong to.
    engine: Engine,
    record: PhantomData<fn() -> R>,
}

impl<R> Clone for Table<R> {
    fn clone(&self) -> Self {
        Self {
            database: self.database.clone(),
            engine: self.engine.clone(),
            record: PhantomData,
        }
    }
}

impl<R: Record> fmt::Debug for Table<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&R::shape().table()).finish()
    }
}

impl Netabase {
    /// The table of a record, whether it exists or not; [`Table::create`] makes it.
    #[must_use]
    pub fn table<R: Record>(&self) -> Table<R> {
        Table::of(self.clone(), self.inner().engine().clone())
    }
}

impl Session {
    /// The table of a record, for this session: what it writes belongs to the session's transaction, if
    /// one is open, and what it reads is what the session sees.
    #[must_use]
    pub fn table<R: Record>(&self) -> Table<R> {
        let (database, engine) = self.parts();
        Table::of(database.clone(), engine.clone())
    }
}

impl<R> Table<R> {
    fn of(database: Netabase, engine: Engine) -> Self {
        Self {
            database,
            engine,
            record: PhantomData,
        }
    }
}

// The futures own what they need: they borrow neither rows nor keys, so that a task may run them
// whatever these are.
impl<R: Record> Table<R> {
    /// `CREATE TABLE IF NOT EXISTS`, with the record's indexes. A table that exists must have the
    /// record's columns, keys, and the options that the record names; indexes that it lacks are made.
    ///
    /// # Errors
    /// `Conflict` naming the first difference to a table that exists; `InvalidInput` when an index is
    /// to be added to a table of another peer; what the cluster refuses.
    pub fn create(&self) -> impl Future<Output = Result<(), Error>> + Send + use<R> {
        let (database, engine) = (self.database.clone(), self.engine.clone());
        async move {
            let work = |inner: Arc<Inner>| async move {
                let shape = R::shape();
                engine.refuse_definitions_in_transaction()?;
                refuse_taken_names(&inner, shape)?;
                netabase_sql::check_schema_of(inner.store(), shape.table())?;
                let define = |owner: &str, now| shape.definition(owner, now);
                let def = inner.table_or_create(shape.table(), define).await?;
                shape.check(&def)?;
                make_indexes(&engine, shape, &def).await
            };
            database.run(work).await
        }
    }

    /// `INSERT`: writes a row, in the place of one that has its key already. Done when it is durable
    /// on every replica.
    ///
    /// # Errors
    /// `InvalidInput` for a row that its validation refuses; `NotFound` when the table does not
    /// exist, `Conflict` when it has another shape; otherwise as [`Netabase::sql`].
    pub fn insert(
        &self,
        row: &R,
    ) -> impl Future<Output = Result<WriteReceipt, Error>> + Send + use<R> {
        self.insert_many(std::slice::from_ref(row))
    }

    /// `INSERT` of many rows. All of them are checked before the first one is written; a key may come
    /// once. When a replica is lost while they are written, some may be there; inserting them again
    /// is safe.
    ///
    /// # Errors
    /// As [`insert`](Self::insert), and `Conflict` for a key that comes twice.
    pub fn insert_many(
        &self,
        rows: &[R],
    ) -> impl Future<Output = Result<WriteReceipt, Error>> + Send + use<R> {
        let (database, engine) = (self.database.clone(), self.engine.clone());
        let batch = R::to_batch(rows);
        async move {
            let batch = batch?;
            let work = |inner: Arc<Inner>| async move {
                writable::<R>(&inner)?;
                engine.insert_rows(R::shape().table(), batch).await
            };
            database.run(work).await
        }
    }

    /// Reads the row of a key. From this peer's own store where the key's shard is read there, without
    /// a plan.
    ///
    /// # Errors
    /// `InvalidInput` for a row that is no record; `NotFound` and `Conflict` as for `insert`;
    /// `Unavailable` when no holder of the key's shard can be reached.
    pub fn get(
        &self,
        key: R::Key<'_>,
    ) -> impl Future<Output = Result<Option<R>, Error>> + Send + use<R> {
        let (database, engine) = (self.database.clone(), self.engine.clone());
        let key = key_batch::<R>(key);
        async move {
            let key = key?;
            let work = |inner: Arc<Inner>| async move {
                let source = Source::of::<R>(&inner, &engine).await?;
                row_of::<R>(&inner, &engine, &source, &key).await
            };
            match database.run(work).await? {
                Some(batch) => Ok(R::from_batch(&batch)?.pop()),
                None => Ok(None),
            }
        }
    }

    /// `UPDATE` of a whole row: writes it in the place of the one that has its key. Between looking
    /// and writing, others may write; as everywhere, the later version of a row stays.
    ///
    /// # Errors
    /// `NotFound` when no row has the key; otherwise as [`insert`](Self::insert).
    pub fn update(
        &self,
        row: &R,
    ) -> impl Future<Output = Result<WriteReceipt, Error>> + Send + use<R> {
        let (database, engine) = (self.database.clone(), self.engine.clone());
        let (key, batch) = (
            key_batch::<R>(row.key()),
            R::to_batch(std::slice::from_ref(row)),
        );
        async move {
            let (key, batch) = (key?, batch?);
            let work = |inner: Arc<Inner>| async move {
                let source = Source::Table(writable::<R>(&inner)?);
                let row = row_of::<R>(&inner, &engine, &source, &key).await?;
                if row.is_none() {
                    return Err(no_row(source.def(), &key));
                }
                engine.insert_rows(R::shape().table(), batch).await
            };
            database.run(work).await
        }
    }

    /// `DELETE` of the row of a key; says whether there was one.
    ///
    /// # Errors
    /// As [`get`](Self::get), and what a write fails with.
    pub fn delete(
        &self,
        key: R::Key<'_>,
    ) -> impl Future<Output = Result<bool, Error>> + Send + use<R> {
        let (database, engine) = (self.database.clone(), self.engine.clone());
        let key = key_batch::<R>(key);
        async move {
            let key = key?;
            let work = |inner: Arc<Inner>| async move {
                let source = Source::of::<R>(&inner, &engine).await?;
                let row = row_of::<R>(&inner, &engine, &source, &key).await?;
                if row.is_none() {
                    return Ok(false);
                }
                engine.delete_rows(R::shape().table(), key).await?;
                Ok(true)
            };
            database.run(work).await
        }
    }

    /// `SELECT` of every row, as a stream.
    ///
    /// # Errors
    /// `NotFound` and `Conflict` as for `insert`, otherwise as [`Netabase::sql`].
    pub fn scan(&self) -> impl Future<Output = Result<Rows<R>, Error>> + Send + use<R> {
        self.select(None)
    }

    /// `SELECT` of the rows for which a condition holds, as a stream. Indexes answer it as they do
    /// in SQL.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn filter(
        &self,
        filter: Filter<R>,
    ) -> impl Future<Output = Result<Rows<R>, Error>> + Send + use<R> {
        self.select(Some(filter.into_expr()))
    }

    fn select(
        &self,
        filter: Option<Expr>,
    ) -> impl Future<Output = Result<Rows<R>, Error>> + Send + use<R> {
        let (database, engine) = (self.database.clone(), self.engine.clone());
        async move {
            let work = |inner: Arc<Inner>| async move {
                let source = Source::of::<R>(&inner, &engine).await?;
                let columns = source.known::<R>().map(ident).collect();
                answer((inner, &engine), &source.def().name, filter, columns).await
            };
            Ok(Rows::new(database.run(work).await?.stream()))
        }
    }
}

fn writable<R: Record>(inner: &Inner) -> Result<Arc<TableDef>, Error> {
    let def = definition::<R>(inner)?;
    R::shape().check_columns(&def)?;
    Ok(def)
}

/// A key as one row of the key's columns.
fn key_batch<R: Record>(key: R::Key<'_>) -> Result<RecordBatch, ConversionError> {
    let shape = R::shape();
    let columns = R::key_columns(key)?;
    let fields = shape.key_columns().filter_map(|column| {
        let index = shape.schema().index_of(column.name()).ok()?;
        shape.schema().fields().get(index).cloned()
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns)
        .map_err(|error| ConversionError::of_table(shape.table(), error.to_string()))
}

fn no_row(def: &TableDef, key: &RecordBatch) -> Error {
    let described = stored_key(def, key)
        .and_then(|key| Ok(KeyEncoder::new(def)?.describe(&key, 0)))
        .unwrap_or_default();
    Error::new(
        ErrorKind::NotFound,
        format!(
            "no row of table \"{}\" has the key {described}: insert it instead",
            def.name
        ),
    )
}

/// Fails with `Conflict` when another table has an index that is called like one of the record's: SQL
/// finds an index by its name alone.
fn refuse_taken_names(inner: &Inner, shape: &Shape) -> Result<(), Error> {
    for def in inner.store().tables() {
        let others = def.name != netabase_sql::stored_name(shape.table()) && def.dropped.is_none();
        let mut indexes = shape.indexes().filter(|_| others);
        let taken = |name: &str| def.options.indexes.iter().any(|index| index.name == name);
        if let Some((name, _)) = indexes.find(|(name, _)| taken(name)) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "index \"{name}\" of table \"{}\" exists already, on table \"{}\": give the \
                     record's another name with index = \"…\"",
                    shape.table(),
                    def.name
                ),
            ));
        }
    }
    Ok(())
}

/// Makes the record's indexes that a table does not have.
async fn make_indexes(engine: &Engine, shape: &Shape, def: &TableDef) -> Result<(), Error> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    for (name, columns) in shape.indexes() {
        let there = def.options.indexes.iter().find(|index| index.name == name);
        if let Some(index) = there {
            let places = index.columns.iter();
            let there: Vec<&str> = places
                .map(|place| def.column_name(*place as usize))
                .collect();
            if there != columns {
                return Err(shape.index_differs(name));
            }
            continue;
        }
        let columns: Vec<String> = columns.into_iter().map(quoted).collect();
        let statement = format!(
            "CREATE INDEX {} ON {} ({})",
            quoted(name),
            netabase_sql::sql_name(shape.table()),
            columns.join(", ")
        );
        engine.sql(&statement).await?;
    }
    Ok(())
}
