//! Numbers, texts, bytes, times and enums as columns.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, PrimitiveArray,
    StringViewArray, TimestampNanosecondArray,
};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit};

use super::error::Misfit;
use super::field::{KeyField, Operand, OrderedField, RecordField, TextEnum, wrong_type};
use super::lists;

fn read_primitive<P>(column: &ArrayRef) -> Result<Vec<Option<P::Native>>, Misfit>
where
    P: ArrowPrimitiveType,
    P::Native: RecordField,
{
    let typed = column.as_primitive_opt::<P>();
    let typed = typed.ok_or_else(|| wrong_type::<P::Native>(column))?;
    Ok(typed.iter().collect())
}

fn write_primitive<P: ArrowPrimitiveType>(values: &[Option<&P::Native>]) -> ArrayRef {
    let values = values.iter().map(|value| value.copied());
    Arc::new(values.collect::<PrimitiveArray<P>>())
}

/// A number is a column of its own width. What is written in braces belongs to one of them alone.
macro_rules! number {
    ($rust:ty, $arrow:ty $(, { $($more:tt)* })?) => {
        impl RecordField for $rust {
            type Plain = Self;

            fn data_type() -> DataType {
                <$arrow>::DATA_TYPE
            }

            fn write(values: &[Option<&Self>]) -> Result<ArrayRef, Misfit> {
                Ok(write_primitive::<$arrow>(values))
            }

            fn read(column: &ArrayRef) -> Result<Vec<Option<Self>>, Misfit> {
                read_primitive::<$arrow>(column)
            }

            $($($more)*)?
        }

        impl<R> Operand<R, $rust> for $rust {
            fn into_expr(self) -> Expr {
                lit(self)
            }
        }
    };
}

/// Numbers and booleans are handed in as they are.
macro_rules! plain_key {
    ($($rust:ty),*) => {$(
        impl KeyField for $rust {
            type Ref<'key> = Self;

            fn key_ref(&self) -> Self {
                *self
            }

            fn key_column(key: Self) -> Result<ArrayRef, Misfit> {
                Self::write(&[Some(&key)])
            }
        }
    )*};
}

number!(i8, Int8Type);
number!(i16, Int16Type);
number!(i32, Int32Type);
number!(i64, Int64Type);
number!(u16, UInt16Type);
number!(u32, UInt32Type);
number!(u64, UInt64Type);
number!(f32, Float32Type);
number!(f64, Float64Type);
// A list of these is bytes.
number!(u8, UInt8Type, {
    fn list_type() -> DataType {
        DataType::Binary
    }

    fn write_list(values: &[Option<&[Self]>]) -> Result<ArrayRef, Misfit> {
        lists::check_offsets(values.iter().map(|value| value.map_or(0, <[u8]>::len)))?;
        Ok(Arc::new(values.iter().copied().collect::<BinaryArray>()))
    }

    fn read_list(column: &ArrayRef) -> Result<Vec<Option<Vec<Self>>>, Misfit> {
        let typed = column.as_binary_opt::<i32>();
        let typed = typed.ok_or_else(|| wrong_type::<Vec<u8>>(column))?;
        Ok(typed
            .iter()
            .map(|value| value.map(<[u8]>::to_vec))
            .collect())
    }
});
plain_key!(bool, i8, i16, i32, i64, u8, u16, u32, u64, SystemTime);

macro_rules! ordered {
    ($($rust:ty),*) => {$(
        impl OrderedField for $rust {}
    )*};
}

ordered!(
    bool, i8, i16, i32, i64, u8, u16, u32, u64, f32, f64, String, SystemTime
);

impl RecordField for bool {
    type Plain = Self;

    fn data_type() -> DataType {
        DataType::Boolean
    }

    fn write(values: &[Option<&Self>]) -> Result<ArrayRef, Misfit> {
        let values = values.iter().map(|value| value.copied());
        Ok(Arc::new(values.collect::<BooleanArray>()))
    }

    fn read(column: &ArrayRef) -> Result<Vec<Option<Self>>, Misfit> {
        let typed = column.as_boolean_opt();
        let typed = typed.ok_or_else(|| wrong_type::<Self>(column))?;
        Ok(typed.iter().collect())
    }
}

impl<R> Operand<R, bool> for bool {
    fn into_expr(self) -> Expr {
        lit(self)
    }
}

impl RecordField for String {
    type Plain = Self;

    fn data_type() -> DataType {
        DataType::Utf8View
    }

    fn write(values: &[Option<&Self>]) -> Result<ArrayRef, Misfit> {
        let values = values.iter().map(|value| value.map(String::as_str));
        Ok(Arc::new(values.collect::<StringViewArray>()))
    }

    fn read(column: &ArrayRef) -> Result<Vec<Option<Self>>, Misfit> {
        let typed = column.as_string_view_opt();
        let typed = typed.ok_or_else(|| wrong_type::<Self>(column))?;
        Ok(typed.iter().map(|value| value.map(str::to_owned)).collect())
    }
}

