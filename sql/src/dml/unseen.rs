//! Rows of a table that nobody sees yet.
//!
//! Idea: such a table may have some of its rows for a while, so that they are written as they come, in
//! bounded memory, wherever the table is. Invariant: all rows of the query are there at the end, each
//! with a key of its own, or it fails.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlan;
use netabase_store::{Change, Error, TableDef};

use super::rewrite::{from_keyed, item, parse_expr, quoted, select};
use super::rules::RowRules;
use super::{
    BULK_INSERT_BYTES, Rest, bulk_insert, check_assignments, check_unique_existing, collect,
    plan_query,
};
use crate::cluster::WriteReceipt;
use crate::deadline::Deadline;
use crate::engine::Engine;
use crate::error::{conflict, error_from_datafusion};
use crate::output::ScanInfo;
use crate::query::run as run_query;
use crate::write::{CheckedRows, NoOrigin, logical_bytes, sum_receipts};

/// Writes the rows of a query, which gives these columns of an unfinished table. It takes as long as it
/// takes.
pub(crate) async fn fill_unseen(
    engine: &Engine,
    def: &Arc<TableDef>,
    (plan, given): (LogicalPlan, Vec<usize>),
) -> Result<(WriteReceipt, Vec<ScanInfo>), Error> {
    check_assignments(def, &given, &plan)?;
    let output = run_query(engine, &plan, Deadline::none()).await?;
    let scans = output.scans().to_vec();
    let mut rest = Rest {
        stream: output.stream(),
        rules: RowRules::of(engine, def)?,
        given,
    };
    let (mut rows, mut bytes, mut receipts) = (Vec::new(), 0, Vec::new());
    while let Some(batch) = rest.next().await? {
        bytes += logical_bytes(&batch);
        rows.push(batch);
        if bytes <= BULK_INSERT_BYTES {
            continue;
        }
        if receipts.is_empty()
            && let Some(sink) = engine.bulk_sink(def)?
        {
            return Ok((bulk_insert(engine, (sink, def), rows, rest).await?, scans));
        }
        receipts.push(write(engine, def, std::mem::take(&mut rows)).await?);
        bytes = 0;
    }
    receipts.push(write(engine, def, rows).await?);
    let several = receipts.len() > 1;
    let receipt = sum_receipts(receipts);
    if several && count(engine, def).await? != receipt.rows {
        return Err(conflict(format!(
            "a key of table \"{}\" appears twice; nothing was written",
            def.name
        )));
    }
    for index in &def.options.indexes {
        if def.options.rules.unique.contains(&index.name) {
            let columns: Vec<usize> = index.columns.iter().map(|place| *place as usize).collect();
            check_unique_existing(engine, def, &columns).await?;
        }
    }
    Ok((receipt, scans))
}

async fn write(
    engine: &Engine,
    def: &Arc<TableDef>,
    rows: Vec<RecordBatch>,
) -> Result<WriteReceipt, Error> {
    let checked = CheckedRows::check(Arc::clone(def), Change::Upsert, rows, NoOrigin).await?;
    checked.write(engine.cluster(), &mut |_, _| {}).await
}

/// How many rows a table has.
pub(crate) async fn count(engine: &Engine, def: &TableDef) -> Result<u64, Error> {
    let from = from_keyed(def, quoted(&def.table_name()));
    let query = select(
        vec![item(parse_expr("count(*)")?, "rows")],
        vec![from],
        None,
    )?;
    let deadline = Deadline::none();
    let plan = plan_query(engine, query, None, &deadline).await?;
    let (rows, _) = collect(engine, &plan, deadline, "count").await?;
    let counts = rows.iter().filter(|rows| rows.num_rows() > 0);
    let mut count = counts.map(|rows| ScalarValue::try_from_array(rows.column(0), 0));
    match count
        .next_back()
        .transpose()
        .map_err(error_from_datafusion)?
    {
        Some(ScalarValue::Int64(Some(count))) => Ok(count.unsigned_abs()),
        _ => Ok(0),
    }
}
