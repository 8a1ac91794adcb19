//! `count(DISTINCT x)` beside a `sum`.
//!
//! DataFusion makes two steps of it: groups that have `x`, too, and groups of these. The sum of sums of a DECIMAL has
//! more digits than the sum, which whatever is above does not expect; and what the first step gives is called `alias1`
//! and so on, which the table may have as well.
//!
//! Invariant: such aggregates are computed as they are written.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::single_distinct_to_groupby::SingleDistinctToGroupBy;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// The rule that this one asks.
pub(super) const INSTEAD_OF: &str = "single_distinct_aggregation_to_group_by";
/// What the names of the rule begin with.
const NAMES: [&str; 2] = ["alias", "group_alias_"];

/// Makes groups of different values. See the module.
#[derive(Debug, Default)]
pub(super) struct SingleDistinct(SingleDistinctToGroupBy);

impl OptimizerRule for SingleDistinct {
    fn name(&self) -> &str {
        INSTEAD_OF
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match &plan {
            LogicalPlan::Aggregate(aggregate) if stays(aggregate) => Ok(Transformed::no(plan)),
            _ => self.0.rewrite(plan, config),
        }
    }
}

fn stays(aggregate: &Aggregate) -> bool {
    let schema = aggregate.input.schema();
    let grows = |expr: &Expr| match expr {
        Expr::AggregateFunction(call) if call.func.name() == "sum" => {
            let kind = expr.get_type(schema);
            kind.map_or(true, |kind: DataType| kind.is_decimal())
        }
        _ => false,
    };
    let is_taken = |name: &String| NAMES.iter().any(|taken| name.starts_with(taken));
    let mut names = schema.fields().iter().map(|field| field.name());
    aggregate.aggr_expr.iter().any(grows) || names.any(is_taken)
}
