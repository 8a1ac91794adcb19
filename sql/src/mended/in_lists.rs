//! Lists of IN that are made one list.
//!
//! DataFusion makes `x IN (2)` of `x IN (1, 2) AND x IN (2, 3)`, and FALSE where nothing is left. Three things go
//! wrong there. Values count as different when they are written differently: `x IN (a) AND x IN (b)` is never
//! true to it, although `a` and `b` may be equal. NULL counts as a value like others: `x IN (1, 2) AND x NOT IN (NULL)`
//! is `x IN (1, 2)`. And where nothing is left, a NULL that is asked for gives FALSE. It does the same with
//! `x = 1 OR x = 2`, of which it makes a list.
//!
//! [`KnownLists`] writes lists with what is no literal as comparisons, says what NULL means beside the
//! list (`x NOT IN (1, NULL)` is `x NOT IN (1) AND NULL`, `x IN (1, NULL)` is `x IN (1) OR NULL`), and makes one list
//! of several by itself.
//!
//! Invariant: all three values of an expression stay as they are. Conditions of their own in a filter are
//! lists still, because unknown is as good as false there, and scans know lists. Non-goals: lists that come
//! together later, when two projections are made one; conditions of more than [`MOST_BESIDE`] parts.

use std::ops::Not;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, Operator, lit};
use datafusion::optimizer::AnalyzerRule;

/// Values of a list that are compared one by one. More are left to the planner.
const MOST_COMPARED: usize = 100;
/// Parts of an AND or OR that are looked at together.
const MOST_BESIDE: usize = 64;

/// Makes lists safe to be joined. See the module.
#[derive(Debug)]
pub(super) struct KnownLists;

impl AnalyzerRule for KnownLists {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Filter(filter) => {
                let predicate = conjuncts(filter.predicate)?;
                let filter = Filter::try_new(predicate, filter.input)?;
                Ok(Transformed::yes(LogicalPlan::Filter(filter)))
            }
            node => {
                let names = NamePreserver::new(&node);
                node.map_expressions(|expr| {
                    let name = names.save(&expr);
                    let known = known(expr)?;
                    Ok(known.update_data(|expr| name.restore(expr)))
                })
            }
        })
        .data()
    }

    fn name(&self) -> &str {
        "known_lists"
    }
}

fn conjuncts(expr: Expr) -> Result<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::And,
            right,
        }) => Ok(conjuncts(*left)?.and(conjuncts(*right)?)),
        Expr::InList(list) if !list.negated => {
            let list = with_literals(list);
            match list.list.iter().all(is_literal) {
                true => Ok(Expr::InList(list)),
                false => known(Expr::InList(list)).data(),
            }
        }
        other => known(other).data(),
    }
}

/// An expression whose lists stay right.
fn known(expr: Expr) -> Result<Transformed<Expr>> {
    let lists = expr.transform_up(|expr| match expr {
        Expr::InList(list) => Ok(without_null(list)),
        Expr::Not(inner) => Ok(not(*inner)),
        other => Ok(Transformed::no(other)),
    })?;
    lists.transform_data(|expr| expr.transform_down(beside))
}

/// NULL beside the list, and comparisons instead of one whose values are not known.
fn without_null(list: InList) -> Transformed<Expr> {
    let InList {
        expr,
        list,
        negated,
    } = with_literals(list);
    let before = list.len();
    let is_null = |item: &Expr| matches!(item, Expr::Literal(value, _) if value.is_null());
    let list: Vec<Expr> = list.into_iter().filter(|item| !is_null(item)).collect();
    let after = list.len();
    let unknown = lit(ScalarValue::Boolean(None));
    if list.is_empty() && before > 0 {
        return Transformed::yes(unknown);
    }
    let rest = compared(InList::new(expr, list, negated));
    match (after == before, negated) {
        (true, _) => Transformed::yes(rest),
        (false, true) => Transformed::yes(rest.and(unknown)),
        (false, false) => Transformed::yes(rest.or(unknown)),
    }
}

/// Its literals in the type of the column.
fn with_literals(mut list: InList) -> InList {
    for item in &mut list.list {
        let Expr::Cast(cast) = &*item else { continue };
        if let Expr::Literal(value, _) = cast.expr.as_ref()
            && let Ok(value) = value.cast_to(cast.field.data_type())
        {
            *item = lit(value);
        }
    }
    list
}

fn is_literal(item: &Expr) -> bool {
    matches!(item, Expr::Literal(..))
}

/// The same as comparisons, if its values are not known, it is not too long, and what it asks for is computed as easily
/// twice.
fn compared(list: InList) -> Expr {
    let asks = |expr: &Expr| {
        matches!(
            expr,
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_)
        )
    };
    let InList {
        expr,
        list,
        negated,
    } = list;
    let known = list.iter().all(is_literal) || list.len() > MOST_COMPARED;
    let subquery = [expr.as_ref()].into_iter().chain(&list);
    let subquery = subquery.into_iter().any(|expr| {
        let found = expr.exists(|expr| Ok(asks(expr)));
        found.unwrap_or(true)
    });
    if known || subquery || expr.is_volatile() {
        return Expr::InList(InList::new(expr, list, negated));
    }
    let equal = |item: Expr| expr.as_ref().clone().eq(item);
    let any = list.into_iter().map(equal).reduce(Expr::or);
    let any = any.unwrap_or_else(|| lit(false));
    match negated {
        true => any.not(),
        false => any,
    }
}

