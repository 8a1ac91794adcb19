//! Lists of IN that are made one list.
//!
//! DataFusion makes `x IN (2)` of `x IN (1, 2) AND x IN (2, 3)`, and FALSE where nothing is left. Three things go
//! wrong there. Values count as different when they are written differently: `x IN (a) AND x IN (b)` is never
//! true to it, although `a` and `b` may be equal. NULL counts as a value like others: `x IN (1, 2) AND x NOT IN (NULL)`
//! is `x IN (1, 2)`. And where nothing is left, a NULL that is asked for gives FALSE.
//!
//! [`KnownLists`] writes lists with what is no constant as comparisons, says what NULL means beside the
//! list (`x NOT IN (1, NULL)` is `x NOT IN (1) AND NULL`, `x IN (1, NULL)` is `x IN (1) OR NULL`), and makes one list
//! of two by itself.
//!
//! Invariant: all three values of an expression stay as they are. Conditions of their own in a filter are
//! lists still, because unknown is as good as false there, and scans know lists. Non-goal: lists that come
//! together later, when two projections are made one.

use std::ops::Not;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, Operator, binary_expr, lit};
use datafusion::optimizer::AnalyzerRule;

/// Values of a list that are compared one by one. More are left to the planner.
const MOST_COMPARED: usize = 100;

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
                    let known = expr.transform_up(known)?;
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
        Expr::InList(list) if !list.negated && list.list.iter().all(is_constant) => {
            Ok(Expr::InList(list))
        }
        other => other.transform_up(known).data(),
    }
}

fn known(expr: Expr) -> Result<Transformed<Expr>> {
    match expr {
        Expr::InList(list) => Ok(without_null(list)),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (*left, *right) {
            (Expr::InList(left), Expr::InList(right)) => {
                Ok(Transformed::yes(both(left, op, right)))
            }
            (left, right) => Ok(Transformed::no(binary_expr(left, op, right))),
        },
        other => Ok(Transformed::no(other)),
    }
}

/// NULL beside the list, and comparisons instead of one whose values are not known.
fn without_null(list: InList) -> Transformed<Expr> {
    let InList {
        expr,
        list,
        negated,
    } = list;
    let before = list.len();
    let list: Vec<Expr> = list.into_iter().filter(|item| !is_null(item)).collect();
    let after = list.len();
    let unknown = lit(ScalarValue::Boolean(None));
    if list.is_empty() && before > 0 {
        return Transformed::yes(unknown);
    }
    let constant = list.iter().all(is_constant);
    let rest = InList::new(expr, list, negated);
    let rest = match constant {
        true => Expr::InList(rest),
        false => compared(rest),
    };
    match (after == before, negated) {
        (true, _) => Transformed::new(rest, !constant, TreeNodeRecursion::Continue),
        (false, true) => Transformed::yes(rest.and(unknown)),
        (false, false) => Transformed::yes(rest.or(unknown)),
    }
}

/// The same as comparisons, where that is not too much, and asks for nothing that is another one each time.
fn compared(list: InList) -> Expr {
    let InList {
        expr,
        list,
        negated,
    } = list;
    if list.len() > MOST_COMPARED || expr.is_volatile() {
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

/// Two lists, beside each other.
fn both(mut left: InList, op: Operator, mut right: InList) -> Expr {
    let literal = |list: &InList| {
        let mut items = list.list.iter();
        items.all(|item| matches!(item, Expr::Literal(..)))
    };
    let beside = |left: InList, right: Expr| binary_expr(Expr::InList(left), op, right);
    if left.expr != right.expr || left.expr.is_volatile() {
        return beside(left, Expr::InList(right));
    }
    if !literal(&left) || !literal(&right) {
        return beside(left, compared(right));
    }
    let has = |list: &InList, item: &Expr| list.list.contains(item);
    match (op, left.negated, right.negated) {
        (Operator::And, false, false) | (Operator::Or, true, true) => {
            left.list.retain(|item| has(&right, item));
        }
        (Operator::And, false, true) => left.list.retain(|item| !has(&right, item)),
        (Operator::And, true, false) => {
            right.list.retain(|item| !has(&left, item));
            left = right;
        }
        _ => return beside(left, Expr::InList(right)),
    }
    let unknown = lit(ScalarValue::Boolean(None));
    match (left.list.is_empty(), left.negated) {
        (false, _) => Expr::InList(left),
        (true, false) => left.expr.is_null().and(unknown),
        (true, true) => left.expr.is_not_null().or(unknown),
    }
}

/// Whether it is the same for all rows, and known when the statement is planned.
fn is_constant(expr: &Expr) -> bool {
    let varies = |expr: &Expr| {
        matches!(
            expr,
            Expr::Column(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
                | Expr::ScalarSubquery(_)
                | Expr::ScalarVariable(..)
        )
    };
    !expr.is_volatile() && !expr.exists(|expr| Ok(varies(expr))).unwrap_or(true)
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        Expr::TryCast(cast) => is_null(&cast.expr),
        _ => false,
    }
}
