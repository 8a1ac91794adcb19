//! `SHOW CREATE TABLE t`: the statements that make the same table.
//!
//! Invariant: what is shown was read again before, and gives the table's columns, keys and options.
//! What no statement can say is an error that names it.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{CreateTable, Statement as SqlStatement};
use netabase_store::{Error, TableDef, TableOptions};

use super::{columns_of, shard_key, table_options};
use crate::catalog::{INFORMATION_SCHEMA, live_table, missing_table};
use crate::declared::kind_name;
use crate::describe::{ColumnFacts, has_key, visible_columns};
use crate::engine::Engine;
use crate::error::{from_arrow, invalid};
use crate::output::Output;
use crate::path;
use crate::quantity::millis_text;
use crate::sql_type::{column_name, sql_type};
use crate::statement;
use crate::system::{SYSTEM_SCHEMA, codec_name, names_of};
use crate::upkeep::Parsed;

/// One row: the table's name, and the statements.
pub(crate) fn show_create(engine: &Engine, (schema, table): (&str, &str)) -> Result<Output, Error> {
    if [SYSTEM_SCHEMA, INFORMATION_SCHEMA].contains(&schema) {
        return Err(invalid(format!(
            "{schema}.{table} is not made by a statement: its rows are computed"
        )));
    }
    let name = path::name_in(schema, table);
    let Some(def) = live_table(engine.store(), &name) else {
        return Err(missing_table(&name));
    };
    let text = statements_of(&def)?;
    check(engine, &def, &text)?;
    let columns = [("table_name", table.to_owned()), ("statement", text)];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, _)| Field::new(*name, DataType::Utf8View, false))
        .collect();
    let arrays = columns.into_iter().map(|(_, value)| {
        let array: ArrayRef = Arc::new(StringViewArray::from_iter_values([value]));
        array
    });
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays.collect());
    Ok(Output::of(batch.map_err(from_arrow)?))
}

/// CREATE TABLE or CREATE VIEW, CREATE INDEX for each index, and a comment.
fn statements_of(def: &TableDef) -> Result<String, Error> {
    let name = def.qualified_name();
    let mut table = column_name(&name.table);
    if let Some(schema) = &name.schema {
        table = format!("{}.{table}", column_name(schema));
    }
    let rules = &def.options.rules;
    let mut text = match &rules.view {
        None => create_table(def, &table)?,
        Some(view) if view.materialized => {
            let options = options_of(def).join(", ");
            format!(
                "CREATE MATERIALIZED VIEW {table} WITH ({options}) AS {}",
                view.query
            )
        }
        Some(view) => format!("CREATE VIEW {table} AS {}", view.query),
    };
    for index in &def.options.indexes {
        let columns: Vec<usize> = index
            .columns
            .iter()
            .map(|column| *column as usize)
            .collect();
        let unique = match rules.unique.contains(&index.name) {
            true => "UNIQUE ",
            false => "",
        };
        let (name, columns) = (column_name(&index.name), quoted_names(def, &columns));
        text.push_str(&format!(
            ";\nCREATE {unique}INDEX {name} ON {table} ({columns})"
        ));
    }
    if let Some(comment) = &rules.comment {
        let what = match &rules.view {
            Some(view) if view.materialized => "MATERIALIZED VIEW",
            Some(_) => "VIEW",
            None => "TABLE",
        };
        text.push_str(&format!(
            ";\nCOMMENT ON {what} {table} IS {}",
            quoted(comment)
        ));
    }
    if rules.view.as_ref().is_some_and(|view| view.materialized) {
        for column in def.visible_columns() {
            let rules = def.column_rules(column);
            if let Some(comment) = rules.and_then(|rules| rules.comment.as_ref()) {
                let name = column_name(def.column_name(column));
                text.push_str(&format!(
                    ";\nCOMMENT ON COLUMN {table}.{name} IS {}",
                    quoted(comment)
                ));
            }
        }
    }
    Ok(text)
}

fn create_table(def: &TableDef, table: &str) -> Result<String, Error> {
    let mut lines = Vec::new();
    for (field, facts, key) in visible_columns(def) {
        lines.push(format!("  {}", column_of(def, &field, &facts, key)?));
    }
    if has_key(def) {
        lines.push(format!(
            "  PRIMARY KEY ({})",
            quoted_names(def, &def.primary_key)
        ));
    }
    for check in &def.options.rules.checks {
        let name = column_name(&check.name);
        lines.push(format!("  CONSTRAINT {name} CHECK ({})", check.condition));
    }
    let options = options_of(def).join(", ");
    Ok(format!(
        "CREATE TABLE {table} (\n{}\n) WITH ({options})",
        lines.join(",\n")
    ))
}

