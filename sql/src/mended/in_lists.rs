//! NULL in the list of IN.
//!
//! `x IN (1, 2) AND x NOT IN (NULL)` is never true: whether x is NULL is unknown. DataFusion takes the second list
//! out of the first, as if NULL were a value like others. [`KnownLists`] says what NULL means beside
//! the list: `x NOT IN (1, NULL)` is `x NOT IN (1) AND NULL`, `x IN (1, NULL)` is `x IN (1) OR NULL`.
//!
//! Invariant: all three values of an expression stay as they are. An IN that is a condition of its own in a filter
//! stays, because unknown is as good as false there, and scans know it.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, Operator, lit};
use datafusion::optimizer::AnalyzerRule;

/// Takes NULL out of lists. See the module.
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
        Expr::InList(list) if !list.negated => Ok(Expr::InList(list)),
        other => other.transform_up(known).data(),
    }
}

fn known(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::InList(InList {
        expr,
        list,
        negated,
    }) = expr
    else {
        return Ok(Transformed::no(expr));
    };
    let before = list.len();
    let list: Vec<Expr> = list.into_iter().filter(|item| !is_null(item)).collect();
    let after = list.len();
    let unknown = lit(ScalarValue::Boolean(None));
    if list.is_empty() && before > 0 {
        return Ok(Transformed::yes(unknown));
    }
    let rest = Expr::InList(InList::new(expr, list, negated));
    Ok(match (after == before, negated) {
        (true, _) => Transformed::no(rest),
        (false, true) => Transformed::yes(rest.and(unknown)),
        (false, false) => Transformed::yes(rest.or(unknown)),
    })
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        Expr::TryCast(cast) => is_null(&cast.expr),
        _ => false,
    }
}
