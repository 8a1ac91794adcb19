//! Values in the types of columns.
//!
//! Invariant: a value is given another type only where the planner's own cast would keep it as it is, or
//! is the cast that is used here. Everything else is `None`, and left to the planner, whose errors are
//! the ones that users know.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use netabase_store::KeyPart;

use crate::exact;
use crate::functions::readable;
use crate::instants;

/// Integers up to this are floats of 64 bits exactly, and up to the other one of 32 bits.
const MAX_EXACT_F64: i128 = 1 << f64::MANTISSA_DIGITS;
const MAX_EXACT_F32: i128 = 1 << f32::MANTISSA_DIGITS;

/// A value as one of a column's type, such that `column = value` means the same. `None` for NULL.
pub(crate) fn comparable(value: &ScalarValue, target: &DataType) -> Option<ScalarValue> {
    if value.is_null() {
        return None;
    }
    if let Some(value) = integer(value)
        && target.is_integer()
    {
        return integer_of(value, target);
    }
    if let Some(text) = text(value) {
        if let Some(same) = text_of(text, target) {
            return Some(same);
        }
        return match target {
            DataType::Timestamp(..) => instants::exactly(text, target),
            DataType::Interval(_) => None,
            target if target.is_temporal() => {
                let text = readable(text, target)?.into_owned();
                cast(&ScalarValue::Utf8(Some(text)), target)
            }
            _ => None,
        };
    }
    (value.data_type() == *target).then(|| value.clone())
}

/// A value as one of a column's type, as INSERT and UPDATE write it.
pub(crate) fn assignable(value: &ScalarValue, target: &DataType) -> Option<ScalarValue> {
    if value.is_null() {
        return ScalarValue::try_from(target).ok();
    }
    if let Some(value) = comparable(value, target) {
        return Some(value);
    }
    match (integer(value), value, target) {
        (Some(value), _, DataType::Float64) => {
            (value.abs() <= MAX_EXACT_F64).then(|| ScalarValue::Float64(Some(value as f64)))
        }
        (Some(value), _, DataType::Float32) => {
            (value.abs() <= MAX_EXACT_F32).then(|| ScalarValue::Float32(Some(value as f32)))
        }
        (None, ScalarValue::Float64(Some(value)), DataType::Float32) => {
            Some(ScalarValue::Float32(Some(*value as f32)))
        }
        // Its shortest digits, as it was written; the number itself may be a little less than a half.
        (None, ScalarValue::Float64(Some(number)), decimal) if decimal.is_decimal() => {
            cast(&ScalarValue::Utf8(Some(number.to_string())), decimal)
        }
        (Some(_), _, decimal) if decimal.is_decimal() => cast(value, decimal),
        (None, ScalarValue::Decimal128(Some(_), ..), decimal) if decimal.is_decimal() => {
            cast(value, decimal)
        }
        (None, ScalarValue::Decimal128(Some(_), ..), DataType::Float64) => {
            exact::as_double(value).map(|value| ScalarValue::Float64(Some(value)))
        }
        (None, ScalarValue::Decimal128(Some(_), ..), DataType::Float32) => {
            exact::as_double(value).map(|value| ScalarValue::Float32(Some(value as f32)))
        }
        _ => None,
    }
}

/// A value as one of a parameter's type, if nothing of it is lost.
pub(crate) fn lossless(value: &ScalarValue, target: &DataType) -> Option<ScalarValue> {
    if let Some(text) = text(value)
        && target.is_temporal()
    {
        return spelled(text, value, target);
    }
    if let Some(same) = comparable(value, target) {
        return Some(same);
    }
    let fitted = assignable(value, target)?;
    let kept = value.is_null() || cast(&fitted, &value.data_type()).as_ref() == Some(value);
    kept.then_some(fitted)
}

