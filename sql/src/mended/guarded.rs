//! Expressions that the simplifier makes others of.
//!
//! - `CAST(x AS INT) = 1` is asked of `x` without the cast, although 1.5 is cast to 1, and `TRY_CAST` of what has no
//!   room is NULL. What such a cast gives goes through [`Nullable`], which hides it.
//! - `d % 1` of a DECIMAL that is never NULL is taken for 0, and `a # a` for 0 though a may be NULL: the same.
//! - A regular expression with a backslash that means itself becomes a LIKE, where it means something else; `~ '.*'`
//!   of NULL becomes FALSE. An empty group at the end keeps both what they are.
//! - A CASE of truth values becomes AND and OR, of which all parts are computed: `CASE WHEN b = 0 THEN FALSE ELSE 10 %
//!   b = 0 END` divides by zero. Where a part may fail, its values are numbers, of which a truth value is made above.
//! - In `WHERE b <> 0 AND 10 % b = 0` both are computed of all rows, unless few are left; and what is cheap is put
//!   first. A division, or a cast of a text, is asked only of rows for which the conditions before it that share a
//!   column with it are true. SQL promises no order, but whoever writes one means it.
//! - A list of floats is searched by bits, where 0 and -0 are two: it gets both. `CASE x WHEN 0` is asked of `x + 0`,
//!   which is never -0.
//!
//! Invariant: values, types and names stay as they are. Non-goal: what the simplifier sees only later, where it has
//! put a constant in the place of a column.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Case, InList, ScalarFunction};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, Filter, LogicalPlan, Operator, ScalarUDF, TryCast, cast,
    lit,
};
use datafusion::optimizer::AnalyzerRule;

use super::Nullable;
use crate::by_type::rewrite_by_type;
use crate::functions::is_text;

/// A group that matches nothing, behind which no regular expression is a LIKE.
const EMPTY_GROUP: &str = "()";

/// Keeps expressions from being simplified wrongly. See the module.
#[derive(Debug)]
pub(super) struct Guarded;

impl AnalyzerRule for Guarded {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = rewrite_by_type(plan, guarded)?;
        let ordered = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Filter(filter) => filter_guarded(filter),
            node => Ok(Transformed::no(node)),
        })?;
        Ok(ordered.data)
    }

    fn name(&self) -> &str {
        "guarded"
    }
}

/// The same for one expression, whose parts are done.
pub(super) fn guarded(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::Cast(Cast { expr, field }) => {
            let narrows = narrows(&expr, field.data_type(), schema);
            hidden(Expr::Cast(Cast { expr, field }), narrows)
        }
        Expr::TryCast(TryCast { expr, field }) => {
            let narrows = narrows(&expr, field.data_type(), schema);
            hidden(Expr::TryCast(TryCast { expr, field }), narrows)
        }
        Expr::BinaryExpr(binary) => binary_guarded(binary, schema),
        Expr::ScalarFunction(function) if function.name() == "regexp_like" => of_pattern(function),
        Expr::Case(case) => case_guarded(case, schema)?,
        Expr::InList(list) => with_both_zeros(list),
        other => Transformed::no(other),
    })
}

/// The same value, of which the simplifier knows nothing.
fn hidden(expr: Expr, hides: bool) -> Transformed<Expr> {
    match hides {
        true => Transformed::yes(ScalarUDF::from(Nullable::new()).call(vec![expr])),
        false => Transformed::no(expr),
    }
}

fn binary_guarded(binary: BinaryExpr, schema: &DFSchema) -> Transformed<Expr> {
    let BinaryExpr { left, op, right } = binary;
    let of = |left, right| Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)));
    let is_exact = |expr: &Expr| {
        let kind = expr.get_type(schema);
        kind.is_ok_and(|kind| kind.is_decimal())
    };
    match op {
        Operator::Modulo if is_exact(&left) && is_literal(&right) => {
            Transformed::yes(of(hidden(*left, true).data, *right))
        }
        Operator::BitwiseXor => Transformed::yes(of(hidden(*left, true).data, *right)),
        Operator::RegexMatch
        | Operator::RegexIMatch
        | Operator::RegexNotMatch
        | Operator::RegexNotIMatch => match kept_pattern(&right) {
            Some(pattern) => Transformed::yes(of(*left, pattern)),
            None => Transformed::no(of(*left, *right)),
        },
        // They may become one list.
        Operator::Or if has_zero(&left) || has_zero(&right) => {
            Transformed::yes(of(as_list_of_zeros(*left), as_list_of_zeros(*right)))
        }
        _ => Transformed::no(of(*left, *right)),
    }
}

fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(cast) => is_literal(&cast.expr),
        expr => matches!(expr, Expr::Literal(..) | Expr::Placeholder(_)),
    }
}

