//! The clauses of CREATE TABLE.
//!
//! Invariant: a clause that would be ignored is refused, with the way out.

use arrow::datatypes::{Field, Schema};
use datafusion::sql::sqlparser::ast::{
    ColumnDef, ColumnOption, CreateTable, CreateTableOptions, Expr as SqlExpr, SqlOption,
    TableConstraint, Value,
};
use netabase_store::{Error, TableOptions as StorageOptions};

use crate::ddl::{DEFAULT_REPLICAS, DEFAULT_SHARDS};
use crate::engine::Engine;
use crate::error::{error_from_datafusion, invalid};
use crate::statement::{ident_of, refuse_given};
use crate::storage_options::{codec, duration};

/// The options of `WITH (…)`.
#[derive(Debug)]
pub(crate) struct TableOptions {
    pub(crate) shards: u32,
    pub(crate) replicas: u32,
    pub(crate) local: bool,
    /// How many columns of the primary key choose the shard, by name; all unless told otherwise.
    pub(crate) shard_by: Option<Vec<String>>,
    /// Time to live and compression.
    pub(crate) storage: StorageOptions,
}

/// Refuses what would otherwise be ignored.
pub(crate) fn refuse_clauses(statement: &CreateTable) -> Result<(), Error> {
    if statement.query.is_some() {
        return Err(invalid(
            "CREATE TABLE … AS SELECT is not supported, because a table needs a primary key: \
             create the table with its columns, then INSERT INTO … SELECT …",
        ));
    }
    let unsupported = [
        (
            "OR REPLACE",
            statement.or_replace,
            "DROP TABLE IF EXISTS it first",
        ),
        (
            "TEMPORARY",
            statement.temporary,
            "use WITH (local = true) and DROP TABLE",
        ),
        (
            "EXTERNAL",
            statement.external,
            "create the table, then COPY … FROM the file",
        ),
        ("LIKE", statement.like.is_some(), "list the columns"),
        (
            "CLONE",
            statement.clone.is_some(),
            "list the columns, then INSERT INTO … SELECT …",
        ),
        (
            "PARTITION BY",
            statement.partition_by.is_some(),
            "use WITH (shards = …)",
        ),
        (
            "CLUSTER BY",
            statement.cluster_by.is_some(),
            "use WITH (shards = …)",
        ),
        (
            "CLUSTERED BY",
            statement.clustered_by.is_some(),
            "use WITH (shards = …)",
        ),
        (
            "ORDER BY",
            statement.order_by.is_some(),
            "order the rows in queries",
        ),
        ("ON COMMIT", statement.on_commit.is_some(), "leave it out"),
        ("ON CLUSTER", statement.on_cluster.is_some(), "leave it out"),
        ("INHERITS", statement.inherits.is_some(), "list the columns"),
        (
            "LOCATION",
            statement.location.is_some(),
            "create the table, then COPY … FROM the file",
        ),
        ("COMMENT", statement.comment.is_some(), "leave it out"),
        ("WITHOUT ROWID", statement.without_rowid, "leave it out"),
        ("STRICT", statement.strict, "leave it out"),
    ];
    refuse_given("CREATE TABLE … ", &unsupported)
}

/// The columns and the indices of the primary key.
pub(crate) fn columns_of(
    engine: &Engine,
    table: &str,
    statement: &CreateTable,
) -> Result<(Schema, Vec<usize>), Error> {
    if statement.columns.is_empty() {
        return Err(invalid(format!(
            "table \"{table}\" has no columns: list them"
        )));
    }
    let schema = engine
        .schema_of_columns(statement.columns.clone())
        .map_err(error_from_datafusion)?;
    for (index, field) in schema.fields().iter().enumerate() {
        if schema
            .fields()
            .iter()
            .take(index)
            .any(|other| other.name() == field.name())
        {
            return Err(invalid(format!(
                "column \"{}\" is defined twice",
                field.name()
            )));
        }
    }
    let names = primary_key_names(table, statement)?;
    let mut key: Vec<usize> = Vec::with_capacity(names.len());
    for name in &names {
        let index = schema.index_of(name).map_err(|_| {
            invalid(format!(
                "PRIMARY KEY names column \"{name}\", which table \"{table}\" does not have"
            ))
        })?;
        if key.contains(&index) {
            return Err(invalid(format!(
                "PRIMARY KEY names column \"{name}\" twice"
            )));
        }
        key.push(index);
    }
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let nullable = field.is_nullable() && !key.contains(&index);
            Field::new(field.name(), field.data_type().clone(), nullable)
        })
        .collect();
    Ok((Schema::new(fields), key))
}

