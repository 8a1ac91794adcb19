//! Groups that are taken for decided by some of the columns that they are made of.
//!
//! Of `SELECT k FROM u GROUP BY k`, k decides the row; joined with `t`, it decides the columns of that side. A
//! DISTINCT or GROUP BY over the join then says that k decides all that it gives, and DataFusion leaves out what k
//! seems to decide: further columns of ORDER BY, of a GROUP BY, and a DISTINCT over it.
//!
//! Invariant: the rules that ask what decides what are told of an aggregate only that all columns that it groups by do
//! so together. Non-goal: the columns that a SELECT may name without GROUP BY naming them.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Dependency, FunctionalDependence, FunctionalDependencies, Result};
use datafusion::logical_expr::{Aggregate, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::has_node;

/// The rules that ask, beside that of `stacked`.
pub(super) const ASKING: [&str; 3] = [
    "eliminate_duplicated_expr",
    "eliminate_join",
    "replace_distinct_aggregate",
];

/// One of them, with what is true. See the module.
#[derive(Debug)]
pub(super) struct Told(pub(super) Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for Told {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        // Those that look at each node by itself ask of these.
        let asks = self.0.apply_order().is_none()
            || matches!(plan, LogicalPlan::Sort(_) | LogicalPlan::Distinct(_));
        let plan = match asks {
            true => told(plan)?,
            false => plan,
        };
        self.0.rewrite(plan, config)
    }
}

fn told(plan: LogicalPlan) -> Result<LogicalPlan> {
    let is_wrong = has_node(
        &plan,
        |node| matches!(node, LogicalPlan::Aggregate(aggregate) if may_have_said(aggregate)),
    )?;
    if !is_wrong {
        return Ok(plan);
    }
    let told = plan.transform_up_with_subqueries(|node| {
        let node = match node.recompute_schema()? {
            LogicalPlan::Aggregate(aggregate) if says_too_much(&aggregate) => {
                LogicalPlan::Aggregate(decided_by_all(aggregate)?)
            }
            other => other,
        };
        Ok(Transformed::yes(node))
    })?;
    Ok(told.data)
}

/// Whether it says too much, or may have done so when what is above it was made.
fn may_have_said(aggregate: &Aggregate) -> bool {
    let below = aggregate.input.schema().functional_dependencies();
    aggregate.group_expr.len() > 1 && (says_too_much(aggregate) || !below.is_empty())
}

fn says_too_much(aggregate: &Aggregate) -> bool {
    let dependencies = aggregate.schema.functional_dependencies();
    let groups = aggregate.group_expr.len();
    dependencies
        .iter()
        .any(|dependency| dependency.source_indices.len() < groups)
}

fn decided_by_all(mut aggregate: Aggregate) -> Result<Aggregate> {
    let groups: Vec<usize> = (0..aggregate.group_expr.len()).collect();
    let fields = aggregate.schema.fields();
    let nullable = fields.iter().take(groups.len()).any(|f| f.is_nullable());
    let all = (0..fields.len()).collect();
    let by_all = FunctionalDependence::new(groups, all, nullable).with_mode(Dependency::Single);
    let schema = aggregate.schema.as_ref().clone();
    let dependencies = FunctionalDependencies::new(vec![by_all]);
    // To make it anew would compute them anew.
    aggregate.schema = Arc::new(schema.with_functional_dependencies(dependencies)?);
    Ok(aggregate)
}
