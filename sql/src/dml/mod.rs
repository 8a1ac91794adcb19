//! Statements that change rows.
//!
//! Purpose: each is turned into a query, whose rows are completed by the table's rules, checked as a
//! whole, and then written; or whose keys are removed.
//!
//! Invariant: DataFusion's own hooks for deleting are never used: they get filters that the
//! optimizer may have folded into nothing, which means "every row". Here a row is changed only
//! because its key came out of the statement's own query.

mod assign;
mod change;
mod changing;
mod decide;
mod insert;
mod merge;
mod merge_returning;
mod returning;
mod rewrite;
mod row_sets;
mod rows;
mod rules;
mod typed;
mod unique;
mod unseen;
mod upsert;
mod with;

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::Column;
use datafusion::datasource::source_as_provider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, WriteOp};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Ident, Query, SelectItem, Statement as SqlStatement, UnaryOperator, With,
};
use futures::StreamExt;
use netabase_store::{Change, Error, TableDef};
use tokio::sync::mpsc;

pub(crate) use self::assign::check_assignments;
pub(crate) use self::changing::{
    Gathered, changes_in_with, changes_of, refuse_changes_inside, run as run_with_changes,
};
pub(crate) use self::rewrite::{
    as_rows, column, column_of, from_keyed, is_generated, item, parse_expr, quoted, select,
};
pub(crate) use self::rules::{ROW_ID, ROW_ID_BYTES, RowRules, check_expressions, named_schema};
pub(crate) use self::unique::{check as check_unique, check_unique_existing};
pub(crate) use self::unseen::{count, fill_unseen};
pub(crate) use self::with::change_of;
use crate::cluster::{BulkSink, WriteReceipt};
use crate::deadline::Deadline;
use crate::engine::{Engine, refuse_writes};
use crate::error::{capacity, error_from_datafusion, from_arrow, interrupted, invalid};
use crate::local::blocking;
use crate::output::{Output, ScanInfo};
use crate::provider::ShardTable;
use crate::query::run as run_query;
use crate::revision::has_checks_of;
use crate::scoped::Scoped;
use crate::write::{CheckedRows, NoOrigin, difference, logical_bytes, without_duplicates};

/// Rows of an INSERT, in bytes, above which they go straight to segments, in bounded memory; fewer
/// are checked first, so that an error can name more.
const BULK_INSERT_BYTES: usize = 32 << 20;
/// Batches that wait for a bulk load.
const MAX_QUEUED_BATCHES: usize = 4;

/// The table that a statement changes.
pub(crate) struct Target {
    /// Its definition.
    pub(crate) def: Arc<TableDef>,
    /// How it is called in the statement.
    pub(crate) label: Ident,
    /// What the statement gives back of the rows that it changed.
    pub(crate) returning: Option<Vec<SelectItem>>,
}

/// Runs a statement that changes rows, with the queries that a WITH before it names.
pub(crate) async fn run(
    engine: &Engine,
    statement: SqlStatement,
    with: Option<With>,
) -> Result<Output, Error> {
    with::refuse_unseen(with.as_ref(), &statement)?;
    match statement {
        SqlStatement::Insert(mut insert) => {
            with::into_source(insert.source.as_mut(), with)?;
            insert::insert(engine, insert).await
        }
        SqlStatement::Update(update) => change::update(engine, update, with).await,
        SqlStatement::Delete(delete) => change::delete(engine, delete, with).await,
        SqlStatement::Truncate(truncate) => change::truncate(engine, truncate).await,
        SqlStatement::Merge(merge) => merge::merge(engine, merge, with).await,
        other => Err(crate::statement::unsupported(&other)),
    }
}

/// Whether a statement changes the rows that a query of its own finds.
pub(crate) fn has_query(statement: &SqlStatement) -> bool {
    matches!(
        statement,
        SqlStatement::Insert(_)
            | SqlStatement::Update(_)
            | SqlStatement::Delete(_)
            | SqlStatement::Merge(_)
    )
}

