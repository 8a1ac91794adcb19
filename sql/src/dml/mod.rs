//! INSERT and DELETE; an UPDATE is an INSERT by the time it comes here.
//!
//! Purpose: both read their input as an ordinary query, and then write whole rows or keys.
//!
//! Invariant: DataFusion's own hooks for deleting are never used: they get filters that the
//! optimizer may have folded into nothing, which means "every row". Here a row is deleted only
//! because its key came out of the statement's own query.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::Column;
use datafusion::datasource::source_as_provider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, WriteOp};
use futures::StreamExt;
use netabase_store::{Change, Error, TableDef};
use tokio::sync::mpsc;

use crate::assign::check_assignments;
use crate::cluster::{BulkSink, WriteReceipt};
use crate::engine::Engine;
use crate::error::{capacity, error_from_datafusion, from_arrow, interrupted, invalid};
use crate::output::{Output, ScanInfo};
use crate::provider::ShardTable;
use crate::query::{Deadline, run};
use crate::write::{CheckedRows, NoOrigin, logical_bytes, without_duplicates};

/// Rows of an INSERT, in bytes, above which they go straight to segments, in bounded memory; fewer
/// are checked first, so that an error can name more.
const BULK_INSERT_BYTES: usize = 32 << 20;
/// Batches that wait for a bulk load.
const MAX_QUEUED_BATCHES: usize = 4;

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
            "a plan for {other} is not run: hand it over as SQL text"
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

/// Writes the rows of a plan that has the table's columns.
pub(crate) async fn insert(
    engine: &Engine,
    def: Arc<TableDef>,
    input: &LogicalPlan,
    deadline: Deadline,
) -> Result<Output, Error> {
    check_assignments(&def, input)?;
    let output = run(engine, input, deadline).await?;
    let scans = output.scans().to_vec();
    let mut stream = output.stream();
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = next_batch(&mut stream).await? {
        bytes += logical_bytes(&batch);
        rows.push(batch);
        if bytes > BULK_INSERT_BYTES
            && let Some(sink) = engine.cluster().bulk_sink(&def)?
        {
            let receipt = bulk_insert(sink, &def, rows, stream).await?;
            return Output::written(receipt, scans);
        }
        check_size(engine, bytes, "statement")?;
    }
    write(engine, def, Change::Upsert, rows, scans).await
}

/// Hands what was read so far, and the rest of a query, to a bulk load.
async fn bulk_insert(
    mut sink: Box<dyn BulkSink>,
    def: &TableDef,
    rows: Vec<RecordBatch>,
    mut rest: SendableRecordBatchStream,
) -> Result<WriteReceipt, Error> {
    let schema = Arc::clone(&def.schema);
    let (batches, mut received) = mpsc::channel::<RecordBatch>(MAX_QUEUED_BATCHES);
    let load = tokio::task::spawn_blocking(move || {
        while let Some(batch) = received.blocking_recv() {
            sink.push(&batch)?;
        }
        Ok::<_, Error>(sink)
    });
    let mut failed = None;
    for batch in rows {
        if send(&batches, &schema, batch).await?.is_break() {
            break;
        }
    }
    loop {
        match next_batch(&mut rest).await {
            Ok(Some(batch)) => {
                if send(&batches, &schema, batch).await?.is_break() {
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    drop(batches);
    let sink = load.await.map_err(|error| interrupted(&error))??;
    match failed {
        Some(error) => Err(error),
        None => tokio::task::spawn_blocking(move || sink.finish())
            .await
            .map_err(|error| interrupted(&error))?,
    }
}

/// Sends rows under the table's own names; breaks when the load has failed and takes no more.
async fn send(
    to: &mpsc::Sender<RecordBatch>,
    schema: &SchemaRef,
    rows: RecordBatch,
) -> Result<ControlFlow<()>, Error> {
    // NOT NULL is checked by the load, whose message is better.
    let nullable: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    let renamed = RecordBatch::try_new(Arc::new(Schema::new(nullable)), rows.columns().to_vec())
        .map_err(from_arrow)?;
    Ok(match to.send(renamed).await {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    })
}

async fn next_batch(stream: &mut SendableRecordBatchStream) -> Result<Option<RecordBatch>, Error> {
    let next = stream.next().await.transpose();
    next.map_err(error_from_datafusion)
}

fn check_size(engine: &Engine, bytes: usize, what: &str) -> Result<(), Error> {
    let limit = engine.settings().max_insert_bytes;
    if bytes <= limit {
        return Ok(());
    }
    Err(capacity(format!(
        "this {what} takes more than {limit} bytes of rows: raise max_insert_bytes, or write fewer \
         rows at once"
    )))
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

/// Removes the rows whose primary keys a query gives, perhaps several times.
pub(crate) async fn delete_keys(
    engine: &Engine,
    def: Arc<TableDef>,
    keys: &LogicalPlan,
    deadline: Deadline,
) -> Result<Output, Error> {
    let (rows, scans) = collect(engine, keys, deadline, "DELETE").await?;
    let owner = Arc::clone(&def);
    let rows = tokio::task::spawn_blocking(move || without_duplicates(&owner, &rows))
        .await
        .map_err(|error| interrupted(&error))??;
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
    let output = run(engine, plan, deadline).await?;
    let scans = output.scans().to_vec();
    let mut stream = output.stream();
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = next_batch(&mut stream).await? {
        bytes += logical_bytes(&batch);
        check_size(engine, bytes, what)?;
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
