//! A table as a transaction sees it: what is stored, without the keys that it changed, and its own rows.
//!
//! Idea: an anti join and a union of DataFusion's, so that every rule knows them, and peers can run
//! them. Invariant: of each key there is one row at most.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{JoinType, NullEquality};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::expressions::Column;
use datafusion::physical_plan::filter::batch_filter;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use netabase_store::TableId;

use super::{Changes, Pending};
use crate::cluster::ScanRequest;
use crate::error::{error_to_datafusion, invalid};

type Plan = Arc<dyn ExecutionPlan>;

/// What a request reads, seen with the changes of a transaction. `scan` makes the scan of a request.
pub(crate) fn overlay(
    changes: &Changes,
    request: ScanRequest,
    scan: impl FnOnce(ScanRequest) -> Result<Plan>,
) -> Result<Plan> {
    let id: TableId = request.def.id;
    let Some(pending) = changes.0.get(&id) else {
        return scan(request);
    };
    let wanted = request.projection.clone();
    let own = own_rows(pending, &request)?;
    let mut all = request;
    // The keys are read besides, to be compared; a limit holds for the whole only.
    for column in &all.def.primary_key {
        if !all.projection.contains(column) {
            all.projection.push(*column);
        }
    }
    all.fetch = None;
    let (def, projection) = (Arc::clone(&all.def), all.projection.clone());
    let stored = scan(all)?;
    let keys = pending.keys().map_err(error_to_datafusion)?;
    let keys = memory(&def.key_schema(), keys)?;
    let on = def.primary_key.iter().enumerate().map(|(place, column)| {
        let there = projection
            .iter()
            .position(|other| other == column)
            .unwrap_or(0);
        (name_at(&keys, place), name_at(&stored, there))
    });
    let on: Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)> = on.collect();
    let kept: Plan = Arc::new(HashJoinExec::try_new(
        keys,
        stored,
        on,
        None,
        &JoinType::RightAnti,
        None,
        PartitionMode::CollectLeft,
        NullEquality::NullEqualsNothing,
        false,
    )?);
    let columns = (0..wanted.len()).map(|place| {
        let name = kept.schema().field(place).name().clone();
        (name_at(&kept, place), name)
    });
    let columns: Vec<_> = columns.collect();
    let kept: Plan = Arc::new(ProjectionExec::try_new(columns, kept)?);
    match own {
        Some(own) => UnionExec::try_new(vec![kept, own]),
        None => Ok(kept),
    }
}

fn name_at(plan: &Plan, place: usize) -> Arc<dyn PhysicalExpr> {
    let name = plan.schema().field(place).name().clone();
    Arc::new(Column::new(&name, place))
}

fn memory(schema: &SchemaRef, rows: Vec<RecordBatch>) -> Result<Plan> {
    Ok(MemorySourceConfig::try_new_exec(
        &[rows],
        Arc::clone(schema),
        None,
    )?)
}

/// The transaction's own rows that a request would read.
fn own_rows(pending: &Pending, request: &ScanRequest) -> Result<Option<Plan>> {
    if pending.has_rows() && reads_provenance(request) {
        return Err(error_to_datafusion(invalid(format!(
            "rows that this transaction has written into table \"{}\" have no _version, _author and \
             _expires yet: COMMIT first",
            request.def.name
        ))));
    }
    let schema = request.output_schema()?;
    let mut rows = Vec::new();
    for batch in pending.rows().map_err(error_to_datafusion)? {
        let batch = match &request.predicate {
            Some(predicate) => batch_filter(&batch, predicate)?,
            None => batch,
        };
        if batch.num_rows() > 0 {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let columns = batch.project(&request.projection)?.columns().to_vec();
            let (schema, options) = (Arc::clone(&schema), &options);
            rows.push(RecordBatch::try_new_with_options(schema, columns, options)?);
        }
    }
    if rows.is_empty() {
        return Ok(None);
    }
    memory(&schema, rows).map(Some)
}

/// Whether a request needs columns behind those of the table. A statement that names one has them in
/// the schema of each of its tables.
fn reads_provenance(request: &ScanRequest) -> bool {
    let own = request.def.schema.fields().len();
    let mut columns = request.projection.iter().copied().collect::<HashSet<_>>();
    if let Some(predicate) = &request.predicate {
        let used = collect_columns(predicate);
        columns.extend(used.iter().map(Column::index));
    }
    columns.into_iter().any(|column| column >= own)
}
