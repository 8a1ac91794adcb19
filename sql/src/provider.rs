//! A table as DataFusion sees it.
//!
//! Purpose: [`ShardTable`] plans scans through the [`Cluster`].
//!
//! Invariant: it declares no primary key to the planner (nothing DataFusion infers from one may
//! decide an answer) and offers none of the write hooks: rows change only through this crate's
//! own statements.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use netabase_store::TableDef;

use crate::cluster::{Cluster, ScanRequest};
use crate::error::error_to_datafusion;
use crate::output::{ScanInfo, ScanLog};
use crate::shard_scan::ShardScan;

/// One table of the store.
#[derive(Debug)]
pub(crate) struct ShardTable {
    def: Arc<TableDef>,
    cluster: Arc<dyn Cluster>,
}

impl ShardTable {
    pub(crate) fn new(def: Arc<TableDef>, cluster: Arc<dyn Cluster>) -> Self {
        Self { def, cluster }
    }

    pub(crate) fn def(&self) -> &Arc<TableDef> {
        &self.def
    }
}

#[async_trait]
impl TableProvider for ShardTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.def.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters.iter().map(|filter| pushdown_of(filter)).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.def.schema.fields().len()).collect(),
        };
        let predicate = match conjunction(filters.iter().cloned()) {
            Some(filter) => {
                let filter = unqualified(filter)?;
                let schema = DFSchema::try_from(Arc::clone(&self.def.schema))?;
                Some(state.create_physical_expr(filter, &schema)?)
            }
            None => None,
        };
        let source = self
            .cluster
            .plan_scan(&self.def, state.config().target_partitions().max(1))
            .map_err(error_to_datafusion)?;
        if let Some(log) = state.config().get_extension::<ScanLog>() {
            log.record(ScanInfo::new(&self.def, source.as_ref()));
        }
        let def = Arc::clone(&self.def);
        let request = ScanRequest {
            def,
            projection,
            predicate,
            fetch: limit,
            answer: None,
        };
        Ok(ShardScan::new(request, source)?.into_exec())
    }
}

/// Whether the scan can answer a filter on its own. What it takes, it checks for every row.
fn pushdown_of(filter: &Expr) -> TableProviderFilterPushDown {
    let mut simple = !filter.is_volatile();
    // The closure never fails, so the traversal does not either.
    let _ = filter.apply(|expr| {
        let subquery = matches!(
            expr,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
        );
        if subquery {
            simple = false;
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    if simple {
        TableProviderFilterPushDown::Exact
    } else {
        TableProviderFilterPushDown::Unsupported
    }
}

/// Drops table qualifiers: the filter is resolved against this table's schema alone.
fn unqualified(filter: Expr) -> Result<Expr> {
    use datafusion::common::Column;
    use datafusion::common::tree_node::Transformed;
    let plain = filter.transform(|expr| match expr {
        Expr::Column(column) if column.relation.is_some() => Ok(Transformed::yes(Expr::Column(
            Column::new_unqualified(column.name),
        ))),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plain.data)
}