/// The date or time that a text spells, all of it.
fn spelled(text: &str, value: &ScalarValue, target: &DataType) -> Option<ScalarValue> {
    match target {
        DataType::Timestamp(..) => instants::exactly(text, target),
        // A date may be written as only a cast to one reads it; but a time of day is no part of it.
        DataType::Date32 | DataType::Date64 => match instants::instant_of(text) {
            Some(_) => cast(&instants::exactly(text, &DataType::Date32)?, target),
            None => cast(value, target),
        },
        DataType::Time32(_) | DataType::Time64(_) => {
            let finest = DataType::Time64(TimeUnit::Nanosecond);
            let fitted = cast(value, target)?;
            (cast(&fitted, &finest)? == cast(value, &finest)?).then_some(fitted)
        }
        _ => comparable(value, target),
    }
}

/// A value in another type, unless it has none there.
fn cast(value: &ScalarValue, target: &DataType) -> Option<ScalarValue> {
    value.cast_to(target).ok().filter(|value| !value.is_null())
}

/// The value of an integer of any width.
pub(crate) fn integer(value: &ScalarValue) -> Option<i128> {
    match value {
        ScalarValue::Int64(Some(value)) => Some((*value).into()),
        ScalarValue::Int32(Some(value)) => Some((*value).into()),
        ScalarValue::Int16(Some(value)) => Some((*value).into()),
        ScalarValue::Int8(Some(value)) => Some((*value).into()),
        ScalarValue::UInt64(Some(value)) => Some((*value).into()),
        ScalarValue::UInt32(Some(value)) => Some((*value).into()),
        ScalarValue::UInt16(Some(value)) => Some((*value).into()),
        ScalarValue::UInt8(Some(value)) => Some((*value).into()),
        _ => None,
    }
}