/// Whether a cast may give another value, or none.
fn narrows(expr: &Expr, to: &DataType, schema: &DFSchema) -> bool {
    let Ok(from) = expr.get_type(schema) else {
        return false;
    };
    if is_literal(expr) || from == *to {
        return false;
    }
    match (digits(&from), digits(to)) {
        (Some((whole, scale)), Some((to_whole, to_scale))) => {
            let loses_sign = from.is_signed_integer() && to.is_unsigned_integer();
            // Of its longest numbers an integer has not all.
            let room = to_whole - i16::from(to.is_integer());
            room < whole || to_scale < scale || loses_sign
        }
        // Instants as numbers, or numbers as instants.
        (Some(_), None) => matches!(to, DataType::Timestamp(..)),
        (None, Some(_)) => matches!(from, DataType::Timestamp(..)),
        (None, None) => false,
    }
}

/// Digits before and behind the point that numbers of a type may have.
fn digits(kind: &DataType) -> Option<(i16, i16)> {
    let whole = |digits: i16| Some((digits, 0));
    match kind {
        DataType::Int8 | DataType::UInt8 => whole(3),
        DataType::Int16 | DataType::UInt16 => whole(5),
        DataType::Int32 | DataType::UInt32 => whole(10),
        DataType::Int64 => whole(19),
        DataType::UInt64 => whole(20),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            let scale = i16::from(*scale);
            Some((i16::from(*precision) - scale, scale))
        }
        _ => None,
    }
}

/// A pattern that stays a regular expression, if it has to.
fn kept_pattern(pattern: &Expr) -> Option<Expr> {
    let (value, metadata) = match pattern {
        Expr::Literal(value, metadata) => (value, metadata),
        Expr::Cast(Cast { expr, field }) => {
            let kept = Box::new(kept_pattern(expr)?);
            return Some(Expr::Cast(Cast::new_from_field(kept, Arc::clone(field))));
        }
        _ => return None,
    };
    let text = value.try_as_str().flatten()?;
    if !(text.contains("\\\\") || text.contains("\\x") || text.contains("\\u") || text == ".*") {
        return None;
    }
    let text = format!("{text}{EMPTY_GROUP}");
    let kept = match value {
        ScalarValue::Utf8View(_) => ScalarValue::Utf8View(Some(text)),
        ScalarValue::LargeUtf8(_) => ScalarValue::LargeUtf8(Some(text)),
        _ => ScalarValue::Utf8(Some(text)),
    };
    Some(Expr::Literal(kept, metadata.clone()))
}

fn of_pattern(mut function: ScalarFunction) -> Transformed<Expr> {
    let pattern = function.args.get_mut(1);
    let kept = pattern.and_then(|pattern| {
        *pattern = kept_pattern(pattern)?;
        Some(())
    });
    match kept {
        Some(()) => Transformed::yes(Expr::ScalarFunction(function)),
        None => Transformed::no(Expr::ScalarFunction(function)),
    }
}

fn case_guarded(case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let expr = Expr::Case(case);
    let is_truth = expr.get_type(schema)? == DataType::Boolean;
    let Expr::Case(case) = expr else {
        return Ok(Transformed::no(expr));
    };
    if let Some(asked) = &case.expr {
        let kind = asked.get_type(schema)?;
        return Ok(without_signed_zero(case, &kind));
    }
    let parts = || {
        let branches = case.when_then_expr.iter();
        let parts = branches.flat_map(|(when, then)| [when.as_ref(), then.as_ref()]);
        parts.chain(case.else_expr.as_deref())
    };
    // The first condition is asked of all rows anyway.
    if !is_truth || !parts().skip(1).any(may_fail) {
        return Ok(Transformed::no(Expr::Case(case)));
    }
    Ok(Transformed::yes(as_numbers(case)))
}

/// A CASE of truth values that stays one.
fn as_numbers(case: Case) -> Expr {
    let number = |truth: Box<Expr>| Box::new(cast(*truth, DataType::Int8));
    let branches = case.when_then_expr.into_iter();
    let numbers = Case {
        expr: None,
        when_then_expr: branches.map(|(when, then)| (when, number(then))).collect(),
        else_expr: case.else_expr.map(number),
    };
    // Not a cast of the CASE, which would be put into its branches.
    Expr::Case(numbers).eq(lit(1_i8))
}

