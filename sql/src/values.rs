//! Values as text, as PostgreSQL prints them.
//!
//! Purpose: one formatter for whoever shows rows to people: tables and CSV.
//!
//! Invariant: NULL stays NULL; every other value becomes a text that a cast reads back, except
//! lists and structs, which are written `[a, b]` and `{name: value}`.
//!
//! Non-goal: `CAST(x AS TEXT)`, which is DataFusion's.

mod interval;
mod number;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, StringArray, StringBuilder, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Field, Float32Type, Float64Type, IntervalDayTimeType,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, Schema, SchemaRef, TimeUnit,
};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use netabase_store::Error;

use self::interval::Span;
use crate::error::from_arrow;

/// How dates and times are written; what stands before the zone is trimmed.
const TIMESTAMP: &str = "%Y-%m-%d %H:%M:%S%.f";
const TIMESTAMP_TZ: &str = "%Y-%m-%d %H:%M:%S%.f|%:z";
const TIME: &str = "%H:%M:%S%.f";

/// The schema of [`text_batch`]: the same names, and texts.
#[must_use]
pub fn text_schema(schema: &Schema) -> SchemaRef {
    let text = |field: &Arc<Field>| Field::new(field.name(), DataType::Utf8, true);
    let fields: Vec<Field> = schema.fields().iter().map(text).collect();
    Arc::new(Schema::new(fields))
}

/// The rows with every value as its text.
///
/// # Errors
/// `InvalidInput` when a value has no text, such as a date beyond the calendar.
pub fn text_batch(batch: &RecordBatch) -> Result<RecordBatch, Error> {
    let columns = batch.columns().iter();
    let columns: Vec<ArrayRef> = columns
        .map(|column| Ok(Arc::new(texts_of(column)?) as ArrayRef))
        .collect::<Result<_, ArrowError>>()
        .map_err(from_arrow)?;
    let options =
        arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(text_schema(&batch.schema()), columns, &options)
        .map_err(from_arrow)
}

/// A column with every value as its text.
pub(crate) fn texts_of(column: &dyn Array) -> Result<StringArray, ArrowError> {
    let mut texts = StringBuilder::with_capacity(column.len(), column.len() * 8);
    let written = Written::of(column)?;
    for row in 0..column.len() {
        match written.is_null(row) {
            false => texts.append_value(written.text(row)?),
            true => texts.append_null(),
        }
    }
    Ok(texts.finish())
}

/// An interval as its text.
#[cfg(test)]
pub(crate) fn span_text(span: arrow::datatypes::IntervalMonthDayNano) -> String {
    Span::from(span).to_string()
}

/// A column that writes its values.
struct Written<'a> {
    column: &'a dyn Array,
    /// Also those that the array does not have by itself, such as all of a column without a type.
    nulls: Option<NullBuffer>,
    /// For what Arrow writes as it should be, or nearly.
    arrow: Option<ArrayFormatter<'a>>,
}