/// The query of such a statement, planned; nothing is run.
pub(crate) async fn query_of(
    engine: &Engine,
    statement: SqlStatement,
    with: Option<With>,
    deadline: &Deadline,
) -> Result<LogicalPlan, Error> {
    match statement {
        SqlStatement::Insert(mut insert) => {
            with::into_source(insert.source.as_mut(), with)?;
            insert::query_of(engine, insert, deadline).await
        }
        SqlStatement::Update(update) => {
            let planned = change::plan_update(engine, (update, with), deadline).await?;
            Ok(planned.1.0)
        }
        SqlStatement::Delete(delete) => {
            let planned = change::plan_delete(engine, (delete, with), deadline).await?;
            Ok(planned.1.0)
        }
        SqlStatement::Merge(merge) => merge::query_of(engine, (merge, with), deadline).await,
        other => Err(crate::statement::unsupported(&other)),
    }
}

/// Runs a planned INSERT or DELETE; refuses every other write.
pub(crate) async fn execute(
    engine: &Engine,
    statement: DmlStatement,
    deadline: Deadline,
) -> Result<Output, Error> {
    let def = target_of(&statement)?;
    let target = Target {
        label: rewrite::quoted(&def.table_name()),
        def: Arc::clone(&def),
        returning: None,
    };
    let input = statement.input.as_ref().clone();
    match &statement.op {
        WriteOp::Insert(InsertOp::Append) => {
            let given = def.visible_columns();
            match given
                .iter()
                .find(|column| rewrite::is_generated(&def, **column))
            {
                Some(column) => Err(rewrite::generated_error(&def, *column)),
                None => write_query(engine, target, (input, given), deadline).await,
            }
        }
        WriteOp::Delete => {
            let keys = key_query(&def, &input)?;
            let columns = def.primary_key.clone();
            delete_rows(engine, target, (keys, columns), deadline).await
        }
        other => Err(invalid(format!(
            "a plan for {other} is not run: hand it over as SQL text"
        ))),
    }
}

/// The table that a planned statement writes.
fn target_of(statement: &DmlStatement) -> Result<Arc<TableDef>, Error> {
    let provider = source_as_provider(&statement.target).map_err(error_from_datafusion)?;
    match provider.downcast_ref::<ShardTable>() {
        Some(table) => Ok(Arc::clone(table.def())),
        None => Err(invalid(format!("{} is read-only", statement.table_name))),
    }
}

/// Plans a query that may name rows of this statement alone.
pub(crate) async fn plan_query(
    engine: &Engine,
    query: Query,
    scoped: Option<Scoped>,
    deadline: &Deadline,
) -> Result<LogicalPlan, Error> {
    let mut state = engine.state()?;
    if let Some(scoped) = scoped {
        scoped.enter(&mut state).map_err(error_from_datafusion)?;
    }
    let statement = Statement::Statement(Box::new(SqlStatement::Query(Box::new(query))));
    let plan = engine.plan_in(&state, statement, deadline).await?;
    refuse_writes(&plan)?;
    Ok(plan)
}

/// Writes the rows of a query that gives these columns of the table, in this order.
pub(crate) async fn write_query(
    engine: &Engine,
    target: Target,
    (input, given): (LogicalPlan, Vec<usize>),
    deadline: Deadline,
) -> Result<Output, Error> {
    let def = &target.def;
    check_assignments(def, &given, &input)?;
    let output = run_query(engine, &input, deadline).await?;
    let scans = output.scans().to_vec();
    write_stream(engine, target, (output.stream(), given), scans).await
}

/// Writes rows that have these columns of the table, in this order, as they come.
async fn write_stream(
    engine: &Engine,
    target: Target,
    (mut stream, given): (SendableRecordBatchStream, Vec<usize>),
    scans: Vec<ScanInfo>,
) -> Result<Output, Error> {
    let def = &target.def;
    let rules = RowRules::of(engine, def)?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = next_batch(&mut stream).await? {
        let batch = rules.complete(&given, &batch)?;
        bytes += logical_bytes(&batch);
        rows.push(batch);
        if bytes > BULK_INSERT_BYTES
            && target.returning.is_none()
            && let Some(sink) = engine.bulk_sink(def)?
        {
            let rest = Rest {
                stream,
                rules,
                given,
            };
            let receipt = bulk_insert(engine, (sink, def), rows, rest).await?;
            return Output::written(receipt, scans);
        }
        check_size(engine, bytes, "statement")?;
    }
    // It would keep what an open transaction has written from being changed in its place.
    drop(stream);
    write_rows(engine, target, rows, scans).await
}

