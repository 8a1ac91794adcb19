//! Joins with a small table, executed where the rows of the other side are.
//!
//! A partitioned join moves both sides over the network. When the build side is one small table,
//! every task can as well read all of it and join its own part of the probe side in place; the rows
//! of the probe side stay where they are. datafusion-distributed runs a join that collects its build
//! side as a single task unless it may broadcast, and its broadcasts are switched off (a LIMIT below
//! one is applied per consumer), so the build side is hidden inside a node of our own: a scan that
//! reads all shards wherever it runs.
//!
//! Invariant: only join types that never emit rows of the build side by themselves, and only below
//! parents that do not depend on how the join's output is partitioned.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{JoinType, Result, exec_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions,
};

use crate::source::ClusterSource;

/// Most rows of a table that every task reads for itself.
const MAX_BUILD_ROWS: u64 = 32 * 1024;

/// A hash join whose build side every task reads whole. Its only child is the probe side.
#[derive(Debug)]
pub(crate) struct LookupJoinExec {
    join: HashJoinExec,
}

impl LookupJoinExec {
    fn new(join: HashJoinExec) -> Self {
        Self { join }
    }

    /// The hidden build side.
    pub(crate) fn build(&self) -> &Arc<dyn ExecutionPlan> {
        self.join.left()
    }

    /// The join with an empty probe side, for encoding.
    pub(crate) fn without_probe(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let probe = self.join.right();
        let partitions = probe.output_partitioning().partition_count();
        let empty = EmptyExec::new(probe.schema()).with_partitions(partitions);
        Ok(Arc::new(rebuilt(&self.join, Arc::new(empty))?))
    }

    /// Reverses [`without_probe`](Self::without_probe).
    pub(crate) fn with_probe(
        decoded: &Arc<dyn ExecutionPlan>,
        probe: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        match decoded.downcast_ref::<HashJoinExec>() {
            Some(join) if fits(join, PartitionMode::CollectLeft) => {
                Ok(Self::new(rebuilt(join, probe)?))
            }
            _ => exec_err!("a lookup join of another peer holds no lookup join"),
        }
    }
}

fn rebuilt(join: &HashJoinExec, probe: Arc<dyn ExecutionPlan>) -> Result<HashJoinExec> {
    let children = vec![Arc::clone(join.left()), probe];
    join.builder().with_new_children(children)?.build()
}

/// Whether copies of the build side in several tasks cannot show in the result.
fn fits(join: &HashJoinExec, mode: PartitionMode) -> bool {
    let probe_only = matches!(
        join.join_type(),
        JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti
    );
    probe_only && join.mode == mode && !join.null_aware
}

impl DisplayAs for LookupJoinExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LookupJoinExec: ")?;
        self.join.fmt_as(t, f)?;
        write!(f, ", build=[")?;
        let mut node = self.build();
        while let Some(child) = node.children().first() {
            node = child;
        }
        node.fmt_as(t, f)?;
        write!(f, "]")
    }
}

impl ExecutionPlan for LookupJoinExec {
    fn name(&self) -> &'static str {
        "LookupJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.join.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.join.right()]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.join.apply_expressions(f)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(probe), true) => Ok(Arc::new(Self::new(rebuilt(&self.join, probe)?))),
            _ => internal_err!("a lookup join has one child"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.join.execute(partition, context)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.join.metrics()
    }
}

/// Turns partitioned joins with small tables into lookup joins, wherever that is safe.
pub(crate) fn use_lookups(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    // The root's partitions are only gathered.
    rewrite(plan, true)
}

/// `free`: nothing above depends on how this node's output is partitioned.
fn rewrite(plan: Arc<dyn ExecutionPlan>, free: bool) -> Result<Arc<dyn ExecutionPlan>> {
    if free
        && let Some(join) = plan.downcast_ref::<HashJoinExec>()
        && let Some((lookup, probe)) = as_lookup(join)?
    {
        let probe = rewrite(probe, true)?;
        return Ok(Arc::new(LookupJoinExec::new(rebuilt(&lookup, probe)?)));
    }
    let children = plan.children();
    if children.is_empty() {
        return Ok(plan);
    }
    let free_below = frees(&plan) || (free && keeps(&plan));
    let old: Vec<_> = children.into_iter().cloned().collect();
    let mut changed = false;
    let mut new = Vec::with_capacity(old.len());
    for child in old {
        let rewritten = rewrite(Arc::clone(&child), free_below)?;
        changed |= !Arc::ptr_eq(&rewritten, &child);
        new.push(rewritten);
    }
    if !changed {
        return Ok(plan);
    }
    plan.replace_children(
        new,
        ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
    )
}

/// Nodes that take rows in any partitioning and make their own.
fn frees(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan
            .downcast_ref::<AggregateExec>()
            .is_some_and(|a| *a.mode() == AggregateMode::Partial)
}

/// Nodes that hand their input's partitioning on.
fn keeps(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<ProjectionExec>()
        || plan.is::<FilterExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan
            .downcast_ref::<SortExec>()
            .is_some_and(SortExec::preserve_partitioning)
}

/// The join with a whole build side, and its probe side before it was repartitioned.
fn as_lookup(join: &HashJoinExec) -> Result<Option<(HashJoinExec, Arc<dyn ExecutionPlan>)>> {
    if !fits(join, PartitionMode::Partitioned) {
        return Ok(None);
    }
    let (Some(build), Some(probe)) = (unshuffled(join.left()), unshuffled(join.right())) else {
        return Ok(None);
    };
    let Some(build) = everywhere(build)? else {
        return Ok(None);
    };
    let children = vec![build, Arc::clone(probe)];
    let lookup = join
        .builder()
        .with_partition_mode(PartitionMode::CollectLeft)
        .with_new_children(children)?
        .build()?;
    Ok(Some((lookup, Arc::clone(probe))))
}

/// What a hash repartition repartitions.
fn unshuffled(plan: &Arc<dyn ExecutionPlan>) -> Option<&Arc<dyn ExecutionPlan>> {
    let shuffle = plan.downcast_ref::<RepartitionExec>()?;
    matches!(shuffle.partitioning(), Partitioning::Hash(_, _)).then(|| shuffle.input())
}

/// A scan of a small table (filtered, projected) that every task reads whole.
fn everywhere(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some((scan, source)) = ClusterSource::of(plan) {
        let small = source.rows() <= MAX_BUILD_ROWS && scan.request().fetch.is_none();
        let whole = || scan.with_source(Arc::new(source.everywhere())).into_exec();
        return Ok(small.then(whole));
    }
    if !plan.is::<FilterExec>() && !plan.is::<ProjectionExec>() {
        return Ok(None);
    }
    let Some(input) = plan.children().first().copied().cloned() else {
        return Ok(None);
    };
    let Some(input) = everywhere(&input)? else {
        return Ok(None);
    };
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(plan)
        .replace_children(vec![input], options)
        .map(Some)
}
