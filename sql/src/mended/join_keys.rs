//! Conditions of joins that are put into another order.
//!
//! DataFusion takes inner joins apart and puts them together again along the keys that it finds. A key of which one
//! side has columns of two tables (`ON a.k = c.k AND a.x + b.y = c.z`) has no place if the third table is joined with
//! one of these first, and is forgotten.
//!
//! Idea: such a key is a condition beforehand, which is kept; the keys are looked for again at the end. Invariant: a
//! join has all its conditions, and ends with all its keys. Non-goal: keys whose sides are of one table each, which
//! always find a place.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{NullEquality, Result};
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::has_node;
use super::null_keys::Rows;

/// Orders joins. See the module.
#[derive(Debug, Default)]
pub(super) struct AllKeys(Rows);

impl OptimizerRule for AllKeys {
    fn name(&self) -> &str {
        self.0.name()
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
            |node| matches!(node, LogicalPlan::Join(join) if has_spread_key(join)),
        )?;
        if !found {
            return self.0.rewrite(plan, config);
        }
        let plan = plan.transform_up_with_subqueries(|node| Ok(as_conditions(node)))?;
        self.0.rewrite(plan.data, config)
    }
}

/// An inner join of whose keys each side is of one table; the others are conditions.
fn as_conditions(node: LogicalPlan) -> Transformed<LogicalPlan> {
    match node {
        LogicalPlan::Join(mut join) if has_spread_key(&join) => {
            let on = std::mem::take(&mut join.on);
            let (others, keys): (Vec<_>, Vec<_>) =
                on.into_iter().partition(|key| is_spread(key, &join));
            let conditions = others.into_iter().map(|(left, right)| left.eq(right));
            join.filter = join.filter.into_iter().chain(conditions).reduce(Expr::and);
            Transformed::yes(LogicalPlan::Join(Join { on: keys, ..join }))
        }
        node => Transformed::no(node),
    }
}

/// Whether a join may be put into another order that has no place for one of its keys.
fn has_spread_key(join: &Join) -> bool {
    is_inner(join)
        && join.null_equality == NullEquality::NullEqualsNothing
        && join.on.iter().any(|key| is_spread(key, join))
}

fn is_inner(join: &Join) -> bool {
    join.join_type == JoinType::Inner
}

/// Whether one side of a key has columns of several of the tables that are joined there.
fn is_spread((left, right): &(Expr, Expr), join: &Join) -> bool {
    let several = |expr: &Expr, side: &LogicalPlan| {
        let columns = expr.column_refs();
        let mut tables = Vec::new();
        joined(side, &mut tables);
        let has_one = |table: &&&LogicalPlan| {
            let schema = table.schema();
            columns.iter().any(|column| schema.has_column(column))
        };
        columns.len() > 1 && tables.iter().filter(has_one).count() > 1
    };
    several(left, &join.left) || several(right, &join.right)
}

/// What inner joins put together.
fn joined<'a>(plan: &'a LogicalPlan, tables: &mut Vec<&'a LogicalPlan>) {
    match plan {
        LogicalPlan::Join(join) if is_inner(join) => {
            joined(&join.left, tables);
            joined(&join.right, tables);
        }
        table => tables.push(table),
    }
}
