//! Column definitions to Arrow types, the way DataFusion does it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::TableReference;
use datafusion::common::config::ConfigOptions;
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::planner::ContextProvider;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::ColumnDef;

/// A planning context without tables and functions: column types need neither.
struct TypesOnly<'a>(&'a ConfigOptions);

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
        self.0
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
    let options = ParserOptions::new()
        .with_map_string_types_to_utf8view(true)
        .with_support_varchar_with_length(config.sql_parser.support_varchar_with_length)
        .with_enable_ident_normalization(config.sql_parser.enable_ident_normalization);
    SqlToRel::new_with_options(&TypesOnly(config), options).build_schema(columns)
}
