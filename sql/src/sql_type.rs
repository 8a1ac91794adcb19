//! The names of types in SQL.
//!
//! Invariant: a column that is created with the name of a type has that type.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use datafusion::sql::sqlparser::keywords::{
    Keyword, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_IDENTIFIER, RESERVED_FOR_TABLE_ALIAS,
};
use datafusion::sql::sqlparser::tokenizer::{Token, Word};

use crate::declared::kind_name;

/// The most digits of a `Decimal128`; DECIMAL with more is a `Decimal256`.
const MAX_DECIMAL128_DIGITS: u8 = 38;
/// Words that begin something else than a column where one is defined or selected.
const RESERVED_FOR_COLUMN: [Keyword; 12] = [
    Keyword::CHECK,
    Keyword::CONSTRAINT,
    Keyword::DISTINCT,
    Keyword::EXCLUDE,
    Keyword::FOREIGN,
    Keyword::FULLTEXT,
    Keyword::INDEX,
    Keyword::KEY,
    Keyword::LIKE,
    Keyword::PRIMARY,
    Keyword::SPATIAL,
    Keyword::UNIQUE,
];

/// The name of a type in `CREATE TABLE`; `None` if SQL cannot say it.
pub(crate) fn sql_type(data_type: &DataType) -> Option<String> {
    let fixed = match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "TINYINT UNSIGNED",
        DataType::UInt16 => "SMALLINT UNSIGNED",
        DataType::UInt32 => "INT UNSIGNED",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8View => "TEXT",
        DataType::Binary => "BYTEA",
        DataType::Date32 => "DATE",
        DataType::Time64(TimeUnit::Nanosecond) => "TIME",
        DataType::Interval(IntervalUnit::MonthDayNano) => "INTERVAL",
        _ => return composed(data_type),
    };
    Some(fixed.to_owned())
}

fn composed(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            Some(format!("DECIMAL({precision}, {scale})"))
        }
        DataType::Decimal256(precision, scale)
            if *scale >= 0 && *precision > MAX_DECIMAL128_DIGITS =>
        {
            Some(format!("DECIMAL({precision}, {scale})"))
        }
        DataType::Timestamp(unit, zone) => {
            let digits = match unit {
                TimeUnit::Second => "(0)",
                TimeUnit::Millisecond => "(3)",
                TimeUnit::Microsecond => "(6)",
                TimeUnit::Nanosecond => "",
            };
            let zone = match zone.as_deref() {
                None => "",
                Some(crate::runtime::TIME_ZONE) => " WITH TIME ZONE",
                Some(_) => return None,
            };
            Some(format!("TIMESTAMP{digits}{zone}"))
        }
        DataType::List(element) => Some(format!("{}[]", element_type(element)?)),
        DataType::FixedSizeList(element, length) => {
            Some(format!("{}[{length}]", element_type(element)?))
        }
        DataType::Struct(fields) => {
            let parts = fields.iter().map(|field| {
                let name = column_name(field.name());
                sql_type(field.data_type()).map(|data_type| format!("{name} {data_type}"))
            });
            let parts = parts.collect::<Option<Vec<_>>>()?;
            Some(format!("STRUCT<{}>", parts.join(", ")))
        }
        DataType::Map(entries, false) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return None;
            };
            let [key, value] = &fields[..] else {
                return None;
            };
            // Keys of text are kept as `Utf8`, which is the type of nothing else.
            let key = match key.data_type() {
                DataType::Utf8 => "TEXT".to_owned(),
                DataType::Utf8View => return None,
                other => sql_type(other)?,
            };
            Some(format!("MAP({key}, {})", element_type(value)?))
        }
        _ => None,
    }
}

fn element_type(element: &Field) -> Option<String> {
    sql_type(element.data_type()).filter(|_| element.is_nullable())
}

/// The name of a type for people: in SQL if there is one, otherwise Arrow's. Text is TEXT and bytes
/// are BYTEA, whatever their layout.
pub(crate) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => "TEXT".to_owned(),
        DataType::LargeBinary | DataType::BinaryView => "BYTEA".to_owned(),
        other => sql_type(other).unwrap_or_else(|| other.to_string()),
    }
}

/// The name of a column's type for people.
pub(crate) fn column_type(field: &Field) -> String {
    kind_name(field).unwrap_or_else(|| type_name(field.data_type()))
}

/// A name as it is written in a statement: quoted where it would be read as something else.
pub(crate) fn column_name(name: &str) -> String {
    let plain = name
        .bytes()
        .enumerate()
        .all(|(place, b)| matches!(b, b'a'..=b'z' | b'_') || (place > 0 && b.is_ascii_digit()));
    if plain && !name.is_empty() && !is_reserved(name) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn is_reserved(name: &str) -> bool {
    let Token::Word(Word { keyword, .. }) = Token::make_word(name, None) else {
        return true;
    };
    let reserved = [
        &RESERVED_FOR_COLUMN[..],
        RESERVED_FOR_COLUMN_ALIAS,
        RESERVED_FOR_IDENTIFIER,
        RESERVED_FOR_TABLE_ALIAS,
    ];
    reserved.iter().any(|words| words.contains(&keyword))
}
