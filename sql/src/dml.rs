//! INSERT and DELETE.
//!
//! Purpose: both read their input as an ordinary query, and then write whole rows or keys.
//!
//! Invariant: DataFusion's own hooks for deleting are never used: they get filters that the
//! optimizer may have folded into nothing, which means "every row". Here a row is deleted only
//! because its key came out of the statement's own query.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::common::Column;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, WriteOp};
use futures::StreamExt;
use netabase_store::{Change, Error, TableDef};

use crate::assign::check_assignments;
use crate::engine::Engine;
use crate::error::{capacity, error_from_datafusion, invalid};
use crate::output::{Output, ScanInfo};
use crate::provider::ShardTable;
use crate::query::{Deadline, run};
use crate::write::{CheckedRows, NoOrigin, logical_bytes};

/// Runs a planned INSERT or DELETE; refuses every other write.
pub(crate) async fn execute(
    engine: &Engine,
    statement: DmlStatement,
    deadline: Deadline,
) -> Result<Output, Error> {
    let def = target(&statement)?;
    match &statement.op {
        WriteOp::Insert(InsertOp::Append) => insert(engine, def, &statement.input, deadline).await,
        WriteOp::Delete => delete(engine, def, &statement.input, deadline).await,
        other => Err(invalid(format!(
            "{other} is not supported: INSERT replaces rows by primary key, DELETE removes them"
        ))),
    }
}

/// The table that a statement writes.
fn target(statement: &DmlStatement) -> Result<Arc<TableDef>, Error> {
    let provider = source_as_provider(&statement.target).map_err(error_from_datafusion)?;
    match provider.downcast_ref::<ShardTable>() {
        Some(table) => Ok(Arc::clone(table.def())),
        None => Err(invalid(format!("{} is read-only", statement.table_name))),
    }
}

async fn insert(
    engine: &Engine,
    def: Arc<TableDef>,
    input: &LogicalPlan,
    deadline: Deadline,
) -> Result<Output, Error> {
    check_assignments(&def, input)?;
    let (rows, scans) = collect(engine, input, deadline, "INSERT").await?;
    write(engine, def, Change::Upsert, rows, scans).await
}

async fn delete(
    engine: &Engine,
    def: Arc<TableDef>,
    input: &LogicalPlan,
    deadline: Deadline,
) -> Result<Output, Error> {
    let keys = key_query(&def, input)?;
    let (rows, scans) = collect(engine, &keys, deadline, "DELETE").await?;
    write(engine, def, Change::Delete, rows, scans).await
}

/// The input of a DELETE, cut to the primary key.
fn key_query(def: &TableDef, input: &LogicalPlan) -> Result<LogicalPlan, Error> {
    let schema = input.schema();
    if schema.fields().len() != def.schema.fields().len() {
        return Err(invalid(format!(
            "this DELETE does not read the whole of table \"{}\"",
            def.name
        )));
    }
    let key = def.primary_key.iter().map(|index| {
        let column = Column::from(schema.qualified_field(*index));
        Expr::Column(column)
    });
    LogicalPlanBuilder::from(input.clone())
        .project(key.collect::<Vec<_>>())
        .and_then(LogicalPlanBuilder::build)
        .map_err(error_from_datafusion)
}

/// Runs a query to its end, within the memory that a statement may take.
async fn collect(
    engine: &Engine,
    plan: &LogicalPlan,
    deadline: Deadline,
    what: &str,
) -> Result<(Vec<RecordBatch>, Vec<ScanInfo>), Error> {
    let limit = engine.settings().max_insert_bytes;
    let output = run(engine, plan, deadline).await?;
    let scans = output.scans().to_vec();
    let mut stream = output.stream();
    let mut rows = Vec::new();
    let mut bytes = 0;
    while let Some(batch) = stream
        .next()
        .await
        .transpose()
        .map_err(error_from_datafusion)?
    {
        bytes += logical_bytes(&batch);
        if bytes > limit {
            return Err(capacity(format!(
                "this {what} takes more than {limit} bytes of rows: raise max_insert_bytes, or \
                 write fewer rows at once"
            )));
        }
        rows.push(batch);
    }
    Ok((rows, scans))
}

async fn write(
    engine: &Engine,
    def: Arc<TableDef>,
    change: Change,
    rows: Vec<RecordBatch>,
    scans: Vec<ScanInfo>,
) -> Result<Output, Error> {
    let checked = CheckedRows::check(def, change, rows, NoOrigin).await?;
    let receipt = checked.write(engine.cluster(), &mut |_, _| {}).await?;
    Output::written(receipt, scans)
}
