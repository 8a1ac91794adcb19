//! Which scans want the first rows of an order alone, or only the number of their rows.
//!
//! Purpose: [`IndexAnswers`] looks at finished plans for a sort that keeps few rows above a scan, and
//! for scans without columns, and tells the scan which index answers that.
//!
//! Invariant: between such a sort and its scan no row is dropped, added or made of others. The rule
//! runs before dynamic filters are pushed; the only one that a sort with a limit lets pass is its own,
//! which drops nothing that is among its first rows. Sorts and counts stay where they are: what the
//! scan returns is less, never different.
//!
//! Non-goal: sorts by expressions.

use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;

use crate::shard_scan::ShardScan;

type Plan = Arc<dyn ExecutionPlan>;

/// The rule before which this one runs: it pushes dynamic filters.
const BEFORE: &str = "FilterPushdown(Post)";

/// Lets indexes answer scans. See the module.
#[derive(Debug)]
pub(crate) struct IndexAnswers;

impl IndexAnswers {
    /// Puts this rule among others; without the one that it belongs before, nowhere.
    pub(crate) fn insert_into(rules: &mut Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>) {
        if let Some(place) = rules.iter().position(|rule| rule.name() == BEFORE) {
            rules.insert(place, Arc::new(Self));
        }
    }
}

impl PhysicalOptimizerRule for IndexAnswers {
    fn optimize(&self, plan: Plan, _config: &ConfigOptions) -> Result<Plan> {
        let answered = plan.transform_up(|node| {
            let new = if let Some(scan) = ShardScan::of(&node) {
                scan.counted()?.map(ShardScan::into_exec)
            } else if let Some(sort) = node.downcast_ref::<SortExec>()
                && let Some(rows) = sort.fetch()
                && let Some(wanted) = columns_of(sort.expr())
            {
                let input = with_first(sort.input(), &wanted, rows)?;
                let sorted = |input| replace_children_if_necessary(Arc::clone(&node), vec![input]);
                input.map(sorted).transpose()?
            } else {
                None
            };
            Ok(match new {
                Some(new) => Transformed::yes(new),
                None => Transformed::no(node),
            })
        });
        answered.data()
    }

    fn name(&self) -> &str {
        "IndexAnswers"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A column's place in a node's output, and how it is sorted.
type Wanted = (usize, SortOptions);

fn columns_of<'a>(order: impl IntoIterator<Item = &'a PhysicalSortExpr>) -> Option<Vec<Wanted>> {
    let column = |by: &PhysicalSortExpr| {
        let column = by.expr.downcast_ref::<Column>()?;
        Some((column.index(), by.options))
    };
    order.into_iter().map(column).collect()
}

/// The plan with a scan that returns the first rows alone; `None` if it is none that can.
fn with_first(plan: &Plan, wanted: &[Wanted], rows: usize) -> Result<Option<Plan>> {
    if let Some(scan) = ShardScan::of(plan) {
        return Ok(scan.with_first(wanted, rows)?.map(ShardScan::into_exec));
    }
    let below = if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let column = |(place, options): &Wanted| {
            let expr = &projection.expr().get(*place)?.expr;
            Some((expr.downcast_ref::<Column>()?.index(), *options))
        };
        wanted.iter().map(column).collect()
    } else if plan.is::<RepartitionExec>()
        || plan.is::<CooperativeExec>()
        || (plan.is::<CoalescePartitionsExec>() && plan.fetch().is_none())
    {
        Some(wanted.to_vec())
    } else {
        None
    };
    let children = plan.children();
    let (Some(below), [input]) = (below, children.as_slice()) else {
        return Ok(None);
    };
    let input = with_first(input, &below, rows)?;
    let rebuilt = |input| replace_children_if_necessary(Arc::clone(plan), vec![input]);
    input.map(rebuilt).transpose()
}
