//! What a join's small side holds, told to the scan of its large side.
//!
//! Purpose: once the collected side of a join is in memory, its keys say which rows of the other
//! side can match at all. A scan that knows them fetches the other columns of those rows alone, and
//! an aggregation in between groups only what is asked for. DataFusion can do so for all joins or
//! for none; that costs as much as the join itself where most rows match (measured: joining flights
//! and planes took 1.6 times as long), so [`JoinFilters`] does it where few are expected to.
//!
//! Invariant: only collected sides tell: a partitioned join tells by partitions of DataFusion's hash,
//! and ours are others (see `colocate`). Only join types that never emit a row of the large side
//! without a match. Non-goal: plans that other peers run parts of.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result};
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr, lit};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::{ExecutionPlan, StatisticsArgs, StatisticsContext};

use crate::filter_names::push_filters;
use crate::local::LocalSource;
use crate::shard_scan::ShardScan;

type Plan = Arc<dyn ExecutionPlan>;

/// The rule that this one does the work of, too.
const INSTEAD_OF: &str = "FilterPushdown(Post)";
/// The keys told must be fewer than the distinct keys of the other side by this factor.
const SELECTIVITY: usize = 4;
/// Rows of the large side below which telling is not worth it.
const MIN_ROWS: usize = 16_384;

/// DataFusion's last filter pushdown, with joins of its own choice. See the module.
#[derive(Debug)]
pub(crate) struct JoinFilters {
    others: FilterPushdown,
}

impl JoinFilters {
    /// Puts this rule in the place of DataFusion's.
    pub(crate) fn replace_in(rules: &mut [Arc<dyn PhysicalOptimizerRule + Send + Sync>]) {
        for rule in rules {
            if rule.name() == INSTEAD_OF {
                *rule = Arc::new(Self {
                    others: FilterPushdown::new_post_optimization(),
                });
            }
        }
    }
}

impl PhysicalOptimizerRule for JoinFilters {
    fn optimize(&self, plan: Plan, config: &ConfigOptions) -> Result<Plan> {
        let mut without_joins = config.clone();
        without_joins.optimizer.enable_join_dynamic_filter_pushdown = false;
        let plan = push_filters(&self.others, plan, &without_joins)?;
        if !config.optimizer.enable_join_dynamic_filter_pushdown || !runs_here(&plan)? {
            return Ok(plan);
        }
        tell(plan, &without_joins)
    }

    fn name(&self) -> &str {
        INSTEAD_OF
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether all rows come from this peer's own store.
pub(crate) fn runs_here(plan: &Plan) -> Result<bool> {
    let mut here = true;
    plan.apply(|node| {
        if let Some(scan) = ShardScan::of(node) {
            here &= scan.source().as_any().is::<LocalSource>();
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(here)
}

/// From the top down, because what one join tells makes the sides of those below smaller.
fn tell(plan: Plan, config: &ConfigOptions) -> Result<Plan> {
    let plan = match plan.downcast_ref::<HashJoinExec>() {
        Some(join) => telling(join, config)?.unwrap_or(plan),
        None => plan,
    };
    let children = plan.children().into_iter().map(Arc::clone);
    let children = children.map(|child| tell(child, config));
    let children = children.collect::<Result<Vec<_>>>()?;
    replace_children_if_necessary(plan, children)
}

/// The join that tells its keys, if that is worth it and a scan listens.
fn telling(join: &HashJoinExec, config: &ConfigOptions) -> Result<Option<Plan>> {
    let fits = *join.partition_mode() == PartitionMode::CollectLeft
        && !join.null_aware
        && join.dynamic_expressions_produced().is_empty()
        && matches!(
            join.join_type(),
            JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi
        );
    if !fits || !is_selective(join)? {
        return Ok(None);
    }
    let keys = join.on().iter().map(|(_, right)| Arc::clone(right));
    let filter = Arc::new(DynamicFilterPhysicalExpr::new(keys.collect(), lit(true)));
    let filtered = FilterExec::try_new(Arc::clone(&filter) as _, Arc::clone(join.right()))?;
    let pushed = push_filters(&FilterPushdown::new(), Arc::new(filtered), config)?;
    if pushed.is::<FilterExec>() {
        // Something on the way does not let it pass.
        return Ok(None);
    }
    let join = join
        .builder()
        .with_new_children(vec![Arc::clone(join.left()), pushed])?
        .build()?;
    Ok(Some(Arc::new(join.with_dynamic_filter_expr(filter)?)))
}

/// Whether few rows of the large side are expected to match.
fn is_selective(join: &HashJoinExec) -> Result<bool> {
    let of = |side: &Plan| StatisticsContext::new().compute(side.as_ref(), &StatisticsArgs::new());
    let (few, many) = (of(join.left())?, of(join.right())?);
    let rows = |known: Option<&usize>| known.copied();
    let (Some(keys), Some(rows)) = (
        rows(few.num_rows.get_value()),
        rows(many.num_rows.get_value()),
    ) else {
        return Ok(false);
    };
    let distinct = |column: &Column| {
        let statistics = many.column_statistics.get(column.index())?;
        statistics.distinct_count.get_value().copied()
    };
    let fewer = join
        .on()
        .iter()
        .filter_map(|(_, right)| distinct(right.downcast_ref::<Column>()?))
        .any(|distinct| keys.saturating_mul(SELECTIVITY) <= distinct);
    Ok(rows >= MIN_ROWS && fewer)
}
