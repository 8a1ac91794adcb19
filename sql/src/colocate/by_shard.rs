//! A node that says where rows are, in place of one that moves them.
//!
//! Invariant: rows, their order and their partitions are those of the input. Only [`super::CoLocate`]
//! makes it, where rows that agree on its keys are in one partition.
//!
//! Non-goal: travelling to another peer, whose shards may be others.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::{
    ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan,
    ExecutionPlanProperties, PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};

use crate::one_input::{only_child, only_statistics};

type Plan = Arc<dyn ExecutionPlan>;

/// Declares that rows which agree on its keys are in one partition. They lie so by shard; the hash
/// is the store's, not DataFusion's.
#[derive(Debug, Clone)]
pub struct ByShardExec {
    input: Plan,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    properties: Arc<PlanProperties>,
}

impl ByShardExec {
    fn new(input: Plan, keys: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::clone(input.properties())
            .with_partitioning(Partitioning::Hash(keys.clone(), partitions));
        Self {
            input,
            keys,
            properties: Arc::new(properties),
        }
    }

    /// The plan, known to lie by `keys`. A declaration below is replaced.
    pub(super) fn declare(plan: Plan, keys: Vec<Arc<dyn PhysicalExpr>>) -> Plan {
        let input = match plan.downcast_ref::<Self>() {
            Some(declared) => Arc::clone(&declared.input),
            None => plan,
        };
        Arc::new(Self::new(input, keys))
    }
}

impl DisplayAs for ByShardExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        let keys = keys.join(", ");
        match format {
            DisplayFormatType::TreeRender => writeln!(f, "keys={keys}"),
            _ => write!(
                f,
                "ByShardExec: keys=[{keys}], partitions={}",
                self.properties.output_partitioning().partition_count()
            ),
        }
    }
}

impl ExecutionPlan for ByShardExec {
    fn name(&self) -> &'static str {
        "ByShardExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Plan> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut next = TreeNodeRecursion::Continue;
        for key in &self.keys {
            next = f(key)?;
            if next == TreeNodeRecursion::Stop {
                break;
            }
        }
        Ok(next)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Plan>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Plan> {
        let input = only_child(children, self.name())?;
        Ok(Arc::new(Self::new(input, self.keys.clone())))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Plan>) -> Result<Plan> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        only_statistics(inputs, self.name())
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Plan>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }
}
