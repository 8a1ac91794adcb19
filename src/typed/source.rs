//! What the rows of a record are read from: a table, by key where it can be, or a view.
//!
//! Invariant: a source has what the record needs of it, under the names and in the types that it has now.
//! Non-goal: writing, for which a table has to have more.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::{ScalarValue, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, ident, lit};
use netabase_sql::{Engine, error_from_datafusion};
use netabase_store::{Error, ErrorKind, QualifiedName, TableDef};

use super::Record;
use super::error::ConversionError;
use super::layout::in_layout;
use super::shape::ColumnShape;
use crate::answer::Answer;
use crate::database::Inner;
use crate::watched::count_retries;

/// The definition of the record's table. Fails with `NotFound`.
pub(super) fn definition<R: Record>(inner: &Inner) -> Result<Arc<TableDef>, Error> {
    let name = R::shape().table();
    inner.live_table(name).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("table \"{name}\" does not exist: Table::create makes it from its record"),
        )
    })
}

/// What records are read from.
pub(super) enum Source {
    Table(Arc<TableDef>),
    /// The columns of a view are those of its query, not of its definition.
    View(Arc<TableDef>, SchemaRef),
}

impl Source {
    /// Fails if the record cannot be read from it.
    pub(super) async fn of<R: Record>(inner: &Inner, engine: &Engine) -> Result<Self, Error> {
        let def = definition::<R>(inner)?;
        if def.options.rules.view.is_none() {
            R::shape().check_readable(&def)?;
            return Ok(Self::Table(def));
        }
        let view = engine.context().table_provider(reference(&def.name)).await;
        let schema = view.map_err(error_from_datafusion)?.schema();
        R::shape().check_view(&schema)?;
        Ok(Self::View(def, schema))
    }

    pub(super) fn def(&self) -> &Arc<TableDef> {
        match self {
            Self::Table(def) | Self::View(def, _) => def,
        }
    }

    /// The names of the record's columns that are there.
    pub(super) fn known<R: Record>(&self) -> impl Iterator<Item = &'static str> {
        let names = R::shape().columns().iter().map(ColumnShape::name);
        names.filter(|name| match self {
            Self::Table(def) => def.column_named(name).is_some(),
            Self::View(_, schema) => schema.index_of(name).is_ok(),
        })
    }
}

/// A key as its table keeps it.
pub(super) fn stored_key(def: &TableDef, key: &RecordBatch) -> Result<RecordBatch, Error> {
    let schema = def.key_schema();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(key.num_columns());
    for (column, field) in key.columns().iter().zip(schema.fields()) {
        let column = in_layout(column, field.data_type());
        let misfit = |misfit| ConversionError::of_column(&def.name, field.name(), misfit);
        columns.push(column.map_err(misfit)?);
    }
    let key = RecordBatch::try_new(schema, columns)
        .map_err(|error| ConversionError::of_table(&def.name, error.to_string()))?;
    // A key that the table would not take is that of no row.
    Ok(netabase_sql::key_as_kept(def, key.clone()).unwrap_or(key))
}

/// The row of a key, with the columns that the record has.
pub(super) async fn row_of<R: Record>(
    inner: &Arc<Inner>,
    engine: &Engine,
    source: &Source,
    key: &RecordBatch,
) -> Result<Option<RecordBatch>, Error> {
    let key = match source {
        Source::Table(def) => {
            let key = stored_key(def, key)?;
            // A transaction has rows that are not stored yet.
            if !engine.in_transaction() && inner.is_read_here(def, &key)? {
                let places = source
                    .known::<R>()
                    .filter_map(|name| def.column_named(name));
                let places: Vec<usize> = places.collect();
                let row = inner.stored_row(def, key).await?;
                return row.map(|row| named(def, &row, &places)).transpose();
            }
            key
        }
        Source::View(..) => key.clone(),
    };
    let mut filter = lit(true);
    for (values, column) in key.columns().iter().zip(R::shape().key_columns()) {
        let value = ScalarValue::try_from_array(values, 0).map_err(error_from_datafusion)?;
        filter = filter.and(ident(column.name()).eq(lit(value)));
    }
    let columns = source.known::<R>().map(ident).collect();
    let (inner, table) = (Arc::clone(inner), &source.def().name);
    let answer = answer((inner, engine), table, Some(filter), columns).await?;
    let batches = answer.collect().await?.into_batches();
    Ok(batches.into_iter().find(|batch| batch.num_rows() > 0))
}

/// Some columns of a stored row, under the names that they have now.
fn named(def: &TableDef, row: &RecordBatch, places: &[usize]) -> Result<RecordBatch, Error> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(places.len());
    let mut fields = Vec::with_capacity(places.len());
    for place in places {
        if let Some(column) = row.columns().get(*place) {
            fields.push(Field::new(
                def.column_name(*place),
                column.data_type().clone(),
                true,
            ));
            columns.push(Arc::clone(column));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| ConversionError::of_table(&def.name, error.to_string()).into())
}

/// Starts a query of one table.
pub(super) async fn answer(
    (inner, engine): (Arc<Inner>, &Engine),
    table: &str,
    filter: Option<Expr>,
    columns: Vec<Expr>,
) -> Result<Answer, Error> {
    let started = Instant::now();
    let plan = plan(engine, table, filter, columns).await?;
    let (output, retries) = count_retries(engine.query_plan(plan)).await;
    Ok(Answer::new(inner, output?, started, retries))
}

async fn plan(
    engine: &Engine,
    table: &str,
    filter: Option<Expr>,
    columns: Vec<Expr>,
) -> Result<LogicalPlan, Error> {
    let name = reference(table);
    let provider = engine.context().table_provider(name.clone()).await;
    let build = |provider| {
        let scan = LogicalPlanBuilder::scan(name, provider_as_source(provider), None)?;
        let rows = match filter {
            Some(filter) => scan.filter(filter)?,
            None => scan,
        };
        rows.project(columns)?.build()
    };
    provider.and_then(build).map_err(error_from_datafusion)
}

/// The name of a table for the planner, from one as the store writes it.
fn reference(table: &str) -> TableReference {
    let name = QualifiedName::parse(table).unwrap_or_else(|| QualifiedName::bare(table));
    match name.schema {
        Some(schema) => TableReference::partial(schema, name.table),
        None => TableReference::bare(name.table),
    }
}
