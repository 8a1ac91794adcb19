//! Column definitions to Arrow types: DataFusion's, and what PostgreSQL has besides.
//!
//! Invariant: a name that is accepted means what it does there, as far as values can tell; what would
//! be ignored (a sequence, a time zone of a time) is refused with the way out.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{TableReference, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ContextProvider, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, ColumnDef, DataType as SqlType, Ident, TimezoneInfo,
};

use crate::declared::{Kind, kind_within};

/// The key field, the value field and the entries of a map, as DataFusion's functions call them.
const MAP_FIELDS: [&str; 3] = ["key", "value", "entries"];

/// The most elements of an array of a fixed length, with those within it. A NULL has as many, and each batch
/// of rows has thousands.
const MAX_FIXED_ELEMENTS: u64 = 16_384;

/// A planning context without tables and functions: column types need neither.
struct TypesOnly<'a> {
    config: &'a ConfigOptions,
    types: Arc<dyn TypePlanner>,
}

/// Knows the types that DataFusion does not.
#[derive(Debug)]
pub(crate) struct Types {
    config: ConfigOptions,
    /// Whether these are types of columns, whose values are checked when they are written.
    of_columns: bool,
}

impl Types {
    /// The types in queries.
    pub(crate) fn in_queries(config: &ConfigOptions) -> Self {
        Self {
            config: config.clone(),
            of_columns: false,
        }
    }

    /// What a column of text may hold.
    fn kind(&self, sql_type: &SqlType) -> Option<Kind> {
        if !self.of_columns {
            return None;
        }
        match sql_type {
            SqlType::Uuid => Some(Kind::Uuid),
            SqlType::JSON | SqlType::JSONB => Some(Kind::Json),
            SqlType::Varchar(Some(CharacterLength::IntegerLength { length, .. }))
            | SqlType::Char(Some(CharacterLength::IntegerLength { length, .. }))
            | SqlType::Character(Some(CharacterLength::IntegerLength { length, .. }))
            | SqlType::CharVarying(Some(CharacterLength::IntegerLength { length, .. }))
            | SqlType::CharacterVarying(Some(CharacterLength::IntegerLength { length, .. }))
            | SqlType::Nvarchar(Some(CharacterLength::IntegerLength { length, .. })) => {
                Some(Kind::AtMost(*length))
            }
            _ => None,
        }
    }

    /// The field that a type within another one gives.
    fn within(&self, sql_type: &SqlType, name: &str, nullable: bool) -> Result<Field> {
        let column = ColumnDef {
            name: Ident::new(name),
            data_type: sql_type.clone(),
            options: Vec::new(),
        };
        let schema = schema_of(&self.config, self.of_columns, vec![column])?;
        Ok(schema.field(0).clone().with_nullable(nullable))
    }
}

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        if let Some(kind) = self.kind(sql_type) {
            return Ok(Some(kind.field()));
        }
        if fixed_elements(sql_type) > MAX_FIXED_ELEMENTS {
            return plan_err!(
                "{sql_type} has more than {MAX_FIXED_ELEMENTS} elements in each value, also in a NULL: leave \
                 the length out, as in INT[]"
            );
        }
        let data_type = match sql_type {
            SqlType::Uuid
            | SqlType::JSON
            | SqlType::JSONB
            | SqlType::Character(_)
            | SqlType::CharVarying(_)
            | SqlType::CharacterVarying(_)
            | SqlType::Nvarchar(_)
            | SqlType::Clob(None) => DataType::Utf8View,
            SqlType::Blob(None)
            | SqlType::Binary(None)
            | SqlType::Varbinary(None)
            | SqlType::Bytes(None) => DataType::Binary,
            SqlType::Datetime(None) => DataType::Timestamp(TimeUnit::Nanosecond, None),
            SqlType::UTinyInt => DataType::UInt8,
            SqlType::USmallInt => DataType::UInt16,
            SqlType::UBigInt => DataType::UInt64,
            SqlType::Map(key, value) => {
                let [key_name, value_name, entries] = MAP_FIELDS;
                let key = as_text(self.within(key, key_name, false)?);
                let value = self.within(value, value_name, true)?;
                let entry = DataType::Struct(vec![key, value].into());
                DataType::Map(Arc::new(Field::new(entries, entry, false)), false)
            }
            SqlType::Custom(name, _) => return custom(&name.to_string()),
            SqlType::Time(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => {
                return plan_err!(
                    "a time of day with a time zone is not supported: use TIMESTAMP WITH TIME ZONE"
                );
            }
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}

/// How many elements each value has.
fn fixed_elements(sql_type: &SqlType) -> u64 {
    match sql_type {
        SqlType::Array(ArrayElemTypeDef::SquareBracket(item, length)) => {
            fixed_elements(item).saturating_mul(length.unwrap_or(1))
        }
        _ => 1,
    }
}

/// The key of a map, which functions compare with plain texts.
fn as_text(key: Field) -> Field {
    match key.data_type() {
        DataType::Utf8View => key.with_data_type(DataType::Utf8),
        _ => key,
    }
}

/// A type that the parser does not know.
fn custom(name: &str) -> Result<Option<FieldRef>> {
    match name.to_ascii_lowercase().as_str() {
        "serial" | "bigserial" | "smallserial" | "serial2" | "serial4" | "serial8" => plan_err!(
            "{name} is not supported, because peers share no sequence: use BIGINT and give each row \
             its number, or TEXT and uuid()"
        ),
        "uinteger" => Ok(Some(Arc::new(Field::new("", DataType::UInt32, true)))),
        _ => Ok(None),
    }
}

impl ContextProvider for TypesOnly<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("table '{name}' not found")
    }

    fn get_function_meta(&self, _name: &str) -> Option<Arc<ScalarUDF>> {
        None
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, _name: &str) -> Option<Arc<AggregateUDF>> {
        None
    }

    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.config
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::clone(&self.types))
    }

    fn udf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The schema that column definitions describe. Strings become `Utf8View`.
pub(crate) fn schema_of_columns(config: &ConfigOptions, columns: Vec<ColumnDef>) -> Result<Schema> {
    let schema = schema_of(config, true, columns)?;
    match kind_within(&schema) {
        Some(column) => plan_err!(
            "column \"{column}\": UUID, JSON and VARCHAR(n) are checked when rows are written, but not \
             within a list, struct or map: use TEXT there"
        ),
        None => Ok(schema),
    }
}

fn schema_of(config: &ConfigOptions, of_columns: bool, columns: Vec<ColumnDef>) -> Result<Schema> {
    let options = ParserOptions::new()
        .with_map_string_types_to_utf8view(true)
        .with_support_varchar_with_length(config.sql_parser.support_varchar_with_length)
        .with_enable_ident_normalization(config.sql_parser.enable_ident_normalization);
    let context = TypesOnly {
        config,
        types: Arc::new(Types {
            config: config.clone(),
            of_columns,
        }),
    };
    SqlToRel::new_with_options(&context, options).build_schema(columns)
}
