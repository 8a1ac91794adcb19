//! What `information_schema` says of types besides their names, as PostgreSQL has it.

use arrow::datatypes::{DataType, Field, TimeUnit};

use crate::sql_type::column_type;

/// What PostgreSQL calls a type within; the nearest that it has, for numbers without a sign and in one byte.
pub(super) fn udt_name(field: &Field) -> String {
    let fixed = match field.data_type() {
        DataType::Boolean => "bool",
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => "int2",
        DataType::UInt16 | DataType::Int32 => "int4",
        DataType::UInt32 | DataType::Int64 => "int8",
        DataType::Float16 | DataType::Float32 => "float4",
        DataType::Float64 => "float8",
        DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => "numeric",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => match column_type(field) {
            kind if kind == "UUID" => "uuid",
            kind if kind == "JSON" => "json",
            kind if kind.starts_with("VARCHAR") => "varchar",
            _ => "text",
        },
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let item = udt_name(item);
            // Lists of lists are of one type there.
            return format!("_{}", item.trim_start_matches('_'));
        }
        DataType::Struct(_) => "record",
        DataType::Map(..) => "json",
        _ => "bytea",
    };
    fixed.to_owned()
}

/// The most bytes of one value.
pub(super) fn octets(data_type: &DataType) -> Option<u64> {
    match data_type {
        DataType::Utf8 | DataType::Utf8View | DataType::Binary | DataType::BinaryView => {
            Some(i32::MAX as u64)
        }
        DataType::LargeUtf8 | DataType::LargeBinary => Some(i64::MAX as u64),
        DataType::FixedSizeBinary(bytes) => u64::try_from(*bytes).ok(),
        _ => None,
    }
}

/// Precision, its radix, and scale of numbers; for binary numbers as PostgreSQL has them.
pub(super) fn numeric(data_type: &DataType) -> (Option<u64>, Option<u64>, Option<u64>) {
    let integer = |bits: u64| (Some(bits), Some(2), Some(0));
    let float = |bits: u64| (Some(bits), Some(2), None);
    match data_type {
        DataType::Int8 | DataType::UInt8 => integer(8),
        DataType::Int16 | DataType::UInt16 => integer(16),
        DataType::Int32 | DataType::UInt32 => integer(32),
        DataType::Int64 | DataType::UInt64 => integer(64),
        DataType::Float16 => float(11),
        DataType::Float32 => float(24),
        DataType::Float64 => float(53),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => (
            Some(u64::from(*precision)),
            Some(10),
            u64::try_from(*scale).ok(),
        ),
        _ => (None, None, None),
    }
}

/// Digits behind the second's point.
pub(super) fn fraction(data_type: &DataType) -> Option<u64> {
    match data_type {
        DataType::Date32 | DataType::Date64 => Some(0),
        DataType::Timestamp(unit, _) | DataType::Time32(unit) | DataType::Time64(unit) => {
            Some(match unit {
                TimeUnit::Second => 0,
                TimeUnit::Millisecond => 3,
                TimeUnit::Microsecond => 6,
                TimeUnit::Nanosecond => 9,
            })
        }
        DataType::Interval(_) => Some(9),
        _ => None,
    }
}
