//! Totals with a FILTER above other totals.
//!
//! DataFusion answers `count(*)` from what is known of a table's size: below the last step of a total it looks for the
//! first one, through all that has one input. Where that has a FILTER it goes on, finds the first step of another
//! total, and puts that one's answer in the place of the upper one, which fails where it is called otherwise:
//! `SELECT sum(n) FILTER (WHERE n > 7) FROM (SELECT count(*) AS n FROM t)`.
//!
//! Invariant: a plan with such a total computes its totals; all others are DataFusion's.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNode;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode};

use super::PhysicalRule;

/// The rule that this one asks.
pub(super) const INSTEAD_OF: &str = "aggregate_statistics";

/// Answers totals from statistics but where another's would be taken. See the module.
#[derive(Debug)]
pub(super) struct OwnStatistics(pub(super) PhysicalRule);

impl PhysicalOptimizerRule for OwnStatistics {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match plan.exists(|node| Ok(is_filtered(node)))? {
            true => Ok(plan),
            false => self.0.optimize(plan, config),
        }
    }

    fn name(&self) -> &str {
        INSTEAD_OF
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// Whether it is the first step of a total that has a FILTER.
fn is_filtered(node: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
        return false;
    };
    aggregate.mode().input_mode() == AggregateInputMode::Raw
        && aggregate.group_expr().is_empty()
        && aggregate.filter_expr().iter().any(Option::is_some)
        && has_total_below(node)
}

/// Whether there is another aggregate among its only inputs.
fn has_total_below(node: &Arc<dyn ExecutionPlan>) -> bool {
    let mut node = node;
    while let [input] = node.children()[..] {
        if input.is::<AggregateExec>() {
            return true;
        }
        node = input;
    }
    false
}
