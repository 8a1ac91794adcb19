//! Intervals that are compared.
//!
//! DataFusion compares months, then days, then the time of a day, so that `36 hours` is less than `1 day`, and a
//! difference of two timestamps, which has a time alone, less than any interval of days. As in PostgreSQL and DuckDB they
//! are compared as if a month had 30 days and a day 24 hours.
//!
//! Idea: comparisons and orders are those of a number, the length; `min` and `max` are the first by that. Non-goal:
//! groups, in which `1 day` and `24 hours` are two values, as they are shown.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{DFSchema, Result};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, Between, InList};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprFunctionExt, ExprSchemable, LogicalPlan, SortExpr, WindowFrameBound,
    WindowFrameUnits,
};
use datafusion::optimizer::AnalyzerRule;

use super::digits::is_comparison;
use crate::by_type::rewrite_by_type;
use crate::functions::span_length;

/// Compares intervals by their lengths. See the module.
#[derive(Debug)]
pub(super) struct ByLength;

impl AnalyzerRule for ByLength {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = rewrite_by_type(plan, compared)?;
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Sort(mut sort) => {
                Ok(match by_length(&mut sort.expr, sort.input.schema()) {
                    true => Transformed::yes(LogicalPlan::Sort(sort)),
                    false => Transformed::no(LogicalPlan::Sort(sort)),
                })
            }
            node => Ok(Transformed::no(node)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "intervals_by_length"
    }
}

fn is_span(expr: &Expr, schema: &DFSchema) -> bool {
    let kind = expr.get_type(schema);
    kind.is_ok_and(|kind| matches!(kind, DataType::Interval(_) | DataType::Duration(_)))
}

/// Lets orders be those of lengths; whether one changed.
fn by_length(orders: &mut [SortExpr], schema: &DFSchema) -> bool {
    let mut changed = false;
    for order in orders {
        if is_span(&order.expr, schema) {
            order.expr = span_length(order.expr.clone());
            changed = true;
        }
    }
    changed
}

/// Intervals that one expression compares, whose parts are done.
pub(super) fn compared(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let length = |expr: Box<Expr>| Box::new(span_length(*expr));
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if is_comparison(op) && is_span(&left, schema) && is_span(&right, schema) =>
        {
            let lengths = BinaryExpr::new(length(left), op, length(right));
            Transformed::yes(Expr::BinaryExpr(lengths))
        }
        Expr::Between(between) if is_span(&between.expr, schema) => {
            let Between {
                expr,
                negated,
                low,
                high,
            } = between;
            let lengths = Between::new(length(expr), negated, length(low), length(high));
            Transformed::yes(Expr::Between(lengths))
        }
        Expr::InList(list) if is_span(&list.expr, schema) => {
            let values = list.list.into_iter().map(span_length).collect();
            let lengths = InList::new(length(list.expr), values, list.negated);
            Transformed::yes(Expr::InList(lengths))
        }
        Expr::AggregateFunction(function) => aggregated(function, schema)?,
        Expr::WindowFunction(mut function) => {
            let frame = &function.params.window_frame;
            // So much before or behind a row is added to what it is ordered by.
            if frame.units == WindowFrameUnits::Range
                && (counts(&frame.start_bound) || counts(&frame.end_bound))
            {
                return Ok(Transformed::no(Expr::WindowFunction(function)));
            }
            match by_length(&mut function.params.order_by, schema) {
                true => Transformed::yes(Expr::WindowFunction(function)),
                false => Transformed::no(Expr::WindowFunction(function)),
            }
        }
        other => Transformed::no(other),
    })
}

fn counts(bound: &WindowFrameBound) -> bool {
    match bound {
        WindowFrameBound::Preceding(value) | WindowFrameBound::Following(value) => !value.is_null(),
        WindowFrameBound::CurrentRow => false,
    }
}

fn aggregated(mut function: AggregateFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let ascending = match function.func.name() {
        "min" => Some(true),
        "max" => Some(false),
        _ => None,
    };
    let value = match function.params.args.as_slice() {
        [value] if is_span(value, schema) => Some(value.clone()),
        _ => None,
    };
    let (Some(ascending), Some(value)) = (ascending, value) else {
        return Ok(match by_length(&mut function.params.order_by, schema) {
            true => Transformed::yes(Expr::AggregateFunction(function)),
            false => Transformed::no(Expr::AggregateFunction(function)),
        });
    };
    let known = value.clone().is_not_null();
    let filter = match function.params.filter {
        Some(filter) => filter.and(known),
        None => known,
    };
    let order = span_length(value.clone()).sort(ascending, false);
    let first = first_value_udaf().call(vec![value]);
    let first = first.order_by(vec![order]).filter(filter).build()?;
    Ok(Transformed::yes(first))
}