/// One column: name, type, constraints.
fn column_of(
    def: &TableDef,
    field: &Field,
    facts: &ColumnFacts,
    key: Option<usize>,
) -> Result<String, Error> {
    let kind = kind_name(field);
    let Some(data_type) = kind.or_else(|| sql_type(field.data_type())) else {
        return Err(invalid(format!(
            "table \"{}\" is not made by a statement: its column \"{}\" has the Arrow type {}, \
             which SQL has no name for",
            def.name,
            field.name(),
            field.data_type()
        )));
    };
    let mut text = format!("{} {data_type}", column_name(field.name()));
    // Columns of the key are never NULL.
    if !field.is_nullable() && key.is_none() {
        text.push_str(" NOT NULL");
    }
    if let Some(default) = &facts.default {
        text.push_str(&format!(" DEFAULT {default}"));
    }
    if let Some(generated) = &facts.generated {
        text.push_str(&format!(" GENERATED ALWAYS AS ({generated}) STORED"));
    }
    if let Some(comment) = &facts.comment {
        text.push_str(&format!(" COMMENT {}", quoted(comment)));
    }
    Ok(text)
}

/// Text in a statement.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn quoted_names(def: &TableDef, columns: &[usize]) -> String {
    let names = columns
        .iter()
        .map(|column| column_name(def.column_name(*column)));
    names.collect::<Vec<_>>().join(", ")
}

/// The options of WITH that a table has, those that are always there first.
fn options_of(def: &TableDef) -> Vec<String> {
    let mut options = vec![
        format!("shards = {}", def.shards),
        format!("replicas = {}", def.replicas),
    ];
    if def.shard_key != def.primary_key {
        options.push(format!(
            "shard_by = {}",
            quoted(&names_of(def, &def.shard_key))
        ));
    }
    if def.local {
        options.push("local = true".to_owned());
    }
    if let Some(ttl) = def.options.ttl_millis {
        options.push(format!("ttl = {}", quoted(&millis_text(ttl))));
    }
    if let Some(codec) = def.options.codec {
        options.push(format!("compression = {}", quoted(codec_name(codec))));
    }
    options
}

/// Reads the first statement as CREATE TABLE does, and compares. A view is made by its text.
fn check(engine: &Engine, def: &TableDef, text: &str) -> Result<(), Error> {
    if def.options.rules.view.is_some() {
        return Ok(());
    }
    let differs = |what: &str| {
        invalid(format!(
            "table \"{}\" is not made by a statement: {what} cannot be written in one",
            def.name
        ))
    };
    let create = first_statement(engine, text).ok_or_else(|| differs("its names"))?;
    let columns = columns_of(engine, &def.name, &create)?;
    let options = table_options(&create.table_options)?;
    let shard_by = options.shard_by.as_deref();
    let shard_key = shard_key(&def.name, shard_by, (&columns.schema, &columns.key));
    let shard_key = shard_key.map_err(|_| differs("its keys"))?;
    let made = TableDef {
        schema: Arc::new(columns.schema),
        primary_key: columns.key,
        shard_key,
        options: TableOptions {
            rules: columns.rules,
            ..options.storage
        },
        ..def.clone()
    };
    if visible_columns(&made) != visible_columns(def) {
        return Err(differs("what its columns are"));
    }
    let keys = |def: &TableDef| {
        (
            names_of(def, &def.primary_key),
            names_of(def, &def.shard_key),
        )
    };
    if keys(&made) != keys(def) {
        return Err(differs("its keys"));
    }
    let (storage, wanted) = (&made.options, &def.options);
    if storage.codec != wanted.codec || storage.ttl_millis != wanted.ttl_millis {
        return Err(differs("its compression or time to live"));
    }
    if storage.rules.checks != wanted.rules.checks {
        return Err(differs("its checks"));
    }
    Ok(())
}

fn first_statement(engine: &Engine, text: &str) -> Option<CreateTable> {
    let state = engine.context().state_ref();
    let parsed = statement::parse(text, state.read().config_options()).ok()?;
    match parsed.into_iter().next()? {
        Parsed::Sql(Statement::Statement(first)) => match *first {
            SqlStatement::CreateTable(create) => Some(create),
            _ => None,
        },
        _ => None,
    }
}
