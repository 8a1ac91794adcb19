//! Tables whose rows are computed when they are read.
//!
//! Invariant: a table's columns, and the values of its rows, have the kinds that it declares; a value
//! of another kind is an error of the scan, not a panic.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, StringViewArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::internal_err;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::stream;

use super::Sources;
use crate::describe::COMMENT;
use crate::runtime::TIME_ZONE;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TEXT.
    Text,
    /// BIGINT, which every client knows.
    Number,
    /// BOOLEAN.
    Flag,
    /// TIMESTAMP(3) WITH TIME ZONE.
    Time,
}

/// A column of a system table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemColumn {
    pub(crate) name: &'static str,
    kind: Kind,
    nullable: bool,
    comment: &'static str,
}

/// A column without NULLs.
pub(super) const fn column(name: &'static str, kind: Kind, comment: &'static str) -> SystemColumn {
    SystemColumn {
        name,
        kind,
        nullable: false,
        comment,
    }
}

/// A column that may be NULL.
pub(super) const fn optional(
    name: &'static str,
    kind: Kind,
    comment: &'static str,
) -> SystemColumn {
    SystemColumn {
        name,
        kind,
        nullable: true,
        comment,
    }
}

impl SystemColumn {
    pub(crate) fn field(&self) -> Field {
        let data_type = match self.kind {
            Kind::Text => DataType::Utf8View,
            Kind::Number => DataType::Int64,
            Kind::Flag => DataType::Boolean,
            Kind::Time => DataType::Timestamp(TimeUnit::Millisecond, Some(TIME_ZONE.into())),
        };
        let comment = [(COMMENT.to_owned(), self.comment.to_owned())];
        Field::new(self.name, data_type, self.nullable).with_metadata(comment.into())
    }
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
    /// Milliseconds since 1970.
    Time(i64),
    Null,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The values of one row, in the order of the table's columns.
pub(super) type Row = Vec<Value>;

/// What computes a table's rows.
pub(super) type RowsOf = fn(&Sources, &TaskContext) -> Result<Vec<Row>>;

/// A table whose rows are computed.
pub(crate) struct SystemTable {
    pub(crate) name: &'static str,
    pub(super) comment: &'static str,
    pub(super) columns: &'static [SystemColumn],
    pub(super) rows: RowsOf,
}

impl fmt::Debug for SystemTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl SystemTable {
    pub(super) fn schema(&self) -> Schema {
        let fields: Vec<Field> = self.columns.iter().map(SystemColumn::field).collect();
        let comment = [(COMMENT.to_owned(), self.comment.to_owned())];
        Schema::new(fields).with_metadata(comment.into())
    }
}

/// A table as DataFusion reads it.
#[derive(Debug)]
struct Described {
    table: &'static SystemTable,
    schema: SchemaRef,
    sources: Sources,
}

/// A table as DataFusion reads it.
pub(crate) fn provider_of(
    table: &'static SystemTable,
    sources: &Sources,
) -> Arc<dyn TableProvider> {
    Arc::new(Described {
        table,
        schema: Arc::new(table.schema()),
        sources: sources.clone(),
    })
}

#[async_trait]
impl TableProvider for Described {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    /// The names of tables say which views have to be planned. They are not all that a condition says.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let pushed = filters.iter().map(|filter| match named(filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        });
        Ok(pushed.collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partition = Computed {
            table: self.table,
            schema: Arc::clone(&self.schema),
            sources: self.sources.clone(),
            only: filters.iter().find_map(named),
        };
        let rows = StreamingTable::try_new(Arc::clone(&self.schema), vec![Arc::new(partition)])?;
        rows.scan(state, projection, &[], limit).await
    }
}

/// The table that a condition asks for by its name.
fn named(filter: &Expr) -> Option<String> {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = filter
    else {
        return None;
    };
    let (column, value) = match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(value, _))
        | (Expr::Literal(value, _), Expr::Column(column)) => (column, value),
        _ => return None,
    };
    let name = value.try_as_str().flatten()?;
    (column.name == "table_name").then(|| name.to_owned())
}

/// The only partition of a system table.
struct Computed {
    table: &'static SystemTable,
    schema: SchemaRef,
    sources: Sources,
    /// The only table that is asked for.
    only: Option<String>,
}

impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table.fmt(f)
    }
}

impl PartitionStream for Computed {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (table, sources) = (self.table, self.sources.clone());
        let schema = Arc::clone(&self.schema);
        let only = self.only.clone();
        let rows = async move {
            let sources = match table.name {
                "columns" => sources.with_views(only.as_deref()).await,
                _ => sources,
            };
            let work = move || {
                let rows = (table.rows)(&sources, &context)?;
                batch(schema, table.columns, &rows)
            };
            // Looking at segments may read the disk.
            let done = SpawnedTask::spawn_blocking(work).await;
            done.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))?
        };
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            stream::once(rows),
        ))
    }
}

fn batch(schema: SchemaRef, columns: &[SystemColumn], rows: &[Row]) -> Result<RecordBatch> {
    let arrays = columns.iter().enumerate();
    let arrays = arrays.map(|(place, column)| array(column, rows.iter().map(|row| row.get(place))));
    let arrays = arrays.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(schema, arrays)?)
}

fn array<'a>(
    column: &SystemColumn,
    values: impl Iterator<Item = Option<&'a Value>>,
) -> Result<ArrayRef> {
    let SystemColumn { name, kind, .. } = column;
    macro_rules! collect {
        ($array:ty, $variant:ident, $value:ident => $read:expr) => {{
            let values = values.map(|value| match value {
                Some(Value::$variant($value)) => Ok(Some($read)),
                Some(Value::Null) => Ok(None),
                other => internal_err!("{name} has {other:?}, which is not of its kind {kind:?}"),
            });
            values.collect::<Result<$array>>()?
        }};
    }
    Ok(match kind {
        Kind::Text => Arc::new(collect!(StringViewArray, Text, text => text.as_str())),
        Kind::Number => Arc::new(collect!(Int64Array, Number, number => *number)),
        Kind::Flag => Arc::new(collect!(BooleanArray, Flag, flag => *flag)),
        Kind::Time => {
            let times = collect!(TimestampMillisecondArray, Time, time => *time);
            Arc::new(times.with_timezone(TIME_ZONE))
        }
    })
}
