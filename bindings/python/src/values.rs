//! Arrow columns as Python values.

use netabase::arrow::array::{Array, ArrayRef, AsArray, StructArray};
use netabase::arrow::compute::cast;
use netabase::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float64Type, Int64Type, TimeUnit, UInt64Type,
};
use netabase::arrow::error::ArrowError;
use netabase::arrow::util::display::array_value_to_string;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::database::invalid;

/// The day number of 1970-01-01 in Python's calendar.
const EPOCH_ORDINAL: i64 = 719_163;

type Value<'py> = Bound<'py, PyAny>;

/// Turns columns into values; holds the classes it needs.
pub(crate) struct Values<'py> {
    py: Python<'py>,
    date_from_ordinal: Value<'py>,
    duration: Value<'py>,
    epoch: Value<'py>,
    epoch_utc: Value<'py>,
    decimal: Value<'py>,
}

impl<'py> Values<'py> {
    pub(crate) fn new(py: Python<'py>) -> PyResult<Self> {
        let module = py.import("datetime")?;
        let utc = module.getattr("timezone")?.getattr("utc")?;
        let epoch = module.getattr("datetime")?.call1((1970, 1, 1))?;
        let with_zone = PyDict::new(py);
        with_zone.set_item("tzinfo", utc)?;
        Ok(Self {
            py,
            date_from_ordinal: module.getattr("date")?.getattr("fromordinal")?,
            duration: module.getattr("timedelta")?,
            epoch_utc: epoch.call_method("replace", (), Some(&with_zone))?,
            epoch,
            decimal: py.import("decimal")?.getattr("Decimal")?,
        })
    }

