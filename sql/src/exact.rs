//! Numbers that are written out, digit by digit.
//!
//! Idea: the planner reads a number with a point as DOUBLE, which has some 15 digits; where a DECIMAL is
//! wanted, the digits go there as they were written. Invariant: what becomes of a number that a DOUBLE has
//! exactly is not changed by it. Non-goal: numbers that are computed.

use arrow::datatypes::{DataType, Decimal128Type, DecimalType};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType as SqlDataType, ExactNumberInfo, Expr, UnaryOperator, Value,
};

/// The digits that a DOUBLE keeps, whatever they are.
const DOUBLE_DIGITS: usize = 15;
/// The digits of a DECIMAL.
const DECIMAL_DIGITS: usize = 38;
/// The most of them behind the point.
const DECIMAL_SCALE: i64 = 38;
/// The most zeros that an exponent stands for.
const MAX_SHIFT: usize = 100;

/// The digits of a number in a statement, with its sign, if a DOUBLE may not keep them or may round them to
/// so many digits behind the point in another way.
pub(crate) fn digits_of(expr: &Expr, scale: i64) -> Option<String> {
    let digits = written(expr)?;
    let bare = digits.trim_start_matches('-');
    if bare.parse::<u64>().is_ok() {
        return None;
    }
    let (before, behind) = bare.split_once('.').unwrap_or((bare, ""));
    let rounds = i64::try_from(behind.len()).is_ok_and(|behind| behind > scale);
    // Digits that are added to those of a DOUBLE show what it really is.
    let wanted = usize::try_from(scale).map_or(0, |scale| scale.saturating_add(before.len()));
    let shows = scale <= DECIMAL_SCALE && !behind.is_empty() && wanted > DOUBLE_DIGITS;
    (rounds || shows || significant(bare) > DOUBLE_DIGITS).then_some(digits)
}

fn written(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) => written(inner),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match written(expr)? {
            signed if signed.starts_with('-') => None,
            digits => Some(format!("-{digits}")),
        },
        Expr::Value(value) => match &value.value {
            Value::Number(digits, false) => without_exponent(digits),
            _ => None,
        },
        _ => None,
    }
}

/// `1.25e3` as `1250`.
fn without_exponent(text: &str) -> Option<String> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        None => (text, 0),
        Some((digits, exponent)) => (digits, exponent.parse::<isize>().ok()?),
    };
    let (before, behind) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{before}{behind}");
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if exponent.unsigned_abs() > MAX_SHIFT {
        return None;
    }
    let point = isize::try_from(before.len()).ok()? + exponent;
    let zeros = "0".repeat(point.min(0).unsigned_abs());
    let all = format!("{zeros}{all}");
    let point = usize::try_from(point.max(0)).ok()?;
    Some(match all.split_at_checked(point) {
        Some(("", behind)) => format!("0.{behind}"),
        Some((before, "")) => before.to_owned(),
        Some((before, behind)) => format!("{before}.{behind}"),
        None => format!("{all}{}", "0".repeat(point - all.len())),
    })
}

/// How many digits matter.
fn significant(digits: &str) -> usize {
    let digits = match digits.contains('.') {
        true => digits.trim_end_matches('0'),
        false => digits,
    };
    let digits = digits.trim_start_matches(['0', '.']);
    digits.bytes().filter(u8::is_ascii_digit).count()
}

/// A number of a statement as a value of a DECIMAL, if it is one that has to go there digit by digit.
pub(crate) fn for_column(value: Expr, column: &DataType) -> Expr {
    let (precision, scale) = match column {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => (*precision, *scale),
        _ => return value,
    };
    match digits_of(&value, scale.into()) {
        Some(digits) => Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(text(digits)),
            data_type: SqlDataType::Decimal(ExactNumberInfo::PrecisionAndScale(
                precision.into(),
                scale.into(),
            )),
            array: false,
            format: None,
        },
        None => value,
    }
}

/// `CAST(0.285 AS DECIMAL(9, 2))`, of the digits as they are written.
#[inline(never)]
pub(crate) fn cast_digits(expr: &mut Expr) {
    let Expr::Cast {
        expr: inner,
        data_type,
        ..
    } = expr
    else {
        return;
    };
    let info = match data_type {
        SqlDataType::Decimal(info) | SqlDataType::Numeric(info) | SqlDataType::Dec(info) => info,
        _ => return,
    };
    let scale = match info {
        ExactNumberInfo::None => return,
        ExactNumberInfo::Precision(_) => 0,
        ExactNumberInfo::PrecisionAndScale(_, scale) => *scale,
    };
    if let Some(digits) = digits_of(inner, scale) {
        **inner = text(digits);
    }
}

