//! Filters over an aggregate that has a row although nothing is below it.
//!
//! `SELECT count(*) FROM t HAVING 1 > 2` gives no row. DataFusion pushes a condition without columns below
//! any aggregate; an aggregate without groups then counts no rows, and gives that as a row. The grand
//! total of `ROLLUP` is such a row, too. A condition that is another one each time (`random() < 0.5`) is
//! asked once for each group above an aggregate or a window, and for each row below, where it must not be; nor must it be
//! asked on one side of a join, or once for all that `unnest` makes of a row. And where a group is another one each time,
//! it must not be computed for a condition, too.
//!
//! Invariant: such filters stay where they are written; all others are DataFusion's.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Aggregate, Expr, Filter, LogicalPlan};
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::guesses::without_guesses;
use super::literals::in_order;

/// The rule that this one replaces.
pub(super) const INSTEAD_OF: &str = "push_down_filter";

/// Pushes filters down but where that changes the answer. See the module.
#[derive(Debug, Default)]
pub(super) struct Totals(PushDownFilter);

impl OptimizerRule for Totals {
    fn name(&self) -> &str {
        INSTEAD_OF
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Filter(filter) if stays(&filter) => parted(filter),
            plan => without_guesses(in_order(plan), |plan| self.0.rewrite(plan, config)),
        }
    }
}

fn stays(filter: &Filter) -> bool {
    let mut is_volatile = filter.predicate.is_volatile();
    let mut input = filter.input.as_ref();
    // One filter is made of several.
    while let LogicalPlan::Filter(inner) = input {
        is_volatile |= inner.predicate.is_volatile();
        input = inner.input.as_ref();
    }
    match input {
        LogicalPlan::Aggregate(aggregate) => {
            let mut groups = aggregate.group_expr.iter();
            has_total(aggregate) || is_volatile || groups.any(Expr::is_volatile)
        }
        LogicalPlan::Window(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Distinct(_) => is_volatile,
        _ => false,
    }
}

/// The conditions that are others each time above the rest, which is pushed.
fn parted(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let parts = split_conjunction_owned(filter.predicate.clone());
    let (volatile, others): (Vec<_>, Vec<_>) = parts.into_iter().partition(Expr::is_volatile);
    let (Some(volatile), Some(others)) = (conjunction(volatile), conjunction(others)) else {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    };
    let rest = LogicalPlan::Filter(Filter::try_new(others, filter.input)?);
    let above = Filter::try_new(volatile, Arc::new(rest))?;
    Ok(Transformed::yes(LogicalPlan::Filter(above)))
}

/// Whether it has a row for no rows. None of its columns can then be asked for further below.
fn has_total(aggregate: &Aggregate) -> bool {
    let is_set = |expr: &Expr| matches!(expr, Expr::GroupingSet(_));
    aggregate.group_expr.is_empty() || aggregate.group_expr.iter().any(is_set)
}