/// The names in the primary key, wherever it is written.
fn primary_key_names(table: &str, statement: &CreateTable) -> Result<Vec<String>, Error> {
    let mut keys: Vec<Vec<String>> = Vec::new();
    for column in &statement.columns {
        if check_column(column)? {
            keys.push(vec![ident_of(&column.name)]);
        }
    }
    for constraint in &statement.constraints {
        let TableConstraint::PrimaryKey(key) = constraint else {
            return Err(refused_constraint(constraint));
        };
        keys.push(key_columns(
            key.columns.iter().map(|column| &column.column.expr),
        )?);
    }
    if let Some(expr) = &statement.primary_key {
        keys.push(key_columns(std::iter::once(expr.as_ref()))?);
    }
    match keys.len() {
        0 => Err(invalid(format!(
            "table \"{table}\" has no PRIMARY KEY: rows are spread and replaced by it; add \
             PRIMARY KEY (column, …)"
        ))),
        1 => Ok(keys.swap_remove(0)),
        _ => Err(invalid(format!(
            "table \"{table}\" has {} primary keys: write one PRIMARY KEY (column, …)",
            keys.len()
        ))),
    }
}

fn key_columns<'a>(exprs: impl Iterator<Item = &'a SqlExpr>) -> Result<Vec<String>, Error> {
    exprs
        .map(|expr| match expr {
            SqlExpr::Identifier(ident) => Ok(ident_of(ident)),
            other => Err(invalid(format!(
                "PRIMARY KEY takes column names, not {other}"
            ))),
        })
        .collect()
}

fn refused_constraint(constraint: &TableConstraint) -> Error {
    let (clause, way_out) = match constraint {
        TableConstraint::Unique(_) => ("UNIQUE", "only the PRIMARY KEY is unique"),
        TableConstraint::ForeignKey(_) => ("FOREIGN KEY", "check references in queries"),
        TableConstraint::Check(_) => ("CHECK", "check values before they are written"),
        _ => ("this constraint", "leave it out"),
    };
    invalid(format!(
        "{clause} is not supported in CREATE TABLE: {way_out}"
    ))
}

/// Whether the column is the primary key; an error for options that would be ignored.
fn check_column(column: &ColumnDef) -> Result<bool, Error> {
    let mut is_key = false;
    for option in &column.options {
        let (clause, way_out) = match &option.option {
            ColumnOption::Null | ColumnOption::NotNull => continue,
            ColumnOption::PrimaryKey(_) => {
                is_key = true;
                continue;
            }
            ColumnOption::Default(_) => ("DEFAULT", "give the value in INSERT"),
            ColumnOption::Unique(_) => ("UNIQUE", "only the PRIMARY KEY is unique"),
            ColumnOption::ForeignKey(_) => ("REFERENCES", "check references in queries"),
            ColumnOption::Check(_) => ("CHECK", "check values before they are written"),
            ColumnOption::Generated { .. } => ("GENERATED", "compute the value in queries"),
            ColumnOption::Comment(_) => ("COMMENT", "leave it out"),
            _ => ("this option", "leave it out"),
        };
        return Err(invalid(format!(
            "column \"{}\": {clause} is not supported in CREATE TABLE ({}): {way_out}",
            ident_of(&column.name),
            option.option
        )));
    }
    Ok(is_key)
}

