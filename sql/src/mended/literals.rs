//! Conditions on one column with literals, as the planner takes them.
//!
//! Of `v > 3 AND v > 5` DataFusion keeps what says more. It takes NULL for the smallest value, and so drops
//! `v > NULL`, which no row fulfils; takes `v = 5 AND 5 = v` for two values, and drops every row; and of `5 < v AND
//! v >= 5` may keep the second. It brings literals into order before, but not those that a filter gets from a
//! projection on its way down, as from a branch of a UNION.
//!
//! Invariant: a filter asks as before. Its literals are on the right, and what asks for NULL is FALSE.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, lit};

/// A filter, and those right below it, with literals in order.
pub(super) fn in_order(plan: LogicalPlan) -> LogicalPlan {
    let LogicalPlan::Filter(mut filter) = plan else {
        return plan;
    };
    filter.predicate = ordered(filter.predicate);
    if matches!(filter.input.as_ref(), LogicalPlan::Filter(_)) {
        filter.input = Arc::new(in_order(Arc::unwrap_or_clone(filter.input)));
    }
    LogicalPlan::Filter(filter)
}

fn ordered(predicate: Expr) -> Expr {
    let parts = split_conjunction_owned(predicate).into_iter();
    conjunction(parts.map(ordered_part)).unwrap_or_else(|| lit(true))
}

fn ordered_part(part: Expr) -> Expr {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = part else {
        return part;
    };
    use Operator::{Eq, Gt, GtEq, Lt, LtEq};
    let swapped = op
        .swap()
        .filter(|_| matches!(op, Eq | Gt | GtEq | Lt | LtEq));
    let Some(swapped) = swapped else {
        return Expr::BinaryExpr(BinaryExpr { left, op, right });
    };
    let is_null = |side: &Expr| side.as_literal().is_some_and(ScalarValue::is_null);
    if is_null(&left) || is_null(&right) {
        return lit(false);
    }
    match (left.as_literal(), right.as_literal()) {
        (Some(_), None) => Expr::BinaryExpr(BinaryExpr {
            left: right,
            op: swapped,
            right: left,
        }),
        _ => Expr::BinaryExpr(BinaryExpr { left, op, right }),
    }
}
