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

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{FutureExt, TryStreamExt};

use crate::join_filter::runs_here;
use crate::pass_through::{Manner, PassThrough};

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
            let left: Plan = Arc::new(DeferExec::new(Arc::clone(join.left()), Deferred));
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
#[derive(Debug, Clone)]
pub(crate) struct Deferred;

pub(crate) type DeferExec = PassThrough<Deferred>;

impl Manner for Deferred {
    const NAME: &'static str = "DeferExec";

    fn execute(
        &self,
        input: &Plan,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (input, schema) = (Arc::clone(input), input.schema());
        let started = async move { input.execute(partition, context) };
        let rows = started.into_stream().try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
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
        let plan = DeferExec::new(Arc::new(input.unwrap()), Deferred);
        let stream = plan.execute(0, Arc::new(TaskContext::default())).unwrap();
        assert_eq!(started.load(Ordering::Relaxed), 0);
        let rows: Vec<_> = stream.try_collect().await.unwrap();
        assert!(rows.is_empty());
        assert_eq!(started.load(Ordering::Relaxed), 1);
    }
}
