//! Tables come and go.
//!
//! Purpose: `CREATE TABLE` and `DROP TABLE`, from the syntax tree to the cluster, and the built-in
//! objects table.
//!
//! Invariant: DataFusion's own executors never see these
//! statements (they would make tables that live in memory only).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::sql::sqlparser::ast::{CreateTable, ObjectName};
use netabase_store::{Author, Error, ErrorKind, TableDef, TableId, Version};

use crate::engine::Engine;
use crate::error::{conflict, invalid, not_found};
use crate::output::Output;
use crate::statement::{TableName, table_name};
use crate::table_clauses::{columns_of, refuse_clauses, shard_key, table_options};

/// Shards of a table unless told otherwise.
pub const DEFAULT_SHARDS: u32 = 8;
/// Replicas of every shard unless told otherwise.
pub const DEFAULT_REPLICAS: u32 = 2;
/// Shards of the objects table.
const OBJECTS_SHARDS: u32 = 16;
/// The name of the objects table.
const OBJECTS: &str = "objects";

/// The id of a table: nobody can give another peer's table a definition of their own.
pub fn table_id(name: &str, owner: &str, created: Version) -> TableId {
    TableId::derive(&[name.as_bytes(), owner.as_bytes(), &created.0.to_le_bytes()])
}

/// The built-in table of a network that holds raw values under raw keys:
/// `objects(key Binary PRIMARY KEY, value Binary NOT NULL)`.
///
/// A definition like any other: the first one that is made in a network is everybody's.
pub fn objects_table(owner: &str, created: Version) -> TableDef {
    TableDef {
        id: table_id(OBJECTS, owner, created),
        name: OBJECTS.to_string(),
        schema: Arc::new(Schema::new(vec![
            Field::new("key", DataType::Binary, false),
            Field::new("value", DataType::Binary, false),
        ])),
        primary_key: vec![0],
        shard_key: vec![0],
        shards: OBJECTS_SHARDS,
        replicas: DEFAULT_REPLICAS,
        local: false,
        owner: Author::from(owner),
        created,
        dropped: None,
        placement: Vec::new(),
        options: Default::default(),
        attachment: Vec::new(),
    }
}

/// `CREATE TABLE`.
pub(crate) async fn create_table(engine: &Engine, statement: CreateTable) -> Result<Output, Error> {
    refuse_clauses(&statement)?;
    let name = match table_name(&statement.name)? {
        TableName::Table(name) => name,
        TableName::Described => return Err(read_only()),
    };
    let options = table_options(&statement.table_options)?;
    let (schema, primary_key) = columns_of(engine, &name, &statement)?;
    if crate::catalog::live_table(engine.store(), &name).is_some() {
        if statement.if_not_exists {
            return Ok(Output::empty());
        }
        return Err(conflict(format!(
            "table \"{name}\" exists already; drop it first, or use CREATE TABLE IF NOT EXISTS"
        )));
    }
    let shard_by = options.shard_by.as_deref();
    let shard_key = shard_key(&name, shard_by, (&schema, &primary_key))?;
    let owner = engine.cluster().me().to_string();
    let created = engine.store().clock().now();
    let def = TableDef {
        id: table_id(&name, &owner, created),
        name,
        schema: Arc::new(schema),
        shard_key,
        primary_key,
        shards: options.shards,
        replicas: options.replicas,
        local: options.local,
        owner: Author::from(owner),
        created,
        dropped: None,
        placement: Vec::new(),
        options: options.storage,
        attachment: Vec::new(),
    };
    def.validate()?;
    match engine.cluster().create_table(def).await {
        Ok(_) => Ok(Output::empty()),
        Err(error) if statement.if_not_exists && error.kind() == ErrorKind::Conflict => {
            Ok(Output::empty())
        }
        Err(error) => Err(error),
    }
}

/// `DROP TABLE`: all names are checked before the first table goes.
pub(crate) async fn drop_tables(
    engine: &Engine,
    names: &[ObjectName],
    if_exists: bool,
) -> Result<Output, Error> {
    let mut defs = Vec::with_capacity(names.len());
    for name in names {
        match table_to_write(engine, name) {
            Ok(def) => defs.push(def),
            Err(error) if if_exists && error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    for def in defs {
        engine.cluster().drop_table(def).await?;
    }
    Ok(Output::empty())
}

/// The table of this name, whose rows a statement changes. Fails with `NotFound`.
pub(crate) fn table_to_write(engine: &Engine, name: &ObjectName) -> Result<Arc<TableDef>, Error> {
    match table_name(name)? {
        TableName::Table(name) => crate::catalog::live_table(engine.store(), &name)
            .ok_or_else(|| not_found(format!("table \"{name}\" does not exist"))),
        TableName::Described => Err(read_only()),
    }
}

pub(crate) fn read_only() -> Error {
    invalid(
        "information_schema is read-only, and so is the schema \"netabase\": they describe the tables \
         of the schema \"public\"",
    )
}