/// The keys of all rows of a table.
pub(crate) async fn keys_of(
    engine: &Engine,
    def: &Arc<TableDef>,
    deadline: &Deadline,
) -> Result<Vec<RecordBatch>, Error> {
    let plan = plan_query(engine, all_keys(def)?, None, deadline).await?;
    let (rows, _) = collect(engine, &plan, *deadline, "statement").await?;
    Ok(rows)
}

/// The query for the keys of all rows of a table.
fn all_keys(def: &TableDef) -> Result<Query, Error> {
    let label = quoted(&def.table_name());
    let projection = def.primary_key.iter().map(|&place| {
        let name = def.column_name(place);
        item(column(&label, name), name)
    });
    let from = from_keyed(def, label.clone());
    select(projection.collect(), vec![from], None)
}

/// Whether there is a row that does not meet a condition.
pub(crate) async fn any_row(
    engine: &Engine,
    def: &TableDef,
    condition: SqlExpr,
) -> Result<bool, Error> {
    let label = quoted(&def.table_name());
    let fails = SqlExpr::UnaryOp {
        op: UnaryOperator::Not,
        expr: Box::new(condition),
    };
    let from = from_keyed(def, label.clone());
    let key = def
        .primary_key
        .first()
        .map_or("", |key| def.column_name(*key));
    let query = select(
        vec![item(column(&label, key), key)],
        vec![from],
        Some(fails),
    )?;
    finds(engine, (query, None), Deadline::none()).await
}

/// Whether a query, which may name rows of this statement alone, has a row.
pub(crate) async fn finds(
    engine: &Engine,
    (query, scoped): (Query, Option<Scoped>),
    deadline: Deadline,
) -> Result<bool, Error> {
    let plan = plan_query(engine, query, scoped, &deadline).await?;
    let plan = LogicalPlanBuilder::from(plan).limit(0, Some(1));
    let plan = plan.and_then(LogicalPlanBuilder::build);
    let plan = plan.map_err(error_from_datafusion)?;
    let (rows, _) = collect(engine, &plan, deadline, "check").await?;
    Ok(rows.iter().any(|rows| rows.num_rows() > 0))
}

/// Lets a table have these whole rows, and no others of those with known keys: writes what is new, and
/// removes what is left over.
pub(crate) async fn replace_rows(
    engine: &Engine,
    def: &Arc<TableDef>,
    rows: Vec<RecordBatch>,
    known: Vec<RecordBatch>,
) -> Result<WriteReceipt, Error> {
    let owner = Arc::clone(def);
    let work = move || difference(&owner, &rows, &known);
    let (new, gone) = blocking(work).await?;
    let new = CheckedRows::check(Arc::clone(def), Change::Upsert, new, NoOrigin).await?;
    let gone = CheckedRows::check(Arc::clone(def), Change::Delete, gone, NoOrigin).await?;
    engine.apply(vec![new, gone]).await
}

/// Writes whole rows, and answers RETURNING.
pub(crate) async fn write_rows(
    engine: &Engine,
    target: Target,
    rows: Vec<RecordBatch>,
    scans: Vec<ScanInfo>,
) -> Result<Output, Error> {
    finish(engine, target, Change::Upsert, (rows.clone(), rows), scans).await
}

/// Removes the rows whose keys are among these columns of a query's rows; some may come several times.
pub(crate) async fn delete_rows(
    engine: &Engine,
    target: Target,
    (plan, columns): (LogicalPlan, Vec<usize>),
    deadline: Deadline,
) -> Result<Output, Error> {
    let (rows, scans) = collect(engine, &plan, deadline, "DELETE").await?;
    let def = Arc::clone(&target.def);
    let work = move || delete_keys(&def, &columns, &rows);
    let (rows, keys) = blocking(work).await?;
    finish(engine, target, Change::Delete, (rows, keys), scans).await
}