impl KeyField for String {
    type Ref<'key> = &'key str;

    fn key_ref(&self) -> &str {
        self
    }

    fn key_column(key: &str) -> Result<ArrayRef, Misfit> {
        Ok(Arc::new(StringViewArray::from(vec![key])))
    }
}

/// A text as it is compared with columns.
pub fn text_literal(text: &str) -> Expr {
    lit(ScalarValue::Utf8View(Some(text.to_owned())))
}

macro_rules! text_operand {
    ($($text:ty),*) => {$(
        impl<R> Operand<R, String> for $text {
            fn into_expr(self) -> Expr {
                text_literal(self.as_ref())
            }
        }
    )*};
}

text_operand!(&str, &String, String);

impl KeyField for Vec<u8> {
    type Ref<'key> = &'key [u8];

    fn key_ref(&self) -> &[u8] {
        self
    }

    fn key_column(key: &[u8]) -> Result<ArrayRef, Misfit> {
        Ok(Arc::new(BinaryArray::from_vec(vec![key])))
    }
}

macro_rules! bytes_operand {
    ($($bytes:ty),*) => {$(
        impl<R> Operand<R, Vec<u8>> for $bytes {
            fn into_expr(self) -> Expr {
                lit(ScalarValue::Binary(Some(self.to_vec())))
            }
        }
    )*};
}

bytes_operand!(&[u8], &Vec<u8>, Vec<u8>);

/// Nanoseconds since 1970, which is what a column counts. None beyond the years 1678 to 2262.
fn nanoseconds(time: SystemTime) -> Option<i64> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).ok(),
        Err(before) => {
            let nanos = i128::try_from(before.duration().as_nanos()).ok()?;
            i64::try_from(-nanos).ok()
        }
    }
}

fn time_of(nanos: i64) -> Option<SystemTime> {
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    match nanos {
        0.. => UNIX_EPOCH.checked_add(distance),
        _ => UNIX_EPOCH.checked_sub(distance),
    }
}

impl RecordField for SystemTime {
    type Plain = Self;

    fn data_type() -> DataType {
        DataType::Timestamp(TimeUnit::Nanosecond, None)
    }

    fn write(values: &[Option<&Self>]) -> Result<ArrayRef, Misfit> {
        let mut nanos = Vec::with_capacity(values.len());
        for (row, value) in values.iter().enumerate() {
            let value = value.map(|time| {
                let found = nanoseconds(*time);
                found.ok_or_else(|| Misfit::at(row, "a time is from the years 1678 to 2262"))
            });
            nanos.push(value.transpose()?);
        }
        Ok(Arc::new(TimestampNanosecondArray::from(nanos)))
    }

    fn read(column: &ArrayRef) -> Result<Vec<Option<Self>>, Misfit> {
        let typed = column.as_primitive_opt::<TimestampNanosecondType>();
        let typed = typed.ok_or_else(|| wrong_type::<Self>(column))?;
        let mut times = Vec::with_capacity(typed.len());
        for (row, value) in typed.iter().enumerate() {
            let value = value.map(|nanos| {
                let found = time_of(nanos);
                found.ok_or_else(|| Misfit::at(row, "this machine's clock has no such time"))
            });
            times.push(value.transpose()?);
        }
        Ok(times)
    }
}

impl<R> Operand<R, SystemTime> for SystemTime {
    /// A time that no column can hold is compared as the nearest that one can.
    fn into_expr(self) -> Expr {
        let nearest = if self < UNIX_EPOCH {
            i64::MIN
        } else {
            i64::MAX
        };
        let nanos = nanoseconds(self).unwrap_or(nearest);
        lit(ScalarValue::TimestampNanosecond(Some(nanos), None))
    }
}

/// The column of an enum's texts.
pub fn write_enum<T: TextEnum>(values: &[Option<&T>]) -> Result<ArrayRef, Misfit> {
    let texts = values.iter().map(|value| value.map(TextEnum::text));
    Ok(Arc::new(texts.collect::<StringViewArray>()))
}

/// The variants that a column of texts names.
pub fn read_enum<T: TextEnum>(column: &ArrayRef) -> Result<Vec<Option<T>>, Misfit> {
    let typed = column.as_string_view_opt();
    let typed = typed.ok_or_else(|| wrong_type::<T>(column))?;
    let mut values = Vec::with_capacity(typed.len());
    for (row, text) in typed.iter().enumerate() {
        let value = text.map(|text| {
            T::of_text(text).ok_or_else(|| {
                let known = T::TEXTS.join("\", \"");
                Misfit::at(row, format!("\"{text}\" is none of \"{known}\""))
            })
        });
        values.push(value.transpose()?);
    }
    Ok(values)
}