/// NOT, within what has lists: there the planner moves it inwards, and joins lists then.
fn not(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::InList(mut list) => {
            list.negated = !list.negated;
            Transformed::yes(Expr::InList(list))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if is_list(&left) && is_list(&right) && joins(op) =>
        {
            let (left, right) = (not(*left).data, not(*right).data);
            Transformed::yes(match op {
                Operator::And => left.or(right),
                _ => left.and(right),
            })
        }
        other => Transformed::no(other.not()),
    }
}

fn joins(op: Operator) -> bool {
    matches!(op, Operator::And | Operator::Or)
}

fn is_list(expr: &Expr) -> bool {
    matches!(expr, Expr::InList(_))
}

/// An AND or OR of which several parts are lists of one value.
fn beside(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(binary) = &expr else {
        return Ok(Transformed::no(expr));
    };
    let op = binary.op;
    if !joins(op) {
        return Ok(Transformed::no(expr));
    }
    let Some(parts) = parts(&expr, op) else {
        return Ok(Transformed::no(expr));
    };
    let mut joined: Vec<Expr> = Vec::new();
    let mut changed = false;
    for part in parts {
        let part = as_list(part, op).unwrap_or_else(|| part.clone());
        let same = joined.iter().position(|other| may_join(other, op, &part));
        match same {
            Some(at) => {
                let other = joined.swap_remove(at);
                joined.push(both(other, op, part));
                changed = true;
            }
            None => joined.push(part),
        }
    }
    let whole = joined.into_iter().reduce(|left, right| match op {
        Operator::And => left.and(right),
        _ => left.or(right),
    });
    match whole {
        Some(whole) if changed => Ok(Transformed::yes(whole)),
        _ => Ok(Transformed::no(expr)),
    }
}

/// The parts of an AND or OR, if they are not too many.
fn parts(expr: &Expr, op: Operator) -> Option<Vec<&Expr>> {
    let (mut parts, mut left) = (Vec::new(), vec![expr]);
    while let Some(next) = left.pop() {
        match next {
            Expr::BinaryExpr(binary) if binary.op == op => {
                left.push(&binary.right);
                left.push(&binary.left);
            }
            part => parts.push(part),
        }
        if parts.len() + left.len() > MOST_BESIDE {
            return None;
        }
    }
    Some(parts)
}

/// A part of an AND as a list, where the planner makes one of it: `x = 1 OR x = 2`.
fn as_list(part: &Expr, beside: Operator) -> Option<Expr> {
    if is_list(part) || beside != Operator::And {
        return None;
    }
    let mut values = Vec::new();
    let mut column = None;
    for part in parts(part, Operator::Or)? {
        let Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) = part
        else {
            return None;
        };
        let (of, value) = match (left.as_ref(), right.as_ref()) {
            (of, Expr::Literal(..)) if is_column(of) => (left, right),
            (Expr::Literal(..), of) if is_column(of) => (right, left),
            _ => return None,
        };
        if matches!(value.as_ref(), Expr::Literal(value, _) if value.is_null())
            || *column.get_or_insert(of) != of
        {
            return None;
        }
        values.push(value.as_ref().clone());
    }
    Some(Expr::InList(InList::new(column?.clone(), values, false)))
}

/// A column, or one whose cast the planner takes away.
fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(cast) => matches!(cast.expr.as_ref(), Expr::Column(_)),
        expr => matches!(expr, Expr::Column(_)),
    }
}

/// Whether two parts are lists of one value that [`both`] makes one of.
fn may_join(left: &Expr, op: Operator, right: &Expr) -> bool {
    let (Expr::InList(left), Expr::InList(right)) = (left, right) else {
        return false;
    };
    let lists = matches!(
        (op, left.negated, right.negated),
        (Operator::And, false, _) | (Operator::And, true, false) | (Operator::Or, true, true)
    );
    lists
        && left.expr == right.expr
        && !left.expr.is_volatile()
        && left.list.iter().chain(&right.list).all(is_literal)
}

/// One list of two of literals.
fn both(left: Expr, op: Operator, right: Expr) -> Expr {
    let (mut left, mut right) = match (left, right) {
        (Expr::InList(left), Expr::InList(right)) => (left, right),
        (left, right) => return left.and(right),
    };
    let has = |list: &InList, item: &Expr| list.list.contains(item);
    match (op, left.negated, right.negated) {
        (Operator::And, false, true) => left.list.retain(|item| !has(&right, item)),
        (Operator::And, true, false) => {
            right.list.retain(|item| !has(&left, item));
            left = right;
        }
        _ => left.list.retain(|item| has(&right, item)),
    }
    let unknown = lit(ScalarValue::Boolean(None));
    match (left.list.is_empty(), left.negated) {
        (false, _) => Expr::InList(left),
        (true, false) => left.expr.is_null().and(unknown),
        (true, true) => left.expr.is_not_null().or(unknown),
    }
}