/// The rows that are removed, each once, with all columns that are known of them; and their keys.
fn delete_keys(
    def: &TableDef,
    columns: &[usize],
    rows: &[RecordBatch],
) -> Result<(Vec<RecordBatch>, Vec<RecordBatch>), Error> {
    let place = |column: &usize| columns.iter().position(|other| other == column);
    let key: Vec<usize> = def.primary_key.iter().filter_map(place).collect();
    let (rows, keys) = without_duplicates(def, rows, &key)?;
    let schema = named_schema(def);
    let whole = rows.iter().map(|batch| {
        let columns = (0..schema.fields().len()).map(|column| {
            let values = place(&column).and_then(|place| batch.columns().get(place));
            values.cloned().unwrap_or_else(|| {
                let data_type = def.schema.field(column).data_type();
                arrow::array::new_null_array(data_type, batch.num_rows())
            })
        });
        RecordBatch::try_new(Arc::clone(&schema), columns.collect()).map_err(from_arrow)
    });
    Ok((whole.collect::<Result<_, _>>()?, keys))
}

/// Answers RETURNING over whole rows, and then writes what is to be written: an expression that fails
/// is found before.
async fn finish(
    engine: &Engine,
    target: Target,
    change: Change,
    (whole, written): (Vec<RecordBatch>, Vec<RecordBatch>),
    scans: Vec<ScanInfo>,
) -> Result<Output, Error> {
    let Target {
        def,
        label,
        returning,
    } = target;
    let returned = match returning {
        Some(items) => Some(returning::answer(engine, &def, (label, items), whole).await?),
        None => None,
    };
    let checked = CheckedRows::check(def, change, written, NoOrigin).await?;
    let receipt = engine.apply(vec![checked]).await?;
    match returned {
        Some((schema, rows)) => Ok(Output::returned(receipt, scans, schema, rows)),
        None => Output::written(receipt, scans),
    }
}

/// What a query still gives, and how it becomes rows.
struct Rest {
    stream: SendableRecordBatchStream,
    rules: RowRules,
    given: Vec<usize>,
}

impl Rest {
    async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        match next_batch(&mut self.stream).await? {
            Some(batch) => self.rules.complete(&self.given, &batch).map(Some),
            None => Ok(None),
        }
    }
}

/// Hands what was read so far, and the rest of a query, to a bulk load.
async fn bulk_insert(
    engine: &Engine,
    (mut sink, def): (Box<dyn BulkSink>, &TableDef),
    rows: Vec<RecordBatch>,
    mut rest: Rest,
) -> Result<WriteReceipt, Error> {
    let (batches, mut received) = mpsc::channel::<RecordBatch>(MAX_QUEUED_BATCHES);
    let load = tokio::task::spawn_blocking(move || {
        while let Some(batch) = received.blocking_recv() {
            sink.push(&batch)?;
        }
        Ok::<_, Error>(sink)
    });
    let mut failed = None;
    for batch in rows {
        if send(&batches, def, batch).await?.is_break() {
            break;
        }
    }
    loop {
        match rest.next().await {
            Ok(Some(batch)) => {
                if send(&batches, def, batch).await?.is_break() {
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
        None => {
            let (store, def) = (engine.store().clone(), def.clone());
            let finish = blocking(move || {
                has_checks_of(&store, &def)?;
                sink.finish()
            });
            engine.to_the_end(finish).await
        }
    }
}

/// Sends rows under the table's own names; breaks when the load has failed and takes no more.
async fn send(
    to: &mpsc::Sender<RecordBatch>,
    def: &TableDef,
    rows: RecordBatch,
) -> Result<ControlFlow<()>, Error> {
    // NOT NULL is checked by the load, whose message is better.
    let nullable: Vec<Field> = def
        .schema
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

/// The input of a DELETE, cut to the primary key.
fn key_query(def: &TableDef, input: &LogicalPlan) -> Result<LogicalPlan, Error> {
    let schema = input.schema();
    // Hidden keys are not in such a plan.
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
pub(crate) async fn collect(
    engine: &Engine,
    plan: &LogicalPlan,
    deadline: Deadline,
    what: &str,
) -> Result<(Vec<RecordBatch>, Vec<ScanInfo>), Error> {
    let output = run_query(engine, plan, deadline).await?;
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
