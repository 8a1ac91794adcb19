//! Conditions that are asked of rows which they were not written for.
//!
//! Of `a JOIN b ON a.x = b.y WHERE 100 / b.y > 3` DataFusion concludes that `100 / a.x > 3`, and asks that of all rows
//! of `a`. It is right of those that find a partner. Others may have a zero, and then the statement fails although
//! no row of its answer would.
//!
//! Invariant: what may fail is asked of the rows of the relation that it names. What cannot fail is concluded as
//! before, unless a condition that may fail asks for the same column.

use std::collections::HashSet;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan, Operator};

use crate::functions::IS_LISTED;

/// The name under which the key of a join is no column to the rule.
const HIDDEN: &str = "\0key";

/// Runs a rule, which concludes from equal keys only what cannot fail.
pub(super) fn without_guesses(
    plan: LogicalPlan,
    rule: impl FnOnce(LogicalPlan) -> Result<Transformed<LogicalPlan>>,
) -> Result<Transformed<LogicalPlan>> {
    let risky = risky_keys(&plan)?;
    if risky.is_empty() {
        return rule(plan);
    }
    let hidden = each_key(plan, |(left, right)| {
        let is_risky = |key: &Expr| key.try_as_col().is_some_and(|key| risky.contains(key));
        match is_risky(&left) || is_risky(&right) {
            true => (left.alias(HIDDEN), right),
            false => (left, right),
        }
    })?;
    let ruled = rule(hidden)?;
    let shown = each_key(ruled.data, |(left, right)| match left {
        Expr::Alias(alias) if alias.name == HIDDEN => (*alias.expr, right),
        left => (left, right),
    })?;
    Ok(Transformed::new(shown, ruled.transformed, ruled.tnr))
}

/// Changes the keys of the first join of a plan.
fn each_key(
    plan: LogicalPlan,
    change: impl Fn((Expr, Expr)) -> (Expr, Expr),
) -> Result<LogicalPlan> {
    let changed = plan.transform_down(|node| match node {
        LogicalPlan::Join(mut join) => {
            join.on = join.on.into_iter().map(&change).collect();
            let join = LogicalPlan::Join(join);
            Ok(Transformed::new(join, true, TreeNodeRecursion::Stop))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(changed.data)
}

/// The columns that are asked for by conditions that may fail, of a join and the filters upon it, which the rule takes
/// together.
fn risky_keys(plan: &LogicalPlan) -> Result<HashSet<Column>> {
    let (mut risky, mut conditions) = (HashSet::new(), Vec::new());
    let mut below = plan;
    while let LogicalPlan::Filter(filter) = below {
        conditions.push(&filter.predicate);
        below = &filter.input;
    }
    let LogicalPlan::Join(join) = below else {
        return Ok(risky);
    };
    conditions.extend(&join.filter);
    if conditions.is_empty() || join.on.is_empty() {
        return Ok(risky);
    }
    // Semi-joins do not give what their conditions ask for, and give what neither side has.
    let mut sides = DFSchema::clone(join.left.schema());
    sides.merge(join.right.schema());
    sides.merge(&join.schema);
    for condition in conditions.into_iter().flat_map(split_conjunction) {
        if may_fail(condition, &sides)? {
            risky.extend(condition.column_refs().into_iter().cloned());
        }
    }
    Ok(risky)
}

/// Whether there may be rows of which a condition cannot be asked.
fn may_fail(condition: &Expr, schema: &DFSchema) -> Result<bool> {
    condition.exists(|expr| {
        Ok(match expr {
            Expr::Alias(_)
            | Expr::Between(_)
            | Expr::Case(_)
            | Expr::Column(_)
            | Expr::InList(_)
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNotNull(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsNull(_)
            | Expr::IsTrue(_)
            | Expr::IsUnknown(_)
            | Expr::Like(_)
            | Expr::Literal(..)
            | Expr::Not(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::Placeholder(_) => false,
            Expr::BinaryExpr(binary) => !compares(binary.op),
            Expr::Cast(cast) => !widens(cast, schema),
            Expr::ScalarFunction(call) => call.name() != IS_LISTED,
            _ => true,
        })
    })
}

fn compares(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    let compares = matches!(
        operator,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
    );
    compares || operator.is_logic_operator()
}

/// Whether there is a value of the new type for each of the old one.
fn widens(cast: &Cast, schema: &DFSchema) -> bool {
    let Ok(from) = cast.expr.get_type(schema) else {
        return false;
    };
    let (to, width) = (cast.field.data_type(), DataType::primitive_width);
    match (&from, to) {
        (from, to) if from == to => true,
        (DataType::Null, _) => true,
        (from, to) if from.is_string() && to.is_string() => true,
        (from, to) if from.is_signed_integer() && to.is_signed_integer() => width(from) < width(to),
        (from, to) if from.is_unsigned_integer() && to.is_integer() => width(from) < width(to),
        (from, to) if from.is_integer() => to.is_floating(),
        (from, to) => from.is_floating() && to.is_floating() && width(from) < width(to),
    }
}
