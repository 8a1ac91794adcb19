//! RETURNING: a query over the rows that a statement changes.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::sql::sqlparser::ast::{Ident, SelectItem};
use netabase_store::{Error, TableDef};

use super::rewrite::select;
use super::{collect, named_schema, plan_query};
use crate::engine::Engine;
use crate::error::{error_from_datafusion, from_arrow};
use crate::scoped::{Scoped, relation};

/// The name of the rows in the query's own catalog.
const ROWS: &str = "changed";

/// What the items give for whole rows of the table, which is called `label` in them.
pub(super) async fn answer(
    engine: &Engine,
    def: &TableDef,
    (label, items): (Ident, Vec<SelectItem>),
    rows: Vec<RecordBatch>,
) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
    let deadline = engine.deadline();
    let visible = def.visible_columns();
    let schema = named_schema(def).project(&visible).map_err(from_arrow)?;
    let seen = rows.iter().map(|batch| batch.project(&visible));
    let seen = seen.collect::<Result<Vec<_>, _>>().map_err(from_arrow)?;
    let scoped = Scoped::default().with(ROWS, &schema.into(), seen);
    let scoped = scoped.map_err(error_from_datafusion)?;
    let query = select(items, vec![relation(ROWS, label)], None)?;
    let plan = plan_query(engine, query, Some(scoped), &deadline).await?;
    let schema = plan.schema().inner().clone();
    let (rows, _) = collect(engine, &plan, deadline, "RETURNING").await?;
    Ok((schema, rows))
}
