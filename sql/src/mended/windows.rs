//! Windows whose rows wait for later ones.
//!
//! A window that cannot give a row yet asks for more input by calling itself: so many batches that wait, so many
//! calls deep. A large partition, or small batches, overflow the stack, which ends the process. An input that lets other
//! tasks run after some batches ends the calls, too.
//!
//! Invariant: rows and their order are those of the plan before.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::windows::BoundedWindowAggExec;

type Plan = Arc<dyn ExecutionPlan>;

/// Lets the inputs of windows yield. See the module.
#[derive(Debug)]
pub(super) struct Yielding;

impl PhysicalOptimizerRule for Yielding {
    fn optimize(&self, plan: Plan, _config: &ConfigOptions) -> Result<Plan> {
        plan.transform_up(|node| {
            let Some(window) = node.downcast_ref::<BoundedWindowAggExec>() else {
                return Ok(Transformed::no(node));
            };
            let input = Arc::clone(window.input());
            if input.is::<CooperativeExec>() {
                return Ok(Transformed::no(node));
            }
            let input: Plan = Arc::new(CooperativeExec::new(input));
            replace_children_if_necessary(node, vec![input]).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &str {
        "Yielding"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
