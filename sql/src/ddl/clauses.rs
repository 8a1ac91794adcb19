//! The clauses of CREATE TABLE.
//!
//! Invariant: a clause that would be ignored is refused, with the way out.

use arrow::datatypes::Schema;
use datafusion::sql::sqlparser::ast::{
    CreateTable, CreateTableOptions, Expr as SqlExpr, HiveDistributionStyle, SqlOption, Value,
};
use netabase_store::{Error, ErrorKind, TableOptions as StorageOptions};

use super::storage_options::{codec, duration};
use super::{DEFAULT_REPLICAS, DEFAULT_SHARDS};
use crate::blame::{Blame, What};
use crate::error::invalid;
use crate::near::hint;
use crate::statement::refuse_given;

/// The names of the options of `WITH (…)`.
const OPTIONS: [&str; 6] = [
    "shards",
    "shard_by",
    "replicas",
    "local",
    "ttl",
    "compression",
];

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
            statement.partition_by.is_some()
                || statement.hive_distribution != HiveDistributionStyle::NONE,
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
        (
            "COMMENT",
            statement.comment.is_some(),
            "write COMMENT ON TABLE afterwards",
        ),
        (
            "STORED AS or ROW FORMAT",
            statement.hive_formats.is_some(),
            "leave it out",
        ),
        ("WITHOUT ROWID", statement.without_rowid, "leave it out"),
        ("STRICT", statement.strict, "leave it out"),
    ];
    refuse_given("CREATE TABLE … ", &unsupported)
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
    table_options_of(list).map(|(options, _)| options)
}

/// The options of a list, and which of them were given.
pub(crate) fn table_options_of(list: &[SqlOption]) -> Result<(TableOptions, Vec<String>), Error> {
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
            // What they are when nobody says anything.
            "ttl" | "compression" if is_null(value) => {}
            "ttl" => parsed.storage.ttl_millis = Some(duration(&name, value)?),
            "compression" => parsed.storage.codec = Some(codec(&name, value)?),
            _ => {
                let text = format!(
                    "table option \"{name}\" does not exist; there are shards, shard_by, replicas, \
                     local, ttl and compression{}",
                    hint(&name, OPTIONS)
                );
                return Err(Blame::error(
                    What::Name,
                    name,
                    (ErrorKind::InvalidInput, text),
                ));
            }
        }
        seen.push(name);
    }
    Ok((parsed, seen))
}

fn is_null(value: &SqlExpr) -> bool {
    matches!(value, SqlExpr::Value(value) if value.value == Value::Null)
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
