//! Filters that drop columns, below a projection.
//!
//! A filter may leave out columns of its input that only its condition reads. DataFusion moves a projection below such
//! a filter as if it were one that leaves nothing out: it looks for the condition's columns among those that the filter
//! gives. Where two tables have columns of one name, another column may stand at the place, and the
//! answer is wrong: `SELECT b.v + b.k + b.w, b.v FROM t a FULL JOIN t b ON a.w = b.k WHERE coalesce(a.v, 0) <> 5`.
//! Mostly it fails, for the names are compared.
//!
//! Invariant: before projections are moved, a filter leaves nothing out, and a projection above it does; the same rule
//! puts them together again.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::PhysicalRule;

type Plan = Arc<dyn ExecutionPlan>;

/// The rule that this one asks.
pub(super) const INSTEAD_OF: &str = "ProjectionPushdown";

/// Moves projections down. See the module.
#[derive(Debug)]
pub(super) struct Swapped(pub(super) PhysicalRule);

impl PhysicalOptimizerRule for Swapped {
    fn optimize(&self, plan: Plan, config: &ConfigOptions) -> Result<Plan> {
        let apart = plan.transform_up(apart).data()?;
        self.0.optimize(apart, config)
    }

    fn name(&self) -> &str {
        INSTEAD_OF
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// A filter that leaves nothing out, below what does.
fn apart(node: Plan) -> Result<Transformed<Plan>> {
    let Some(filter) = node.downcast_ref::<FilterExec>() else {
        return Ok(Transformed::no(node));
    };
    let Some(given) = filter.projection().as_ref() else {
        return Ok(Transformed::no(node));
    };
    let fields = filter.schema();
    let columns = given.iter().zip(fields.fields()).map(|(place, field)| {
        let expr = Arc::new(Column::new(field.name(), *place));
        ProjectionExpr::new(expr, field.name())
    });
    let columns: Vec<ProjectionExpr> = columns.collect();
    let whole = FilterExecBuilder::from(filter).apply_projection(None)?;
    let projection = ProjectionExec::try_new(columns, Arc::new(whole.build()?))?;
    Ok(Transformed::yes(Arc::new(projection)))
}
