//! Tables come and go.
//!
//! Purpose: `CREATE TABLE` and `DROP TABLE`, from the syntax tree to the cluster, and the built-in
//! objects table.
//!
//! Invariant: DataFusion's own executors never see these
//! statements (they would make tables that live in memory only).

mod alter;
mod clauses;
mod columns;
mod comment;
mod dependents;
mod freeze;
mod index;
mod parse;
mod replace;
mod schema;
mod show_create;
mod storage_options;
mod unfinished;
mod unique;
mod view;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    CreateTable, ObjectName, ObjectType, Statement as SqlStatement,
};
use netabase_store::{Author, Error, ErrorKind, QualifiedName, TableDef, TableId, Version};

use self::alter::alter_table;
use self::clauses::{TableOptions, refuse_clauses, shard_key, table_options};
use self::columns::{Columns, columns_of, columns_of_query};
use self::comment::comment;
use self::index::{create_index, drop_indexes};
pub(crate) use self::parse::{parse_create_table, parse_reset};
pub(crate) use self::show_create::show_create;
pub(crate) use self::unfinished::{InWork, discard as discard_unfinished};
pub(crate) use self::view::refresh;
use self::view::{create_view, views_to_drop};
use crate::catalog::{INFORMATION_SCHEMA, missing_table};
use crate::deadline::Deadline;
use crate::dml;
use crate::engine::Engine;
use crate::error::{conflict, invalid};
use crate::output::Output;
use crate::path;
use crate::statement::{TableName, refuse_given, table_name};
use crate::syntax::shown;
use crate::system::SYSTEM_SCHEMA;

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
    // Without quotes where there is no schema: as it was before there were any.
    let plain = QualifiedName::parse(name).filter(|name| name.schema.is_none());
    let name = plain.as_ref().map_or(name, |plain| &plain.table);
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

/// Runs a statement that changes definitions.
pub(crate) async fn run(engine: &Engine, statement: SqlStatement) -> Result<Output, Error> {
    unfinished::discard(engine).await;
    match statement {
        SqlStatement::CreateTable(create) => create_table(engine, create).await,
        SqlStatement::CreateIndex(create) => create_index(engine, create).await,
        SqlStatement::CreateView(create) => create_view(engine, create).await,
        create @ SqlStatement::CreateSchema { .. } => schema::create_schema(engine, create).await,
        SqlStatement::AlterTable(alter) => alter_table(engine, alter).await,
        SqlStatement::Comment {
            object_type,
            object_name,
            comment: text,
            if_exists,
        } => comment(engine, (object_type, &object_name), text, if_exists).await,
        SqlStatement::Drop {
            purge, temporary, ..
        } if purge || temporary => refuse_given(
            "DROP … ",
            &[
                ("PURGE", purge, "leave it out: rows are gone anyway"),
                ("TEMPORARY", temporary, "leave it out"),
            ],
        )
        .map(|()| Output::empty()),
        SqlStatement::Drop {
            object_type: ObjectType::Table,
            names,
            if_exists,
            cascade,
            restrict,
            ..
        } => {
            let defs = tables_to_drop(engine, &names, if_exists)?;
            drop_all(engine, (defs, if_exists), (cascade, restrict)).await
        }
        SqlStatement::Drop {
            object_type: ObjectType::Index,
            names,
            if_exists,
            table,
            ..
        } => drop_indexes(engine, (&names, table.as_ref()), if_exists).await,
        SqlStatement::Drop {
            object_type: ObjectType::Schema,
            names,
            if_exists,
            cascade,
            ..
        } => schema::drop_schemas(engine, &names, (if_exists, cascade)).await,
        SqlStatement::Drop {
            object_type: object_type @ (ObjectType::View | ObjectType::MaterializedView),
            names,
            if_exists,
            cascade,
            restrict,
            ..
        } => {
            let materialized = object_type == ObjectType::MaterializedView;
            let defs = views_to_drop(engine, &names, (materialized, if_exists))?;
            drop_all(engine, (defs, if_exists), (cascade, restrict)).await
        }
        other => Err(crate::statement::unsupported(&other)),
    }
}