impl<'a> Written<'a> {
    fn of(column: &'a dyn Array) -> Result<Self, ArrowError> {
        let by_us = column.data_type().is_nested()
            || matches!(
                column.data_type(),
                DataType::Float32
                    | DataType::Float64
                    | DataType::Interval(_)
                    | DataType::Duration(_)
                    | DataType::Binary
                    | DataType::LargeBinary
                    | DataType::BinaryView
                    | DataType::FixedSizeBinary(_)
            );
        const OPTIONS: FormatOptions<'static> = FormatOptions::new()
            .with_display_error(false)
            .with_timestamp_format(Some(TIMESTAMP))
            .with_timestamp_tz_format(Some(TIMESTAMP_TZ))
            .with_datetime_format(Some("%Y-%m-%d"))
            .with_time_format(Some(TIME));
        let arrow = match by_us {
            true => None,
            false => Some(ArrayFormatter::try_new(column, &OPTIONS)?),
        };
        Ok(Self {
            column,
            nulls: column.logical_nulls(),
            arrow,
        })
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The text of a value that is not NULL.
    fn text(&self, row: usize) -> Result<String, ArrowError> {
        let Some(arrow) = &self.arrow else {
            return text(self.column, row);
        };
        let text = arrow.value(row).try_to_string()?;
        Ok(match self.column.data_type() {
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => dated(&text),
            DataType::Time32(_) | DataType::Time64(_) => trimmed(&text).to_owned(),
            _ => text,
        })
    }
}

fn text(column: &dyn Array, row: usize) -> Result<String, ArrowError> {
    Ok(match column.data_type() {
        DataType::Float64 => number::double(column.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => number::real(column.as_primitive::<Float32Type>().value(row)),
        DataType::Interval(unit) => interval(column, *unit, row).to_string(),
        DataType::Duration(unit) => duration(column, *unit, row).to_string(),
        DataType::Binary => hexadecimal(column.as_binary::<i32>().value(row)),
        DataType::LargeBinary => hexadecimal(column.as_binary::<i64>().value(row)),
        DataType::BinaryView => hexadecimal(column.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => hexadecimal(column.as_fixed_size_binary().value(row)),
        DataType::List(_) => list(&column.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => list(&column.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(..) => {
            list(&FixedSizeListArray::from(column.to_data()).value(row))?
        }
        DataType::Struct(_) => structure(column.as_struct(), row)?,
        _ => {
            let options = FormatOptions::new().with_display_error(false);
            ArrayFormatter::try_new(column, &options)?
                .value(row)
                .try_to_string()?
        }
    })
}

fn interval(column: &dyn Array, unit: IntervalUnit, row: usize) -> Span {
    match unit {
        IntervalUnit::YearMonth => Span {
            months: column.as_primitive::<IntervalYearMonthType>().value(row),
            ..Span::default()
        },
        IntervalUnit::DayTime => {
            let value = column.as_primitive::<IntervalDayTimeType>().value(row);
            Span {
                days: i64::from(value.days),
                nanoseconds: i128::from(value.milliseconds) * 1_000_000,
                ..Span::default()
            }
        }
        IntervalUnit::MonthDayNano => {
            Span::from(column.as_primitive::<IntervalMonthDayNanoType>().value(row))
        }
    }
}

/// A duration is shown as the interval that PostgreSQL has for it.
fn duration(column: &dyn Array, unit: TimeUnit, row: usize) -> Span {
    let nanoseconds = match unit {
        TimeUnit::Second => {
            i128::from(column.as_primitive::<DurationSecondType>().value(row)) * 1_000_000_000
        }
        TimeUnit::Millisecond => {
            i128::from(column.as_primitive::<DurationMillisecondType>().value(row)) * 1_000_000
        }
        TimeUnit::Microsecond => {
            i128::from(column.as_primitive::<DurationMicrosecondType>().value(row)) * 1_000
        }
        TimeUnit::Nanosecond => {
            i128::from(column.as_primitive::<DurationNanosecondType>().value(row))
        }
    };
    Span::of_nanoseconds(nanoseconds)
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    std::iter::once("\\x".to_owned()).chain(digits).collect()
}

/// A value of a list or a struct.
fn inner(column: &dyn Array, row: usize) -> Result<String, ArrowError> {
    let written = Written::of(column)?;
    match written.is_null(row) {
        false => written.text(row),
        true => Ok("NULL".to_owned()),
    }
}

fn list(values: &ArrayRef) -> Result<String, ArrowError> {
    let texts = (0..values.len()).map(|row| inner(values, row));
    let texts = texts.collect::<Result<Vec<String>, ArrowError>>()?;
    Ok(format!("[{}]", texts.join(", ")))
}

fn structure(values: &StructArray, row: usize) -> Result<String, ArrowError> {
    let fields = values.fields().iter().zip(values.columns());
    let texts = fields.map(|(field, column)| {
        let text = inner(column, row)?;
        Ok(format!("{}: {text}", field.name()))
    });
    let texts = texts.collect::<Result<Vec<String>, ArrowError>>()?;
    Ok(format!("{{{}}}", texts.join(", ")))
}

/// Without the zeros at the end of a fraction.
fn trimmed(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

/// A date or an instant: years as PostgreSQL counts them, and hours alone in a zone of whole hours.
fn dated(text: &str) -> String {
    let (instant, zone) = text.split_once('|').unwrap_or((text, ""));
    let zone = zone.strip_suffix(":00").unwrap_or(zone);
    let instant = trimmed(instant);
    // There is no year 0 in history: it is the year 1 before the first.
    let before = instant
        .strip_prefix('-')
        .or_else(|| instant.starts_with("0000-").then_some(instant));
    if let Some(before) = before
        && let Some((year, rest)) = before.split_once('-')
        && let Ok(year) = year.parse::<i64>()
    {
        return format!("{:04}-{rest}{zone} BC", year + 1);
    }
    format!("{}{zone}", instant.trim_start_matches('+'))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, Date32Array, Int64Array, ListArray, NullArray, Time64NanosecondArray,
        TimestampMicrosecondArray, TimestampNanosecondArray,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Int32Type;

    use super::*;

    fn texts(column: ArrayRef) -> Vec<Option<String>> {
        let batch = RecordBatch::try_from_iter([("c", column)]).unwrap();
        let texts = text_batch(&batch).unwrap();
        let texts = texts.column(0).as_string::<i32>();
        texts.iter().map(|text| text.map(str::to_owned)).collect()
    }

    fn one(column: impl Array + 'static) -> String {
        texts(Arc::new(column)).swap_remove(0).unwrap()
    }

    #[test]
    fn dates_and_instants_are_those_of_postgresql() {
        // SELECT … in PostgreSQL 16, one by one.
        let noon = 1_706_702_400_000_000;
        assert_eq!(
            one(TimestampMicrosecondArray::from(vec![noon + 500_000])),
            "2024-01-31 12:00:00.5"
        );
        assert_eq!(
            one(TimestampNanosecondArray::from(vec![noon * 1000])),
            "2024-01-31 12:00:00"
        );
        assert_eq!(
            one(TimestampMicrosecondArray::from(vec![noon]).with_timezone("UTC")),
            "2024-01-31 12:00:00+00"
        );
        assert_eq!(
            one(TimestampMicrosecondArray::from(vec![noon]).with_timezone("+05:30")),
            "2024-01-31 17:30:00+05:30"
        );
        assert_eq!(one(Date32Array::from(vec![0])), "1970-01-01");
        assert_eq!(one(Date32Array::from(vec![-735_160])), "0044-03-15 BC");
        assert_eq!(one(Date32Array::from(vec![3_000_000])), "10183-09-21");
        assert_eq!(
            one(Time64NanosecondArray::from(vec![
                3_600_000_000_000 + 250_000
            ])),
            "01:00:00.00025"
        );
    }

    #[test]
    fn nulls_stay_and_lists_show_them() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        assert_eq!(texts(numbers), [Some("1".to_owned()), None]);
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None])]);
        assert_eq!(one(list), "[1, NULL]");
        // A column without a type has nothing but NULL, and does not say so.
        let untyped: ArrayRef = Arc::new(NullArray::new(1));
        assert_eq!(texts(Arc::clone(&untyped)), [None]);
        let item = Arc::new(Field::new_list_field(DataType::Null, true));
        let offsets = OffsetBuffer::from_lengths([1]);
        let list = ListArray::new(Arc::clone(&item), offsets, Arc::clone(&untyped), None);
        assert_eq!(one(list), "[NULL]");
        assert_eq!(
            one(StructArray::from(vec![(item, untyped)])),
            "{item: NULL}"
        );
        assert_eq!(one(BinaryArray::from(vec![b"hi".as_slice()])), "\\x6869");
    }

    #[test]
    fn a_date_beyond_the_calendar_is_an_error() {
        let column: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX]));
        let batch = RecordBatch::try_from_iter([("c", column)]).unwrap();
        assert!(text_batch(&batch).is_err());
    }
}
