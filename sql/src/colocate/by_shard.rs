//! A node that says where rows are, in place of one that moves them.
//!
//! Invariant: rows, their order and their partitions are those of the input. Only [`super::CoLocate`]
//! makes it, where rows that agree on its keys are in one partition.
//!
//! Non-goal: travelling to another peer, whose shards may be others.

use std::sync::Arc;

use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PlanProperties};

use crate::pass_through::{Manner, PassThrough};

type Plan = Arc<dyn ExecutionPlan>;

/// Declares that rows which agree on its keys are in one partition. They lie so by shard; the hash
/// is the store's, not DataFusion's.
pub type ByShardExec = PassThrough<ByShard>;

/// The keys of a [`ByShardExec`].
#[derive(Debug, Clone)]
pub struct ByShard {
    keys: Vec<Arc<dyn PhysicalExpr>>,
}

impl Manner for ByShard {
    const NAME: &'static str = "ByShardExec";

    fn properties(&self, input: &Plan) -> Arc<PlanProperties> {
        let partitions = input.output_partitioning().partition_count();
        let keys = Partitioning::Hash(self.keys.clone(), partitions);
        Arc::new(PlanProperties::clone(input.properties()).with_partitioning(keys))
    }

    fn expressions(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.keys
    }

    fn details(&self, properties: &PlanProperties) -> Option<String> {
        let partitions = properties.output_partitioning().partition_count();
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        let keys = keys.join(", ");
        Some(format!("keys=[{keys}], partitions={partitions}"))
    }
}

impl ByShardExec {
    /// The plan, known to lie by `keys`. A declaration below is replaced.
    pub(super) fn declare(plan: Plan, keys: Vec<Arc<dyn PhysicalExpr>>) -> Plan {
        let input = match plan.downcast_ref::<Self>() {
            Some(declared) => Arc::clone(declared.input()),
            None => plan,
        };
        Arc::new(Self::new(input, ByShard { keys }))
    }
}