/// `CREATE TABLE`, perhaps from a query.
async fn create_table(engine: &Engine, mut statement: CreateTable) -> Result<Output, Error> {
    refuse_clauses(&statement)?;
    let name = new_name(engine, &statement.name)?;
    let mut options = table_options(&statement.table_options)?;
    // CREATE LOCAL TABLE.
    options.local |= statement.global == Some(false);
    if crate::catalog::live_table(engine.store(), &name).is_some() {
        if statement.if_not_exists {
            return Ok(Output::empty());
        }
        return Err(exists(&name));
    }
    let mut query = statement.query.take();
    path::qualify(&mut query, &engine.search_path(), engine.store());
    let Some(query) = query else {
        let columns = columns_of(engine, &name, &statement)?;
        let def = definition(engine, name, columns, options)?;
        return match engine.cluster().create_table(def).await {
            Ok(_) => Ok(Output::empty()),
            Err(error) if statement.if_not_exists && error.kind() == ErrorKind::Conflict => {
                Ok(Output::empty())
            }
            Err(error) => Err(error),
        };
    };
    if !statement.columns.is_empty() {
        return Err(invalid(
            "CREATE TABLE … AS takes its columns from the query: leave them out, or create the table \
             first, and then INSERT INTO … SELECT",
        ));
    }
    let plan = dml::plan_query(engine, *query, None, &Deadline::none()).await?;
    let columns = columns_of_query(&name, &statement, stored_fields(&plan))?;
    let def = definition(engine, name, columns, options)?;
    create_filled(engine, def, plan).await
}

/// Creates a table with the rows of a query, which is seen with all of them or never.
async fn create_filled(engine: &Engine, def: TableDef, plan: LogicalPlan) -> Result<Output, Error> {
    let given = def.visible_columns();
    let plan = dml::as_rows(&def, plan, &given)?;
    let fill = async move |def: Arc<TableDef>| {
        let (receipt, scans) = dml::fill_unseen(engine, &def, (plan, given)).await?;
        Output::written(receipt, scans)
    };
    unfinished::create_filled(engine, def, fill).await
}

/// The columns of a query's result as a table keeps them.
pub(crate) fn stored_fields(plan: &LogicalPlan) -> Vec<Field> {
    let fields = plan.schema().fields().iter();
    let stored = fields.map(|field| {
        let data_type = stored_type(field.data_type());
        Field::new(shown(field.name()), data_type, true)
    });
    stored.collect()
}

fn stored_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Dictionary(_, values) => stored_type(values),
        other => other.clone(),
    }
}

/// The name of a table or view to be made, whose schema there is.
pub(crate) fn new_name(engine: &Engine, name: &ObjectName) -> Result<String, Error> {
    let TableName::Table(mut stored) = table_name(name)? else {
        return Err(read_only());
    };
    if name.0.len() == 1
        && let Some(parsed) = QualifiedName::parse(&stored)
    {
        stored = path::name_in(&engine.current_schema(), &parsed.table);
    }
    match QualifiedName::parse(&stored).and_then(|name| name.schema) {
        Some(schema) if [SYSTEM_SCHEMA, INFORMATION_SCHEMA].contains(&schema.as_str()) => {
            Err(read_only())
        }
        Some(schema) if !path::exists(engine.store(), &schema) => {
            Err(path::missing_schema(engine.store(), &schema))
        }
        _ => Ok(stored),
    }
}

fn exists(name: &str) -> Error {
    conflict(format!(
        "table \"{name}\" exists already; drop it first, or use CREATE TABLE IF NOT EXISTS"
    ))
}

/// A definition, checked, of a table that belongs to this peer.
pub(crate) fn definition(
    engine: &Engine,
    name: String,
    columns: Columns,
    options: TableOptions,
) -> Result<TableDef, Error> {
    let shard_by = options.shard_by.as_deref();
    let shard_key = shard_key(&name, shard_by, (&columns.schema, &columns.key))?;
    let mut storage = options.storage;
    storage.rules = columns.rules;
    let owner = engine.cluster().me().to_string();
    let created = engine.store().clock().now();
    let mut def = TableDef {
        id: table_id(&name, &owner, created),
        name,
        schema: Arc::new(columns.schema),
        shard_key,
        primary_key: columns.key,
        shards: options.shards,
        replicas: options.replicas,
        local: options.local,
        owner: Author::from(owner),
        created,
        dropped: None,
        placement: Vec::new(),
        options: storage,
        attachment: Vec::new(),
    };
    unique::add_constraints(engine, &mut def, columns.unique)?;
    def.validate()?;
    let def = Arc::new(def);
    check_rules(engine, &def)?;
    Ok(Arc::unwrap_or_clone(def))
}

