//! Numbers of many digits that are compared.
//!
//! A number that a DOUBLE may not keep is planned as a text that is cast to DECIMAL where it is compared. DataFusion
//! would cast a DOUBLE on the other side to DECIMAL, too, which has no room for a large one. [`Digits`] looks
//! at the other side first: the number stays a DECIMAL beside another one, and is a DOUBLE beside anything else.
//!
//! Invariant: but for a DECIMAL, a comparison is what it is with a DOUBLE in it. Non-goal: a DECIMAL that has
//! not room for the digits of both sides, which is compared as a DOUBLE.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, lit};
use datafusion::optimizer::AnalyzerRule;

use crate::by_type::in_any_expression;
use crate::exact;

/// See the module.
#[derive(Debug)]
pub(super) struct Digits;

impl AnalyzerRule for Digits {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            if !in_any_expression(&node, |expr| number(expr).is_some())? {
                return Ok(Transformed::no(node));
            }
            let schema = merge_schema(&node.inputs());
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let read = expr.transform_up(|expr| Ok(read(expr, &schema)))?;
                Ok(read.update_data(|expr| name.restore(expr)))
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        "digits"
    }
}

/// A number of many digits: as a DOUBLE, and its type as a DECIMAL.
fn number(expr: &Expr) -> Option<(f64, &DataType)> {
    let Expr::Cast(cast) = expr else { return None };
    let to = cast.field.data_type();
    match cast.expr.as_ref() {
        Expr::Literal(ScalarValue::Utf8(Some(digits)), _) if to.is_decimal() => {
            let bare = digits.strip_prefix('-').unwrap_or(digits);
            // Whoever writes such a cast may round by it.
            let is_whole = exact::decimal(bare)?.data_type() == *to;
            is_whole.then_some((digits.parse().ok()?, to))
        }
        _ => None,
    }
}

/// Numbers of many digits in one expression, whose parts are done.
pub(super) fn read(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let beside = |other: &Expr| other.get_type(schema).ok();
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(op) => {
            let (of_left, of_right) = (beside(&left), beside(&right));
            let left = Box::new(fit(*left, of_right));
            let right = Box::new(fit(*right, of_left));
            Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
        }
        Expr::Between(between) => {
            let other = beside(&between.expr);
            Transformed::yes(Expr::Between(Between {
                low: Box::new(fit(*between.low, other.clone())),
                high: Box::new(fit(*between.high, other)),
                ..between
            }))
        }
        Expr::InList(list) => {
            let other = beside(&list.expr);
            let items = list.list.into_iter();
            let items = items.map(|item| fit(item, other.clone()));
            Transformed::yes(Expr::InList(InList {
                list: items.collect(),
                ..list
            }))
        }
        other => Transformed::no(other),
    }
}

pub(super) fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(
        op,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
    )
}

/// A number as it is compared with something of a type.
fn fit(expr: Expr, other: Option<DataType>) -> Expr {
    match number(&expr) {
        Some((double, own)) if !other.is_some_and(|other| has_room(own, &other)) => lit(double),
        _ => expr,
    }
}

/// Whether a DECIMAL has all digits of two.
fn has_room(one: &DataType, other: &DataType) -> bool {
    let (Some((one, scale)), Some((other, other_scale))) = (digits(one), digits(other)) else {
        return false;
    };
    one.max(other) + scale.max(other_scale) <= i16::from(DECIMAL128_MAX_PRECISION)
}

/// The digits before the point, and behind it.
fn digits(data_type: &DataType) -> Option<(i16, i16)> {
    match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => {
            let (precision, scale) = (i16::from(*precision), i16::from(*scale));
            Some((precision - scale, scale))
        }
        _ => None,
    }
}
