//! Joins and groups of rows that already lie where they are needed.
//!
//! Purpose: DataFusion moves rows by the hash of a join's or a group's keys. Tables that are cut by
//! the same shard key need none of it: equal keys are in the same partition as they are read.
//! [`CoLocate`] finds such places in a finished plan and puts [`ByShardExec`] where a repartition
//! was.
//!
//! Invariant: two inputs of a partitioned join are either both moved by DataFusion's hash, or both
//! lie by the same scheme of ours on keys that the join compares pairwise. DataFusion takes every
//! hash partitioning for its own, so that scans never declare one, a join above a co-located one
//! gets a repartition of its own, and the rule runs after the last rule that adds or removes
//! repartitions. A plan that does not pass DataFusion's own check is dropped for the one before.
//!
//! Where the sides of a join do not lie alike, and the smaller one is not too large to be collected,
//! it is: the larger one stays in place, for this join and for those above.
//!
//! Non-goals: sort-merge joins and unions; moving one side to where the other side lies.

mod by_shard;
mod lie;

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion, TreeNodeRewriter};
use datafusion::common::{JoinType, Result};
use datafusion::physical_expr::{Partitioning, PhysicalExpr, physical_exprs_equal};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{
    HashJoinExec, PartitionMode, SortMergeJoinExec, SymmetricHashJoinExec,
};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::InterleaveExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, StatisticsArgs, StatisticsContext,
};

pub use by_shard::ByShardExec;

use crate::decimals::Decimals;
use crate::defer::Defer;
use crate::filter_names::NamedFilters;
use crate::index_rule::IndexAnswers;
use crate::join_filter::JoinFilters;
use crate::mended;
use lie::{covers, lie_of, lies_alike};

type Plan = Arc<dyn ExecutionPlan>;
type Exprs = Vec<Arc<dyn PhysicalExpr>>;

/// The rule after which this one runs: the only one that adds repartitions.
const AFTER: &str = "EnsureRequirements";

/// A side with at most this many times the rows that DataFusion collects (its setting
/// `hash_join_single_partition_threshold_rows`) is collected where that keeps the other in place:
/// one thread builds the table, but nothing else has to move.
const COLLECT_TIMES: usize = 4;

/// Takes out the repartitions of rows that lie by shard. See the module.
#[derive(Debug, Default)]
pub struct CoLocate;

impl CoLocate {
    /// DataFusion's physical optimizer rules with this crate's in their places.
    pub fn among_defaults() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
        let mut rules = PhysicalOptimizer::new().rules;
        let place = rules.iter().position(|rule| rule.name() == AFTER);
        // Without that rule there is nothing to take out, and no place where this one is safe.
        if let Some(place) = place {
            rules.insert(place + 1, Arc::new(CoLocate));
        }
        mended::insert_into(&mut rules);
        NamedFilters::replace_in(&mut rules);
        // DataFusion's own would let the joins tell that were co-located.
        JoinFilters::replace_in(&mut rules);
        IndexAnswers::insert_into(&mut rules);
        // Last, because other rules look for plain expressions and nodes.
        rules.push(Arc::new(Defer));
        rules.push(Arc::new(Decimals));
        rules
    }
}

impl PhysicalOptimizerRule for CoLocate {
    fn optimize(&self, plan: Plan, config: &ConfigOptions) -> Result<Plan> {
        let mut rewriter = Rewriter {
            target_partitions: config.execution.target_partitions,
            collected_rows: (config.optimizer.hash_join_single_partition_threshold_rows)
                .saturating_mul(COLLECT_TIMES),
        };
        let checked =
            Arc::clone(&plan)
                .rewrite(&mut rewriter)
                .and_then(|new| match new.transformed {
                    true => SanityCheckPlan::new().optimize(new.data, config),
                    false => Ok(new.data),
                });
        match checked {
            Ok(new) => Ok(new),
            Err(error) => {
                tracing::warn!(%error, "a plan keeps its repartitions: without them it is not valid");
                Ok(plan)
            }
        }
    }

