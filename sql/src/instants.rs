//! Instants to the nanosecond, and columns that count in coarser units.
//!
//! Purpose: a time that a column of seconds does not have is none of its values. DataFusion turns such a
//! literal into the column's unit by dropping the rest, so that `at = '… 23:59:59.5'` finds the row of
//! another second, and takes every literal for nanoseconds first, which the year 3000 does not fit into.
//! [`ExactInstants`] compares in the column's own unit, with what is next to the literal there; and what is
//! computed once for a statement, such as `now()`, is brought to that unit before it becomes a literal.
//!
//! Invariant: a comparison says what it says of the instants themselves, NULL included. Non-goals: zones
//! other than UTC, casts to coarser units, and columns of nanoseconds, which are compared as they are.

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::functions::datetime;
use datafusion::logical_expr::expr::{Between, InList, ScalarFunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, Volatility, lit,
};
use datafusion::optimizer::AnalyzerRule;

use crate::by_type::rewrite_by_type;
use crate::functions::readable;

const NANOSECONDS: i128 = 1_000_000_000;
const SECONDS_OF_DAY: i128 = 86_400;

/// The instant of a text, in nanoseconds since 1970, as a cast reads it.
pub(crate) fn instant_of(text: &str) -> Option<i128> {
    let utc: Tz = "+00:00".parse().ok()?;
    let text = readable(text, &DataType::Timestamp(TimeUnit::Nanosecond, None))?;
    let instant = string_to_datetime(&utc, &text).ok()?;
    let seconds = i128::from(instant.timestamp()) * NANOSECONDS;
    Some(seconds + i128::from(instant.timestamp_subsec_nanos()))
}

/// The instant of a text as a value of a type, if the type has it.
pub(crate) fn exactly(text: &str, target: &DataType) -> Option<ScalarValue> {
    let unit = unit_of(target)?;
    let instant = instant_of(text)?;
    match instant.rem_euclid(unit) {
        0 => counted(instant.div_euclid(unit), target),
        _ => None,
    }
}

/// The nanoseconds that a type counts by; `None` if it is not about instants in UTC.
fn unit_of(data_type: &DataType) -> Option<i128> {
    match data_type {
        DataType::Timestamp(unit, zone) if zone.as_deref().is_none_or(is_utc) => {
            Some(NANOSECONDS / units_of_second(*unit))
        }
        DataType::Date32 => Some(SECONDS_OF_DAY * NANOSECONDS),
        _ => None,
    }
}

fn units_of_second(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => NANOSECONDS,
    }
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "+00:00" | "Z")
}

/// So many units of a type, if it goes that far.
fn counted(count: i128, target: &DataType) -> Option<ScalarValue> {
    let wide = || i64::try_from(count).ok();
    Some(match target {
        DataType::Date32 => ScalarValue::Date32(Some(i32::try_from(count).ok()?)),
        DataType::Timestamp(unit, zone) => {
            let (count, zone) = (Some(wide()?), zone.clone());
            match unit {
                TimeUnit::Second => ScalarValue::TimestampSecond(count, zone),
                TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(count, zone),
                TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(count, zone),
                TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(count, zone),
            }
        }
        _ => return None,
    })
}

/// Compares columns of coarse units with literals of finer ones. See the module.
#[derive(Debug)]
pub(crate) struct ExactInstants;

impl AnalyzerRule for ExactInstants {
    fn name(&self) -> &str {
        "exact_instants"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_by_type(plan, |expr, schema| Ok(compare(expr, schema)))
    }
}

fn compare(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let found = match &expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let turned = || Coarse::of(right, schema)?.compared(op.swap()?, left);
            let straight = Coarse::of(left, schema).and_then(|of| of.compared(*op, right));
            straight.or_else(turned)
        }
        Expr::Between(between) => between_of(between, schema),
        Expr::InList(list) => in_list(list, schema),
        _ => None,
    };
    match found {
        Some(found) => Transformed::yes(found),
        None => Transformed::no(expr),
    }
}

fn between_of(between: &Between, schema: &DFSchema) -> Option<Expr> {
    let coarse = Coarse::of(&between.expr, schema)?;
    let compared = |op, other| coarse.compared(op, other);
    Some(match between.negated {
        false => {
            compared(Operator::GtEq, &between.low)?.and(compared(Operator::LtEq, &between.high)?)
        }
        true => compared(Operator::Lt, &between.low)?.or(compared(Operator::Gt, &between.high)?),
    })
}

