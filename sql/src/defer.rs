//! A node that starts what is below it when it is first asked for rows.
//!
//! Purpose: gathering partitions starts tasks as soon as it is told to run, so that the collected
//! sides of all joins of a plan would be read at once. A filter that an outer join tells (see
//! `join_filter`) then comes too late for the inner ones: measured on query 7 of TPC-H, whole tables
//! were read and joined where a twelfth of them matched. A join asks for the side that it probes
//! after the collected one is complete; deferred, everything runs in that order.
//!
//! Invariant: rows, their order and their partitions are those of the input.
//! Non-goal: plans that other peers run parts of; there waiting in turn costs more than it saves.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, replace_children_if_necessary};
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan,
    PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};
use futures::{FutureExt, TryStreamExt};

use crate::join_filter::runs_here;
use crate::one_input::{only_child, only_statistics};

type Plan = Arc<dyn ExecutionPlan>;

/// Puts [`DeferExec`] on top of the gathered sides of joins.
#[derive(Debug)]
pub(crate) struct Defer;

impl PhysicalOptimizerRule for Defer {
    fn optimize(&self, plan: Plan, _config: &ConfigOptions) -> Result<Plan> {
        if !runs_here(&plan)? {
            return Ok(plan);
        }
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else {
                return Ok(Transformed::no(node));
            };
            let gathered = *join.partition_mode() == PartitionMode::CollectLeft
                && join.left().is::<CoalescePartitionsExec>();
            if !gathered {
                return Ok(Transformed::no(node));
            }
            let left: Plan = Arc::new(DeferExec::new(Arc::clone(join.left())));
            let children = vec![left, Arc::clone(join.right())];
            replace_children_if_necessary(node, children).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &str {
        "Defer"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Runs its input from the first poll on. See the module.
#[derive(Debug)]
pub(crate) struct DeferExec {
    input: Plan,
}

impl DeferExec {
    fn new(input: Plan) -> Self {
        Self { input }
    }
}

impl DisplayAs for DeferExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::TreeRender => Ok(()),
            _ => write!(f, "DeferExec"),
        }
    }
}

impl ExecutionPlan for DeferExec {
    fn name(&self) -> &'static str {
        "DeferExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
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
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Plan>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Plan> {
        let input = only_child(children, self.name())?;
        Ok(Arc::new(Self::new(input)))
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
        let input = Arc::clone(&self.input);
        let started = async move { input.execute(partition, context) };
        let rows = started.into_stream().try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
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

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use arrow::datatypes::{Schema, SchemaRef};
    use datafusion::physical_plan::EmptyRecordBatchStream;
    use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};

    use super::*;

    /// Counts how often it is told to run.
    #[derive(Debug)]
    struct Counting(SchemaRef, Arc<AtomicUsize>);

    impl PartitionStream for Counting {
        fn schema(&self) -> &SchemaRef {
            &self.0
        }

        fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
            self.1.fetch_add(1, Ordering::Relaxed);
            Box::pin(EmptyRecordBatchStream::new(Arc::clone(&self.0)))
        }
    }

    #[tokio::test]
    async fn nothing_runs_before_it_is_asked_for() {
        let started = Arc::new(AtomicUsize::new(0));
        let schema = Arc::new(Schema::empty());
        let rows = Arc::new(Counting(Arc::clone(&schema), Arc::clone(&started)));
        let input = StreamingTableExec::try_new(schema, vec![rows as _], None, [], false, None);
        let plan = DeferExec::new(Arc::new(input.unwrap()));
        let stream = plan.execute(0, Arc::new(TaskContext::default())).unwrap();
        assert_eq!(started.load(Ordering::Relaxed), 0);
        let rows: Vec<_> = stream.try_collect().await.unwrap();
        assert!(rows.is_empty());
        assert_eq!(started.load(Ordering::Relaxed), 1);
    }
}