    fn name(&self) -> &str {
        "CoLocate"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

struct Rewriter {
    target_partitions: usize,
    /// The most rows of a side that is collected.
    collected_rows: usize,
}

impl TreeNodeRewriter for Rewriter {
    type Node = Plan;

    fn f_down(&mut self, node: Plan) -> Result<Transformed<Plan>> {
        // These match partitions of several inputs by DataFusion's hash: what is below stays.
        let matches_hashes = node.is::<InterleaveExec>()
            || node.is::<SortMergeJoinExec>()
            || node.is::<SymmetricHashJoinExec>();
        Ok(match matches_hashes {
            true => Transformed::new(node, false, TreeNodeRecursion::Jump),
            false => Transformed::no(node),
        })
    }

    fn f_up(&mut self, node: Plan) -> Result<Transformed<Plan>> {
        let new = if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            self.join(&node, join)?
        } else if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
            self.aggregate(aggregate)?
        } else if let Some(window) = node.downcast_ref::<WindowAggExec>() {
            self.window(&node, &window.partition_keys())?
        } else if let Some(window) = node.downcast_ref::<BoundedWindowAggExec>() {
            self.window(&node, &window.partition_keys())?
        } else if let Some(sort) = node.downcast_ref::<SortExec>() {
            sorted_already(sort)?
        } else {
            None
        };
        Ok(match new {
            Some(new) => Transformed::yes(new),
            None => Transformed::no(node),
        })
    }
}

impl Rewriter {
    /// A partitioned join: both sides in place, or both moved.
    fn join(&self, node: &Plan, join: &HashJoinExec) -> Result<Option<Plan>> {
        if *join.partition_mode() != PartitionMode::Partitioned {
            return Ok(None);
        }
        let (left, right) = (unmoved(join.left()), unmoved(join.right()));
        let (left_keys, right_keys): (Exprs, Exprs) = join.on().iter().cloned().unzip();
        // A partitioned join that tells the other side which keys it holds does so by partitions as
        // DataFusion's hash numbers them: with ours it would drop rows.
        if join.dynamic_expressions_produced().is_empty()
            && !join.null_aware
            && let (Some(left_lie), Some(right_lie)) = (lie_of(&left), lie_of(&right))
            && self.is_wide_enough(left_lie.partitions)
            && lies_alike(&left_lie, &right_lie, join.on())
        {
            let left = ByShardExec::declare(left, left_keys);
            let right = ByShardExec::declare(right, right_keys);
            return replace_children_if_necessary(Arc::clone(node), vec![left, right]).map(Some);
        }
        if let Some(collecting) = self.collecting(join, left, right)? {
            return Ok(Some(collecting));
        }
        if !in_place(join.left()) && !in_place(join.right()) {
            return Ok(None);
        }
        // What was taken for DataFusion's hash partitioning until now is one of ours.
        let children = vec![
            self.moved(join.left(), left_keys)?,
            self.moved(join.right(), right_keys)?,
        ];
        replace_children_if_necessary(Arc::clone(node), children).map(Some)
    }

    /// The join with its left side collected, if that is small. How the right side lies then stays
    /// as it is, which joins and groups above may need.
    fn collecting(&self, join: &HashJoinExec, left: Plan, right: Plan) -> Result<Option<Plan>> {
        // Join types that never emit rows of the left side alone.
        let emits_right = matches!(
            join.join_type(),
            JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti
        );
        let partitions = right.output_partitioning().partition_count();
        if !emits_right || join.null_aware || !self.is_wide_enough(partitions) {
            return Ok(None);
        }
        let (Some(few), Some(many)) = (rows_of(&left)?, rows_of(&right)?) else {
            return Ok(None);
        };
        if few > self.collected_rows || few > many {
            return Ok(None);
        }
        let left = match left.output_partitioning().partition_count() {
            1 => left,
            _ => Arc::new(CoalescePartitionsExec::new(left)),
        };
        join.builder()
            .with_partition_mode(PartitionMode::CollectLeft)
            .with_new_children(vec![left, right])?
            .build_exec()
            .map(Some)
    }

    /// Moves rows by DataFusion's hash, unless they have been.
    fn moved(&self, plan: &Plan, keys: Exprs) -> Result<Plan> {
        if !in_place(plan) {
            return Ok(Arc::clone(plan));
        }
        let partitioning = Partitioning::Hash(keys, self.target_partitions);
        let repartition = RepartitionExec::try_new(Arc::clone(plan), partitioning)?;
        Ok(Arc::new(repartition.with_preserve_order()))
    }