/// Numbers that are compared, as DECIMAL where a DOUBLE may not keep them. Beside anything but a DECIMAL they are
/// made what they were ([`crate::mended`]).
#[inline(never)]
pub(crate) fn compared(expr: &mut Expr) {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    match expr {
        // Of a parameter's type the other side is what is known.
        Expr::BinaryOp { left, right, .. } if is_parameter(left) || is_parameter(right) => {}
        Expr::BinaryOp {
            left,
            op: Eq | NotEq | Lt | LtEq | Gt | GtEq,
            right,
        } => [left, right].into_iter().for_each(|side| as_decimal(side)),
        Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
            [left, right].into_iter().for_each(|side| as_decimal(side));
        }
        Expr::Between { low, high, .. } => {
            [low, high].into_iter().for_each(|side| as_decimal(side));
        }
        Expr::InList { list, .. } => list.iter_mut().for_each(as_decimal),
        _ => {}
    }
}

fn is_parameter(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
}

fn as_decimal(expr: &mut Expr) {
    // As most numbers are: integers that any type of numbers keeps.
    if let Expr::Value(value) = expr
        && let Value::Number(digits, _) = &value.value
        && digits.len() <= DOUBLE_DIGITS
        && digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        return;
    }
    let Some(digits) = digits_of(expr, i64::MAX) else {
        return;
    };
    let (sign, bare) = match digits.strip_prefix('-') {
        Some(bare) => ("-", bare),
        None => ("", digits.as_str()),
    };
    let Some(ScalarValue::Decimal128(_, precision, scale)) = decimal(bare) else {
        return;
    };
    *expr = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(text(format!("{sign}{bare}"))),
        data_type: SqlDataType::Decimal(ExactNumberInfo::PrecisionAndScale(
            precision.into(),
            scale.into(),
        )),
        array: false,
        format: None,
    };
}

fn text(digits: String) -> Expr {
    Expr::Value(Value::SingleQuotedString(digits).into())
}

/// A number with a point, or too large for an integer, that a DOUBLE may not keep.
pub(crate) fn decimal(digits: &str) -> Option<ScalarValue> {
    let count = significant(digits);
    if count <= DOUBLE_DIGITS || count > DECIMAL_DIGITS {
        return None;
    }
    let (before, behind) = digits.split_once('.').unwrap_or((digits, ""));
    let before = before.trim_start_matches('0');
    if before.len() + behind.len() > DECIMAL_DIGITS {
        return None;
    }
    let value: i128 = format!("{before}{behind}").parse().ok()?;
    let scale = i8::try_from(behind.len()).ok()?;
    let precision = u8::try_from((before.len() + behind.len()).max(1)).ok()?;
    Some(ScalarValue::Decimal128(Some(value), precision, scale))
}

/// A DECIMAL, as DOUBLE reads its digits.
pub(crate) fn as_double(value: &ScalarValue) -> Option<f64> {
    match value {
        ScalarValue::Decimal128(Some(value), precision, scale) => {
            let digits = Decimal128Type::format_decimal(*value, *precision, *scale);
            digits.parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn digits(text: &str, scale: i64) -> Option<String> {
        let parser = Parser::new(&GenericDialect).try_with_sql(text);
        digits_of(&parser.unwrap().parse_expr().unwrap(), scale)
    }

    #[test]
    fn digits_are_those_that_are_written() {
        for (text, scale, found) in [
            ("0.285", 2, "0.285"),
            ("-(0.285)", 2, "-0.285"),
            (
                "12345678901234567890.1234567891",
                10,
                "12345678901234567890.1234567891",
            ),
            ("123456789012345678901", 0, "123456789012345678901"),
            ("1234567890123456789.5e3", 0, "1234567890123456789500"),
            ("1.5e-3", 2, "0.0015"),
            (".5", 0, "0.5"),
        ] {
            assert_eq!(digits(text, scale).as_deref(), Some(found), "{text}");
        }
        for (text, scale) in [("1.5", 2), ("7", 0), ("x", 0), ("1.5 + 1", 0), ("1e200", 0)] {
            assert_eq!(digits(text, scale), None, "{text}");
        }
    }

    #[test]
    fn a_number_that_a_double_does_not_keep_is_a_decimal() {
        assert_eq!(decimal("1.5"), None);
        assert_eq!(
            decimal("100000000000000000000"),
            Some(ScalarValue::Decimal128(Some(10_i128.pow(20)), 21, 0))
        );
        let value = decimal("0.12345678901234567").unwrap();
        assert_eq!(
            value,
            ScalarValue::Decimal128(Some(12_345_678_901_234_567), 17, 17)
        );
        assert_eq!(as_double(&value), "0.12345678901234567".parse().ok());
        assert_eq!(decimal(&"9".repeat(39)), None);
    }
}