fn in_list(list: &InList, schema: &DFSchema) -> Option<Expr> {
    let coarse = Coarse::of(&list.expr, schema)?;
    let literals = list
        .list
        .iter()
        .all(|of| is_null(of) || instant(of).is_some());
    if literals {
        return coarse.in_literals(list);
    }
    let op = match list.negated {
        false => Operator::Eq,
        true => Operator::NotEq,
    };
    let each = list.list.iter().map(|other| coarse.compared(op, other));
    let each = each.collect::<Option<Vec<Expr>>>()?.into_iter();
    match list.negated {
        false => each.reduce(Expr::or),
        true => each.reduce(Expr::and),
    }
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        _ => false,
    }
}

/// What a literal says, which the types of a comparison may have been put around.
fn instant(expr: &Expr) -> Option<i128> {
    match expr {
        Expr::Literal(value, _) => instant_of_value(value),
        Expr::Cast(cast) => {
            // What is cast to less than a nanosecond is meant to be cut.
            let whole = unit_of(cast.field.data_type())? == 1;
            match cast.expr.as_ref() {
                Expr::Literal(value, _) if whole => {
                    let text = value.try_as_str().flatten().map(instant_of);
                    text.unwrap_or_else(|| instant_of_value(value))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn instant_of_value(value: &ScalarValue) -> Option<i128> {
    let unit = unit_of(&value.data_type())?;
    let count: i128 = match value {
        ScalarValue::Date32(days) => (*days)?.into(),
        ScalarValue::TimestampSecond(count, _)
        | ScalarValue::TimestampMillisecond(count, _)
        | ScalarValue::TimestampMicrosecond(count, _)
        | ScalarValue::TimestampNanosecond(count, _) => (*count)?.into(),
        _ => return None,
    };
    Some(count * unit)
}

/// Whether an expression of nanoseconds has one value in a statement, and becomes a literal.
fn is_computed_once(expr: &Expr) -> bool {
    let varies = expr.exists(|expr| {
        Ok(match expr {
            Expr::Literal(..)
            | Expr::Cast(_)
            | Expr::TryCast(_)
            | Expr::Alias(_)
            | Expr::Negative(_)
            | Expr::BinaryExpr(_) => false,
            Expr::ScalarFunction(call) => call.func.signature().volatility == Volatility::Volatile,
            _ => true,
        })
    });
    let nanoseconds = expr.get_type(&DFSchema::empty());
    !varies.unwrap_or(true) && nanoseconds.is_ok_and(|of| unit_of(&of) == Some(1))
}

/// An expression that was cast to a finer unit, to be compared.
struct Coarse<'a> {
    cast: &'a Expr,
    expr: &'a Expr,
    data_type: DataType,
}

impl<'a> Coarse<'a> {
    fn of(expr: &'a Expr, schema: &DFSchema) -> Option<Self> {
        let Expr::Cast(cast) = expr else { return None };
        let fine = unit_of(cast.field.data_type())?;
        let data_type = cast.expr.get_type(schema).ok()?;
        let is_literal = matches!(cast.expr.as_ref(), Expr::Literal(..));
        (!is_literal && unit_of(&data_type)? > fine).then_some(Self {
            cast: expr,
            expr: &cast.expr,
            data_type,
        })
    }

    fn compared(&self, op: Operator, other: &Expr) -> Option<Expr> {
        match instant(other) {
            Some(instant) => self.compared_with(op, instant),
            None => self.compared_once(op, other),
        }
    }

    /// The comparison with what is computed once, between whose nanosecond and the one before it there
    /// is nothing. Of both, the values that begin there or before are compared.
    fn compared_once(&self, op: Operator, other: &Expr) -> Option<Expr> {
        let unit = unit_of(&self.data_type)?;
        if !matches!(self.data_type, DataType::Timestamp(..)) || !is_computed_once(other) {
            return None;
        }
        let nanoseconds = |count| {
            let count = IntervalMonthDayNano::new(0, 0, count);
            lit(ScalarValue::IntervalMonthDayNano(Some(count)))
        };
        let unit = nanoseconds(i64::try_from(unit).ok()?);
        let begin = |of: Expr| {
            let arguments = vec![unit.clone(), of];
            Expr::ScalarFunction(ScalarFunction::new_udf(datetime::date_bin(), arguments))
        };
        let at = || begin(other.clone());
        let before = || {
            let (left, right) = (Box::new(other.clone()), Box::new(nanoseconds(1)));
            let op = Operator::Minus;
            begin(Expr::BinaryExpr(BinaryExpr { left, op, right }))
        };
        let cast = || self.cast.clone();
        Some(match op {
            Operator::Lt => cast().lt_eq(before()),
            Operator::LtEq => cast().lt_eq(at()),
            Operator::Gt => cast().gt(at()),
            Operator::GtEq => cast().gt(before()),
            Operator::Eq => cast().lt_eq(at()).and(cast().gt(before())),
            Operator::NotEq => cast().gt(at()).or(cast().lt_eq(before())),
            _ => return None,
        })
    }

    /// The values that the column may have are left of a list of literals.
    fn in_literals(&self, list: &InList) -> Option<Expr> {
        let unit = unit_of(&self.data_type)?;
        let mut values = Vec::with_capacity(list.list.len());
        for literal in &list.list {
            match instant(literal) {
                Some(of) if of.rem_euclid(unit) == 0 => {
                    values.push(lit(counted(of.div_euclid(unit), &self.data_type)?));
                }
                Some(_) => {}
                None => values.push(lit(ScalarValue::try_from(&self.data_type).ok()?)),
            }
        }
        Some(match (values.is_empty(), list.negated) {
            (false, negated) => self.expr.clone().in_list(values, negated),
            (true, true) => self.always(),
            (true, false) => self.never(),
        })
    }

    /// The comparison with an instant. One between two values is greater than the first of them, and
    /// not equal to any.
    fn compared_with(&self, op: Operator, instant: i128) -> Option<Expr> {
        let unit = unit_of(&self.data_type)?;
        let value = lit(counted(instant.div_euclid(unit), &self.data_type)?);
        let whole = instant.rem_euclid(unit) == 0;
        let op = match op {
            Operator::Eq | Operator::NotEq if whole => op,
            Operator::Eq => return Some(self.never()),
            Operator::NotEq => return Some(self.always()),
            Operator::Lt | Operator::GtEq if whole => op,
            Operator::Lt | Operator::LtEq => Operator::LtEq,
            Operator::Gt | Operator::GtEq => Operator::Gt,
            Operator::IsDistinctFrom | Operator::IsNotDistinctFrom if whole => op,
            Operator::IsDistinctFrom => return Some(lit(true)),
            Operator::IsNotDistinctFrom => return Some(lit(false)),
            _ => return None,
        };
        let (left, right) = (Box::new(self.expr.clone()), Box::new(value));
        Some(Expr::BinaryExpr(BinaryExpr { left, op, right }))
    }

    /// False, and unknown for NULL.
    fn never(&self) -> Expr {
        let unknown = lit(ScalarValue::Boolean(None));
        self.expr.clone().is_null().and(unknown)
    }

    /// True, and unknown for NULL.
    fn always(&self) -> Expr {
        let unknown = lit(ScalarValue::Boolean(None));
        self.expr.clone().is_not_null().or(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_value_where_the_unit_has_it() {
        let seconds = DataType::Timestamp(TimeUnit::Second, None);
        let of = |text: &str| exactly(text, &seconds);
        let second = |count| Some(ScalarValue::TimestampSecond(Some(count), None));
        assert_eq!(of("1969-12-31 23:59:59"), second(-1));
        assert_eq!(of("1969-12-31 23:59:59.5"), None);
        assert_eq!(of("1970-01-01T01:00:00+01:00"), second(0));
        assert_eq!(of("3000-01-01"), second(32_503_680_000));
        assert_eq!(of("tomorrow"), None);
        let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        assert_eq!(exactly("3000-01-01", &nanoseconds), None);
        assert!(exactly("2000-01-01 00:00:00.000000001", &nanoseconds).is_some());
        let days = exactly("1970-01-02", &DataType::Date32);
        assert_eq!(days, Some(ScalarValue::Date32(Some(1))));
    }
}