    /// Two steps of an aggregation with a repartition in between become one.
    fn aggregate(&self, last: &AggregateExec) -> Result<Option<Plan>> {
        let moved = last.input().downcast_ref::<RepartitionExec>();
        let Some(first) = moved.and_then(|moved| moved.input().downcast_ref::<AggregateExec>())
        else {
            return Ok(None);
        };
        if *last.mode() != AggregateMode::FinalPartitioned
            || *first.mode() != AggregateMode::Partial
            || !first.group_expr().is_single()
            || !physical_exprs_equal(
                &first.group_expr().output_exprs(),
                &last.group_expr().input_exprs(),
            )
        {
            return Ok(None);
        }
        let input = unmoved(first.input());
        let keys = first.group_expr().input_exprs();
        if !self.lies_within(&input, &keys) {
            return Ok(None);
        }
        let single = AggregateExec::try_new(
            AggregateMode::SinglePartitioned,
            first.group_expr().clone(),
            first.aggr_expr().to_vec(),
            first.filter_expr().to_vec(),
            ByShardExec::declare(input, keys),
            first.input_schema(),
        )?;
        let single = single.with_limit_options(last.limit_options());
        Ok((single.schema() == last.schema()).then(|| Arc::new(single) as Plan))
    }

    /// A window whose partitions are in one place each.
    fn window(&self, node: &Plan, keys: &Exprs) -> Result<Option<Plan>> {
        let [input] = node.children()[..] else {
            return Ok(None);
        };
        match self.below_sort(input, keys)? {
            Some(input) => replace_children_if_necessary(Arc::clone(node), vec![input]).map(Some),
            None => Ok(None),
        }
    }

    /// The same rows without the repartition, and without the sort where they are sorted already.
    fn below_sort(&self, plan: &Plan, keys: &Exprs) -> Result<Option<Plan>> {
        if let Some(sort) = plan.downcast_ref::<SortExec>() {
            if !sort.preserve_partitioning() {
                return Ok(None);
            }
            let Some(input) = self.below_sort(sort.input(), keys)? else {
                return Ok(None);
            };
            let plan = replace_children_if_necessary(Arc::clone(plan), vec![input])?;
            return match plan.downcast_ref::<SortExec>() {
                Some(sort) => Ok(Some(sorted_already(sort)?.unwrap_or(plan))),
                None => Ok(None),
            };
        }
        let input = unmoved(plan);
        if Arc::ptr_eq(&input, plan) || !self.lies_within(&input, keys) {
            return Ok(None);
        }
        Ok(Some(ByShardExec::declare(input, keys.clone())))
    }

    /// Whether rows that agree on `keys` are in one partition.
    fn lies_within(&self, plan: &Plan, keys: &Exprs) -> bool {
        lie_of(plan).is_some_and(|lie| self.is_wide_enough(lie.partitions) && covers(&lie, keys))
    }

    /// Whether staying in place does not leave most cores idle.
    fn is_wide_enough(&self, partitions: usize) -> bool {
        partitions > 1 && partitions.saturating_mul(2) >= self.target_partitions
    }
}

/// What a hash repartition moves, or the plan itself.
fn unmoved(plan: &Plan) -> Plan {
    let mut plan = plan;
    while let Some(moved) = plan.downcast_ref::<RepartitionExec>()
        && matches!(
            moved.partitioning(),
            Partitioning::Hash(..) | Partitioning::RoundRobinBatch(_)
        )
    {
        plan = moved.input();
    }
    Arc::clone(plan)
}

/// Rows that a plan is expected to return.
fn rows_of(plan: &Plan) -> Result<Option<usize>> {
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new())?;
    Ok(statistics.num_rows.get_value().copied())
}

/// Whether the hash partitioning that a plan declares comes from [`ByShardExec`].
fn in_place(plan: &Plan) -> bool {
    if plan.output_partitioning().partition_count() == 1 || plan.is::<RepartitionExec>() {
        return false;
    }
    plan.is::<ByShardExec>() || plan.children().into_iter().any(in_place)
}

/// The input of a sort that changes nothing.
fn sorted_already(sort: &SortExec) -> Result<Option<Plan>> {
    let input = sort.input();
    let keeps_partitions =
        sort.preserve_partitioning() || input.output_partitioning().partition_count() == 1;
    let sorted = keeps_partitions
        && sort.fetch().is_none()
        && input
            .equivalence_properties()
            .ordering_satisfy(sort.expr().clone())?;
    Ok(sorted.then(|| Arc::clone(input)))
}