/// An integer as one of a type, if it has it.
pub(crate) fn integer_of(value: i128, target: &DataType) -> Option<ScalarValue> {
    Some(match target {
        DataType::Int8 => ScalarValue::Int8(Some(value.try_into().ok()?)),
        DataType::Int16 => ScalarValue::Int16(Some(value.try_into().ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(value.try_into().ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(value.try_into().ok()?)),
        DataType::UInt8 => ScalarValue::UInt8(Some(value.try_into().ok()?)),
        DataType::UInt16 => ScalarValue::UInt16(Some(value.try_into().ok()?)),
        DataType::UInt32 => ScalarValue::UInt32(Some(value.try_into().ok()?)),
        DataType::UInt64 => ScalarValue::UInt64(Some(value.try_into().ok()?)),
        _ => return None,
    })
}

fn text(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => {
            text.as_deref()
        }
        _ => None,
    }
}

fn text_of(text: &str, target: &DataType) -> Option<ScalarValue> {
    match target {
        DataType::Utf8 => Some(ScalarValue::Utf8(Some(text.to_owned()))),
        DataType::LargeUtf8 => Some(ScalarValue::LargeUtf8(Some(text.to_owned()))),
        DataType::Utf8View => Some(ScalarValue::Utf8View(Some(text.to_owned()))),
        _ => None,
    }
}

/// A value of a key column's type as a part of a key; `None` if keys are made of it in another way.
pub(crate) fn key_part(value: &ScalarValue) -> Option<KeyPart<'_>> {
    if let Some(text) = text(value) {
        return Some(KeyPart::Text(text));
    }
    Some(match value {
        ScalarValue::Int64(Some(value)) => KeyPart::Int(*value),
        ScalarValue::UInt64(Some(value)) => KeyPart::UInt(*value),
        ScalarValue::Boolean(Some(value)) => KeyPart::Bool(*value),
        ScalarValue::Binary(Some(bytes))
        | ScalarValue::LargeBinary(Some(bytes))
        | ScalarValue::BinaryView(Some(bytes))
        | ScalarValue::FixedSizeBinary(_, Some(bytes)) => KeyPart::Bytes(bytes),
        ScalarValue::Date32(Some(value))
        | ScalarValue::Time32Second(Some(value))
        | ScalarValue::Time32Millisecond(Some(value)) => KeyPart::Int((*value).into()),
        ScalarValue::Date64(Some(value))
        | ScalarValue::Time64Microsecond(Some(value))
        | ScalarValue::Time64Nanosecond(Some(value))
        | ScalarValue::TimestampSecond(Some(value), _)
        | ScalarValue::TimestampMillisecond(Some(value), _)
        | ScalarValue::TimestampMicrosecond(Some(value), _)
        | ScalarValue::TimestampNanosecond(Some(value), _) => KeyPart::Int(*value),
        other => KeyPart::Int(i64::try_from(integer(other)?).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(value: i64) -> ScalarValue {
        ScalarValue::Int64(Some(value))
    }

    #[test]
    fn integers_fit_where_the_type_has_them() {
        assert_eq!(
            comparable(&int(127), &DataType::Int8),
            Some(ScalarValue::Int8(Some(127)))
        );
        for (value, target) in [
            (int(128), DataType::Int8),
            (int(-1), DataType::UInt64),
            (int(1), DataType::Float64),
            (int(1), DataType::Utf8View),
            (int(1), DataType::Boolean),
            (ScalarValue::Utf8(Some("1".into())), DataType::Int32),
            (ScalarValue::Float64(Some(1.0)), DataType::Int32),
            (ScalarValue::Int64(None), DataType::Int64),
            (ScalarValue::Utf8(Some("x".into())), DataType::Date32),
        ] {
            assert_eq!(comparable(&value, &target), None, "{value} as {target}");
        }
    }

    #[test]
    fn assigned_values_may_be_cast_where_nothing_is_lost() {
        assert_eq!(
            assignable(&int(3), &DataType::Float64),
            Some(ScalarValue::Float64(Some(3.0)))
        );
        assert_eq!(
            assignable(&int(3), &DataType::Decimal128(10, 2)),
            Some(ScalarValue::Decimal128(Some(300), 10, 2))
        );
        assert_eq!(
            assignable(&ScalarValue::Null, &DataType::Int32),
            Some(ScalarValue::Int32(None))
        );
        assert_eq!(assignable(&int(1 << 60), &DataType::Float32), None);
        let fraction = ScalarValue::Float64(Some(1.5));
        assert_eq!(assignable(&fraction, &DataType::Int32), None);
    }

    #[test]
    fn a_parameter_loses_nothing() {
        let float = |value| ScalarValue::Float64(Some(value));
        let text = |text: &str| ScalarValue::Utf8(Some(text.into()));
        let cents = DataType::Decimal128(10, 2);
        let second = DataType::Timestamp(TimeUnit::Second, None);
        for (value, target) in [
            (float(1.239), &cents),
            (float(1e300), &DataType::Float32),
            (float(0.1), &DataType::Float32),
            (text("2020-01-01 10:00:00.5"), &second),
            (text("2020-01-01 10:00:00"), &DataType::Date32),
            (text("10:00:00.5"), &DataType::Time32(TimeUnit::Second)),
            (text("no date"), &DataType::Date32),
        ] {
            assert_eq!(lossless(&value, target), None, "{value} as {target}");
        }
        for (value, target) in [
            (float(1.24), &cents),
            (int(-7), &cents),
            (float(1.5), &DataType::Float32),
            (float(f64::INFINITY), &DataType::Float32),
            (float(f64::NAN), &DataType::Float32),
            (int(1 << 24), &DataType::Float32),
            (text("3000-01-01 10:00:00"), &second),
            (text("2020-01-01"), &DataType::Date32),
            (text("2020-01-01 00:00:00"), &DataType::Date32),
            (text("10:00:00"), &DataType::Time32(TimeUnit::Second)),
            (ScalarValue::Null, &cents),
            (float(0.5), &DataType::Float64),
        ] {
            let found = lossless(&value, target).map(|found| found.data_type());
            assert_eq!(found.as_ref(), Some(target), "{value}");
        }
    }
}