/// A filter whose conditions are asked where those before them hold.
fn filter_guarded(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let schema = filter.input.schema();
    let parts = split_conjunction(&filter.predicate);
    if parts.len() < 2 || !parts.iter().any(|part| is_delicate(part, schema)) {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let is_joined = matches!(filter.input.as_ref(), LogicalPlan::Join(_));
    let is_guard: Vec<bool> = parts
        .iter()
        .map(|part| {
            let apart = part.is_volatile() || part.contains_outer() || has_plan(part);
            !apart && !is_delicate(part, schema)
        })
        .collect();
    let mut ordered = Vec::with_capacity(parts.len());
    for (place, part) in parts.iter().enumerate() {
        let columns = part.column_refs();
        let mut tables: Vec<_> = columns.iter().map(|column| &column.relation).collect();
        tables.dedup();
        // With columns of two tables, or of the rows around, it may be what they are joined by.
        let is_of_one = match tables.as_slice() {
            [table] => table.is_some() || !is_joined,
            _ => false,
        };
        let asks =
            is_of_one && is_delicate(part, schema) && !part.contains_outer() && !has_plan(part);
        if !asks {
            ordered.push((*part).clone());
            continue;
        }
        let before = parts.iter().zip(&is_guard).take(place);
        let before = before.filter(|(guard, is_guard)| {
            let mut refs = guard.column_refs().into_iter();
            **is_guard && refs.any(|column| columns.contains(column))
        });
        ordered.push(
            match conjunction(before.map(|(guard, _)| (*guard).clone())) {
                Some(guard) => as_numbers(Case {
                    expr: None,
                    when_then_expr: vec![(Box::new(guard), Box::new((*part).clone()))],
                    else_expr: Some(Box::new(lit(false))),
                }),
                None => (*part).clone(),
            },
        );
    }
    let predicate = conjunction(ordered).unwrap_or_else(|| lit(true));
    let filter = Filter::try_new(predicate, Arc::clone(&filter.input))?;
    Ok(Transformed::yes(LogicalPlan::Filter(filter)))
}

/// Whether something divides by a value, or reads a text as something else.
fn is_delicate(expr: &Expr, schema: &DFSchema) -> bool {
    let found = expr.exists(|part| {
        Ok(match part {
            Expr::BinaryExpr(binary) => {
                matches!(binary.op, Operator::Divide | Operator::Modulo)
                    && !is_literal(&binary.right)
                    && !binary.right.get_type(schema)?.is_floating()
            }
            Expr::Cast(Cast { expr, field }) => {
                let from = expr.get_type(schema)?;
                !is_literal(expr) && is_text(&from) && !is_text(field.data_type())
            }
            _ => false,
        })
    });
    found.unwrap_or(false)
}

fn has_plan(expr: &Expr) -> bool {
    let found = expr.exists(|part| {
        Ok(matches!(
            part,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
        ))
    });
    found.unwrap_or(true)
}

/// Whether a value may be an error: all but columns, literals, and what is compared or put together of them.
fn may_fail(expr: &Expr) -> bool {
    let fails = expr.exists(|part| {
        Ok(match part {
            Expr::BinaryExpr(binary) => binary.op.is_numerical_operators(),
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::Alias(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNotUnknown(_)
            | Expr::Between(_)
            | Expr::InList(_)
            | Expr::Like(_)
            | Expr::Case(_)
            | Expr::OuterReferenceColumn(..) => false,
            _ => true,
        })
    });
    fails.unwrap_or(true)
}

/// The other zero, of a literal that is one.
fn other_zero(expr: &Expr) -> Option<Expr> {
    let value = match expr {
        Expr::Literal(value, _) => value.clone(),
        Expr::Cast(cast) => match cast.expr.as_ref() {
            Expr::Literal(value, _) => value.cast_to(cast.field.data_type()).ok()?,
            _ => return None,
        },
        _ => return None,
    };
    match value {
        ScalarValue::Float64(Some(zero)) if zero == 0.0 => Some(lit(-zero)),
        ScalarValue::Float32(Some(zero)) if zero == 0.0 => Some(lit(-zero)),
        _ => None,
    }
}

fn with_both_zeros(mut list: InList) -> Transformed<Expr> {
    let known: HashSet<&Expr> = list.list.iter().filter(|item| is_literal(item)).collect();
    let others = list.list.iter().filter_map(other_zero);
    let others: Vec<Expr> = others.filter(|zero| !known.contains(zero)).collect();
    if others.is_empty() {
        return Transformed::no(Expr::InList(list));
    }
    list.list.extend(others.into_iter().take(1));
    Transformed::yes(Expr::InList(list))
}

fn has_zero(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) => other_zero(left).is_some() != other_zero(right).is_some(),
        _ => false,
    }
}

/// `x = 0.0` as a list of both zeros.
fn as_list_of_zeros(expr: Expr) -> Expr {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = expr
    else {
        return expr;
    };
    let list = |asked: Box<Expr>, zero: Box<Expr>, other: Expr| {
        Expr::InList(InList::new(asked, vec![*zero, other], false))
    };
    match (other_zero(&left), other_zero(&right)) {
        (None, Some(other)) => list(left, right, other),
        (Some(other), None) => list(right, left, other),
        _ => Expr::BinaryExpr(BinaryExpr::new(left, Operator::Eq, right)),
    }
}

/// `CASE x WHEN 0` for both zeros: -0.0 and 0.0 is 0.0.
fn without_signed_zero(mut case: Case, kind: &DataType) -> Transformed<Expr> {
    let zero = match kind {
        DataType::Float64 => lit(0.0_f64),
        DataType::Float32 => lit(0.0_f32),
        _ => return Transformed::no(Expr::Case(case)),
    };
    let mut asks = false;
    for (when, _) in &mut case.when_then_expr {
        if other_zero(when).is_some() {
            **when = zero.clone();
            asks = true;
        }
    }
    if asks {
        case.expr = case.expr.map(|asked| Box::new(*asked + zero));
    }
    Transformed::new_transformed(Expr::Case(case), asks)
}