/// Fails unless all expressions of a definition can be planned, and are allowed where they are.
pub(crate) fn check_rules(engine: &Engine, def: &Arc<TableDef>) -> Result<(), Error> {
    dml::check_expressions(engine, def)?;
    dml::RowRules::of(engine, def).map(|_| ())
}

/// The tables of `DROP TABLE`: all names are checked before the first one goes.
fn tables_to_drop(
    engine: &Engine,
    names: &[ObjectName],
    if_exists: bool,
) -> Result<Vec<Arc<TableDef>>, Error> {
    let mut defs = Vec::with_capacity(names.len());
    for name in names {
        match table_to_write(engine, name) {
            Ok(def) => defs.push(def),
            Err(error) if if_exists && error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(defs)
}

/// Drops tables and views. Views that read them go as well with CASCADE, and keep them with RESTRICT;
/// otherwise they stay, and fail until there is such a table again.
async fn drop_all(
    engine: &Engine,
    (mut defs, if_exists): (Vec<Arc<TableDef>>, bool),
    (cascade, restrict): (bool, bool),
) -> Result<Output, Error> {
    if cascade || restrict {
        let views = dependents::views_of(engine.store(), &defs);
        if let Some(view) = views.first().filter(|_| restrict) {
            return Err(conflict(format!(
                "view \"{}\" reads what is to be dropped: drop it first, or write CASCADE",
                view.name
            )));
        }
        defs.extend(views);
    }
    for def in each_once(defs) {
        match engine.cluster().drop_table(def).await {
            // Another statement was faster.
            Err(error) if if_exists && error.kind() == ErrorKind::NotFound => {}
            dropped => dropped?,
        }
    }
    Ok(Output::empty())
}

/// Definitions without those that come again.
fn each_once(mut defs: Vec<Arc<TableDef>>) -> Vec<Arc<TableDef>> {
    let mut seen = HashSet::new();
    defs.retain(|def| seen.insert(def.id));
    defs
}

/// The table or view of this name. Fails with `NotFound`.
pub(crate) fn known_table(engine: &Engine, name: &ObjectName) -> Result<Arc<TableDef>, Error> {
    match table_name(&engine.in_path(name))? {
        TableName::Table(name) => {
            crate::catalog::live_table(engine.store(), &name).ok_or_else(|| missing_table(&name))
        }
        TableName::Described => Err(read_only()),
    }
}

/// The table of this name, unless it is a view. Fails with `NotFound`, or `InvalidInput`.
pub(crate) fn table_to_write(engine: &Engine, name: &ObjectName) -> Result<Arc<TableDef>, Error> {
    let def = known_table(engine, name)?;
    match &def.options.rules.view {
        Some(_) => Err(is_view(&def)),
        None => Ok(def),
    }
}

/// The table or materialized view of this name, which may have indexes.
fn table_with_rows(engine: &Engine, name: &ObjectName) -> Result<Arc<TableDef>, Error> {
    let def = known_table(engine, name)?;
    match &def.options.rules.view {
        Some(view) if !view.materialized => Err(is_view(&def)),
        _ => Ok(def),
    }
}

fn is_view(def: &TableDef) -> Error {
    let (what, way_out) = match &def.options.rules.view {
        Some(view) if view.materialized => (
            "a materialized view",
            "REFRESH MATERIALIZED VIEW makes its rows anew, DROP MATERIALIZED VIEW removes it",
        ),
        _ => (
            "a view",
            "change the tables behind it; DROP VIEW removes it",
        ),
    };
    invalid(format!("\"{}\" is {what}: {way_out}", def.name))
}

pub(crate) fn read_only() -> Error {
    invalid(
        "information_schema is read-only, and so is the schema \"netabase\": they describe the \
         tables of the others",
    )
}
