//! Outer rows that are read twice: once as they are, and once for their values.
//!
//! Idea: which rows a LIMIT leaves, and what `random()` gives, may be different the second time, and an outer
//! row whose values are missing would lose its rows of the subquery. The values of more rows do no harm; so
//! what only takes rows away is left out. Invariant: the values of all outer rows are among those of
//! [`superset`], or it fails.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result, not_impl_err};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};

use super::outer::NTH;

/// Rows that are the same whenever they are read, and have all values of these.
pub(super) fn superset(rows: &LogicalPlan) -> Result<LogicalPlan> {
    let rows = wider(rows)?;
    match is_stable(&rows)? {
        true => Ok(rows),
        false => not_impl_err!(
            "a subquery of the rows around it, where which rows these are is left to chance (random() or LIMIT \
             below an aggregate): write them into a table first"
        ),
    }
}

fn wider(plan: &LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Limit(limit) => wider(&limit.input),
        LogicalPlan::Sort(sort) => wider(&sort.input),
        LogicalPlan::Filter(filter) if !is_stable_expr(&filter.predicate)? => wider(&filter.input),
        LogicalPlan::Filter(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Distinct(Distinct::All(_)) => with_wider(plan, usize::MAX),
        LogicalPlan::Window(window) if window.window_expr.iter().all(is_number) => {
            with_wider(plan, usize::MAX)
        }
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::Inner => with_wider(plan, usize::MAX),
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                with_wider(plan, 1)
            }
            _ => Ok(plan.clone()),
        },
        other => Ok(other.clone()),
    }
}

/// A node over more rows, those of its first inputs.
fn with_wider(plan: &LogicalPlan, first: usize) -> Result<LogicalPlan> {
    let inputs = plan.inputs().into_iter().enumerate();
    let inputs = inputs.map(|(at, input)| match at < first {
        true => wider(input),
        false => Ok(input.clone()),
    });
    plan.with_new_exprs(plan.expressions(), inputs.collect::<Result<_>>()?)
}

/// The number of a row, which a LIMIT is made of.
fn is_number(expr: &Expr) -> bool {
    matches!(expr, Expr::Alias(alias) if alias.name.starts_with(NTH))
}

fn is_stable_expr(expr: &Expr) -> Result<bool> {
    let unstable = expr.exists(|expr| {
        let numbered = matches!(expr, Expr::Column(column) if column.name.starts_with(NTH));
        Ok(numbered || expr.is_volatile_node())
    })?;
    Ok(!unstable)
}

/// Whether all rows are the same, so that it does not matter which of them there are.
fn gives_constants(plan: &LogicalPlan) -> bool {
    let is_constant = |expr: &Expr| matches!(expr.clone().unalias(), Expr::Literal(..));
    matches!(plan, LogicalPlan::Projection(node) if node.expr.iter().all(is_constant))
}

fn is_stable(plan: &LogicalPlan) -> Result<bool> {
    let mut stable = true;
    plan.apply_with_subqueries(|node| {
        stable &= match node {
            LogicalPlan::Limit(limit) => gives_constants(&limit.input),
            LogicalPlan::Sort(sort) => sort.fetch.is_none(),
            _ => true,
        };
        for expr in node.expressions() {
            stable &= !expr.is_volatile();
        }
        Ok(match stable {
            true => TreeNodeRecursion::Continue,
            false => TreeNodeRecursion::Stop,
        })
    })?;
    Ok(stable)
}