    /// Every value of a column.
    pub(crate) fn column(&self, column: &ArrayRef) -> PyResult<Vec<Value<'py>>> {
        let py = self.py;
        match column.data_type() {
            DataType::Boolean => {
                let values = column.as_boolean();
                self.each(values, |row| values.value(row).into_bound_py_any(py))
            }
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                self.primitive::<Int64Type>(column, |v| v.into_bound_py_any(py))
            }
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                self.primitive::<UInt64Type>(column, |v| v.into_bound_py_any(py))
            }
            DataType::Float16 | DataType::Float32 | DataType::Float64 => {
                self.primitive::<Float64Type>(column, |v| v.into_bound_py_any(py))
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => self.texts(column),
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => self.bytes(column),
            DataType::Date32 | DataType::Date64 => self.dates(column),
            DataType::Timestamp(unit, zone) => self.timestamps(column, *unit, zone.is_some()),
            DataType::Duration(unit) => self.durations(column, *unit),
            DataType::Time32(_) | DataType::Time64(_) => self.times(column),
            DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => self.as_text(column, |text| self.decimal.call1((text,))),
            DataType::Dictionary(_, value) => self.column(&plain(column, value)?),
            DataType::List(item) | DataType::FixedSizeList(item, _) => {
                self.lists(&plain(column, &DataType::LargeList(item.clone()))?)
            }
            DataType::LargeList(_) => self.lists(column),
            DataType::Struct(_) => self.structs(column.as_struct()),
            DataType::Null => self.each(column.as_ref(), |_| Ok(py.None().into_bound(py))),
            // Intervals, maps and unions: Python has no word for them.
            _ => self.as_text(column, |text| text.into_bound_py_any(py)),
        }
    }

    /// One value for each row; None where there is none.
    fn each(
        &self,
        column: &dyn Array,
        value: impl Fn(usize) -> PyResult<Value<'py>>,
    ) -> PyResult<Vec<Value<'py>>> {
        let nulls = column.logical_nulls();
        let is_null = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        (0..column.len())
            .map(|row| {
                if is_null(row) {
                    Ok(self.py.None().into_bound(self.py))
                } else {
                    value(row)
                }
            })
            .collect()
    }

    fn primitive<T: ArrowPrimitiveType>(
        &self,
        column: &ArrayRef,
        value: impl Fn(T::Native) -> PyResult<Value<'py>>,
    ) -> PyResult<Vec<Value<'py>>> {
        let column = plain(column, &T::DATA_TYPE)?;
        let values = column.as_primitive::<T>();
        self.each(values, |row| value(values.value(row)))
    }

    fn texts(&self, column: &ArrayRef) -> PyResult<Vec<Value<'py>>> {
        let column = plain(column, &DataType::Utf8View)?;
        let values = column.as_string_view();
        self.each(values, |row| values.value(row).into_bound_py_any(self.py))
    }

    fn bytes(&self, column: &ArrayRef) -> PyResult<Vec<Value<'py>>> {
        let column = plain(column, &DataType::LargeBinary)?;
        let values = column.as_binary::<i64>();
        self.each(values, |row| {
            Ok(PyBytes::new(self.py, values.value(row)).into_any())
        })
    }

    fn dates(&self, column: &ArrayRef) -> PyResult<Vec<Value<'py>>> {
        self.primitive::<Date32Type>(column, |days| {
            self.date_from_ordinal
                .call1((i64::from(days) + EPOCH_ORDINAL,))
        })
    }

    fn timestamps(
        &self,
        column: &ArrayRef,
        unit: TimeUnit,
        zoned: bool,
    ) -> PyResult<Vec<Value<'py>>> {
        let epoch = if zoned { &self.epoch_utc } else { &self.epoch };
        self.primitive::<Int64Type>(column, |ticks| epoch.add(self.microseconds(ticks, unit)?))
    }

    fn durations(&self, column: &ArrayRef, unit: TimeUnit) -> PyResult<Vec<Value<'py>>> {
        self.primitive::<Int64Type>(column, |ticks| self.microseconds(ticks, unit))
    }

    fn times(&self, column: &ArrayRef) -> PyResult<Vec<Value<'py>>> {
        let nanoseconds = plain(column, &DataType::Time64(TimeUnit::Nanosecond))?;
        self.primitive::<Int64Type>(&nanoseconds, |ticks| {
            let moment = self
                .epoch
                .add(self.microseconds(ticks, TimeUnit::Nanosecond)?)?;
            moment.call_method0("time")
        })
    }

    /// A `timedelta`; what is finer than a microsecond is cut off.
    fn microseconds(&self, ticks: i64, unit: TimeUnit) -> PyResult<Value<'py>> {
        let ticks = i128::from(ticks);
        let micros = match unit {
            TimeUnit::Second => ticks * 1_000_000,
            TimeUnit::Millisecond => ticks * 1_000,
            TimeUnit::Microsecond => ticks,
            TimeUnit::Nanosecond => ticks.div_euclid(1_000),
        };
        // Days apart, because the whole number may exceed what `timedelta` takes as microseconds.
        let day = 86_400_000_000;
        let days = i64::try_from(micros.div_euclid(day)).unwrap_or(i64::MAX);
        let rest = i64::try_from(micros.rem_euclid(day)).unwrap_or_default();
        self.duration.call1((days, 0, rest))
    }

    fn as_text(
        &self,
        column: &ArrayRef,
        value: impl Fn(String) -> PyResult<Value<'py>>,
    ) -> PyResult<Vec<Value<'py>>> {
        self.each(column.as_ref(), |row| {
            value(array_value_to_string(column, row).map_err(|e| unreadable(&e))?)
        })
    }

    fn lists(&self, column: &ArrayRef) -> PyResult<Vec<Value<'py>>> {
        let lists = column.as_list::<i64>();
        self.each(lists, |row| {
            Ok(PyList::new(self.py, self.column(&lists.value(row))?)?.into_any())
        })
    }

    fn structs(&self, column: &StructArray) -> PyResult<Vec<Value<'py>>> {
        let fields = column
            .columns()
            .iter()
            .map(|field| self.column(field))
            .collect::<PyResult<Vec<_>>>()?;
        self.each(column, |row| {
            let dict = PyDict::new(self.py);
            for (name, values) in column.column_names().into_iter().zip(&fields) {
                dict.set_item(name, &values[row])?;
            }
            Ok(dict.into_any())
        })
    }
}

fn plain(column: &ArrayRef, data_type: &DataType) -> PyResult<ArrayRef> {
    if column.data_type() == data_type {
        return Ok(ArrayRef::clone(column));
    }
    cast(column, data_type).map_err(|e| unreadable(&e))
}

fn unreadable(error: &ArrowError) -> PyErr {
    invalid(format!(
        "a value cannot be turned into a Python value: {error}"
    ))
}
