//! Joins of which NULL equals NULL, and conditions beside them.
//!
//! `a JOIN b ON a.x IS NOT DISTINCT FROM b.x` is a hash join for which NULL equals NULL, in all of its keys.
//! DataFusion makes keys of further conditions of it, so that `WHERE a.y = b.y` finds NULLs, too: those in its ON, those
//! of a filter above it, and those of joins on either side, which it puts into one row with it. Subqueries that depend
//! on the rows around them are planned as such joins.
//!
//! Invariant: a join has the keys that it was made with, or all of its keys compare in one way.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{NullEquality, Result};
use datafusion::logical_expr::{Filter, Join, JoinType, LogicalPlan, Projection};
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::has_node;

/// The rules that these replace.
pub(super) const KEYS: &str = "extract_equijoin_predicate";
pub(super) const ROWS: &str = "eliminate_cross_join";

/// Makes keys of the conditions of joins that have none, or whose keys compare alike.
#[derive(Debug, Default)]
pub(super) struct Keys(ExtractEquijoinPredicate);

impl OptimizerRule for Keys {
    fn name(&self) -> &str {
        KEYS
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match &plan {
            LogicalPlan::Join(join) if equals_null(join) => Ok(Transformed::no(plan)),
            _ => self.0.rewrite(plan, config),
        }
    }
}

/// Puts inner joins into one row that compare alike.
#[derive(Debug, Default)]
pub(super) struct Rows(EliminateCrossJoin);

impl OptimizerRule for Rows {
    fn name(&self) -> &str {
        ROWS
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let found = has_node(
            &plan,
            |node| matches!(node, LogicalPlan::Join(join) if equals_null(join)),
        )?;
        match found {
            true => self.0.rewrite(
                plan.transform_down_with_subqueries(|node| Ok(apart(node)))?
                    .data,
                config,
            ),
            false => self.0.rewrite(plan, config),
        }
    }
}

fn equals_null(join: &Join) -> bool {
    join.null_equality == NullEquality::NullEqualsNull && !join.on.is_empty()
}

/// Puts a projection, which changes nothing, between joins that compare in different ways, and below a filter. It goes
/// when columns that nobody wants go.
fn apart(plan: LogicalPlan) -> Transformed<LogicalPlan> {
    match plan {
        LogicalPlan::Filter(Filter {
            predicate, input, ..
        }) if inner(&input).is_some_and(equals_null) => {
            let filter = Filter::new(predicate, behind(&input));
            Transformed::yes(LogicalPlan::Filter(filter))
        }
        LogicalPlan::Join(mut join) if join.join_type == JoinType::Inner => {
            let own = equals_null(&join);
            let mut changed = false;
            for side in [&mut join.left, &mut join.right] {
                if inner(side).is_some_and(|below| own || equals_null(below)) {
                    *side = behind(side);
                    changed = true;
                }
            }
            match changed {
                true => Transformed::yes(LogicalPlan::Join(join)),
                false => Transformed::no(LogicalPlan::Join(join)),
            }
        }
        plan => Transformed::no(plan),
    }
}

fn inner(plan: &LogicalPlan) -> Option<&Join> {
    match plan {
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => Some(join),
        _ => None,
    }
}

fn behind(plan: &Arc<LogicalPlan>) -> Arc<LogicalPlan> {
    let schema = Arc::clone(plan.schema());
    Arc::new(LogicalPlan::Projection(Projection::new_from_schema(
        Arc::clone(plan),
        schema,
    )))
}