pub(crate) fn table_options(options: &CreateTableOptions) -> Result<TableOptions, Error> {
    let list: &[SqlOption] = match options {
        CreateTableOptions::None => &[],
        CreateTableOptions::With(list) => list,
        _ => {
            return Err(invalid(
                "table options are written WITH (shards = 8, replicas = 2)",
            ));
        }
    };
    let mut parsed = TableOptions {
        shards: DEFAULT_SHARDS,
        replicas: DEFAULT_REPLICAS,
        local: false,
        shard_by: None,
        storage: StorageOptions::default(),
    };
    let mut seen: Vec<String> = Vec::new();
    for option in list {
        let SqlOption::KeyValue { key, value } = option else {
            return Err(invalid(format!("option {option} is written name = value")));
        };
        let name = key.value.to_lowercase();
        if seen.contains(&name) {
            return Err(invalid(format!("option \"{name}\" is given twice")));
        }
        match name.as_str() {
            "shards" => parsed.shards = number(&name, value)?,
            "replicas" => parsed.replicas = number(&name, value)?,
            "local" => parsed.local = boolean(&name, value)?,
            "shard_by" => parsed.shard_by = Some(names(&name, value)?),
            "ttl" => parsed.storage.ttl_millis = Some(duration(&name, value)?),
            "compression" => parsed.storage.codec = Some(codec(&name, value)?),
            _ => {
                return Err(invalid(format!(
                    "table option \"{name}\" does not exist; there are shards, shard_by, replicas, \
                     local, ttl and compression"
                )));
            }
        }
        seen.push(name);
    }
    Ok(parsed)
}

fn number(name: &str, value: &SqlExpr) -> Result<u32, Error> {
    let text = value.to_string();
    let number = text
        .trim_matches('\'')
        .parse::<u32>()
        .ok()
        .filter(|number| *number > 0);
    number.ok_or_else(|| {
        invalid(format!(
            "option {name} must be a positive number, not {text}"
        ))
    })
}

/// A list of columns, as text: `'a, b'`.
fn names(option: &str, value: &SqlExpr) -> Result<Vec<String>, Error> {
    let SqlExpr::Value(text) = value else {
        return Err(wrong_names(option, value));
    };
    let Value::SingleQuotedString(text) = &text.value else {
        return Err(wrong_names(option, value));
    };
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        return Err(wrong_names(option, value));
    }
    Ok(names)
}

fn wrong_names(option: &str, value: &SqlExpr) -> Error {
    invalid(format!(
        "option {option} lists columns as text, like 'a, b', not {value}"
    ))
}

/// The indices of the columns that choose the shard.
pub(crate) fn shard_key(
    table: &str,
    shard_by: Option<&[String]>,
    (schema, primary_key): (&Schema, &[usize]),
) -> Result<Vec<usize>, Error> {
    let Some(names) = shard_by else {
        return Ok(primary_key.to_vec());
    };
    let key_names = primary_key.iter().map(|index| schema.field(*index).name());
    if names.len() > primary_key.len() || !names.iter().zip(key_names).all(|(a, b)| a == b) {
        return Err(invalid(format!(
            "option shard_by of table \"{table}\" must list the first columns of its primary key, in \
             their order"
        )));
    }
    Ok(primary_key.get(..names.len()).unwrap_or_default().to_vec())
}

fn boolean(name: &str, value: &SqlExpr) -> Result<bool, Error> {
    if let SqlExpr::Value(value) = value {
        match &value.value {
            Value::Boolean(value) => return Ok(*value),
            Value::SingleQuotedString(text) if text.eq_ignore_ascii_case("true") => {
                return Ok(true);
            }
            Value::SingleQuotedString(text) if text.eq_ignore_ascii_case("false") => {
                return Ok(false);
            }
            _ => {}
        }
    }
    Err(invalid(format!(
        "option {name} must be true or false, not {value}"
    )))
}
