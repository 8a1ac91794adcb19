//! Schemas come and go.
//!
//! Idea: a schema is a definition like a table's, without rows, so that it comes to every peer; the name
//! of a table says which schema it is in. Invariant: a schema that something lies in exists, whether its
//! own definition has arrived or not; dropping one drops all definitions of it that are known here.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::sql::sqlparser::ast::{ObjectName, SchemaName, Statement as SqlStatement};
use netabase_store::{Error, ErrorKind, QualifiedName, TableDef};

use super::clauses::table_options;
use super::columns::Columns;
use super::{definition, dependents, each_once};
use crate::engine::Engine;
use crate::error::{conflict, invalid};
use crate::output::Output;
use crate::path::{check_new_schema, exists, missing_schema};
use crate::statement::{ident_of, refuse_given};

/// The only column of a schema's definition, which has no rows.
const NO_COLUMN: &str = "schema";
/// Things in a schema that an error names.
const MAX_NAMED: usize = 10;

/// `CREATE SCHEMA`.
pub(super) async fn create_schema(
    engine: &Engine,
    statement: SqlStatement,
) -> Result<Output, Error> {
    let SqlStatement::CreateSchema {
        schema_name,
        if_not_exists,
        with,
        options,
        default_collate_spec,
        clone,
    } = statement
    else {
        return Err(invalid("this is not CREATE SCHEMA"));
    };
    let leave = "leave it out: every peer may use a schema";
    let clauses = [
        (
            "WITH",
            with.is_some(),
            "leave it out: options belong to tables",
        ),
        (
            "OPTIONS",
            options.is_some(),
            "leave it out: options belong to tables",
        ),
        ("COLLATE", default_collate_spec.is_some(), "leave it out"),
        (
            "CLONE",
            clone.is_some(),
            "use CREATE TABLE … AS for each table",
        ),
        (
            "AUTHORIZATION",
            !matches!(schema_name, SchemaName::Simple(_)),
            leave,
        ),
    ];
    refuse_given("CREATE SCHEMA … ", &clauses)?;
    let SchemaName::Simple(name) = &schema_name else {
        return Err(invalid("CREATE SCHEMA needs a name"));
    };
    let schema = name_of(name)?;
    check_new_schema(&schema)?;
    if exists(engine.store(), &schema) {
        return match if_not_exists {
            true => Ok(Output::empty()),
            false => Err(conflict(format!(
                "schema \"{schema}\" exists already; CREATE SCHEMA IF NOT EXISTS leaves it as it is"
            ))),
        };
    }
    match engine
        .cluster()
        .create_table(record(engine, &schema)?)
        .await
    {
        Err(error) if if_not_exists && error.kind() == ErrorKind::Conflict => Ok(Output::empty()),
        made => made.map(|_| Output::empty()),
    }
}

/// The definition of a schema.
fn record(engine: &Engine, schema: &str) -> Result<TableDef, Error> {
    let columns = Columns {
        schema: Schema::new(vec![Field::new(NO_COLUMN, DataType::Utf8View, false)]),
        key: vec![0],
        rules: Default::default(),
        unique: Vec::new(),
    };
    let mut options = table_options(&Default::default())?;
    options.shards = 1;
    let name = QualifiedName::of(schema, "").to_string();
    definition(engine, name, columns, options)
}

/// The name of a schema: `s` or `netabase.s`.
pub(super) fn name_of(name: &ObjectName) -> Result<String, Error> {
    let idents = name.0.iter().map(|part| part.as_ident().map(ident_of));
    let parts: Option<Vec<String>> = idents.collect();
    match parts.as_deref() {
        Some([schema]) => Ok(schema.clone()),
        Some([catalog, schema]) if catalog == crate::catalog::CATALOG => Ok(schema.clone()),
        _ => Err(invalid(format!("{name} is not the name of a schema"))),
    }
}

/// `DROP SCHEMA`: all names are checked before the first schema goes. Views elsewhere that read what is in
/// them go as well.
pub(super) async fn drop_schemas(
    engine: &Engine,
    names: &[ObjectName],
    (if_exists, cascade): (bool, bool),
) -> Result<Output, Error> {
    let (mut gone, mut schemas) = (Vec::<Arc<TableDef>>::new(), Vec::new());
    for name in names {
        let schema = name_of(name)?;
        check_new_schema(&schema).map_err(|_| {
            invalid(format!(
                "schema \"{schema}\" is always there: it cannot be dropped"
            ))
        })?;
        if !exists(engine.store(), &schema) {
            match if_exists {
                true => continue,
                false => return Err(missing_schema(engine.store(), &schema)),
            }
        }
        let of_schema = |def: &Arc<TableDef>| def.schema_name().as_ref() == Some(&schema);
        let inside: Vec<_> = engine
            .store()
            .tables()
            .into_iter()
            .filter(of_schema)
            .collect();
        if !inside.is_empty() && !cascade {
            return Err(not_empty(&schema, &inside));
        }
        gone.extend(inside);
        schemas.extend(engine.store().schemas().into_iter().filter(of_schema));
    }
    gone.extend(dependents::views_of(engine.store(), &gone));
    gone.extend(schemas);
    for def in each_once(gone) {
        engine.cluster().drop_table(def).await?;
    }
    Ok(Output::empty())
}

fn not_empty(schema: &str, inside: &[Arc<TableDef>]) -> Error {
    let named = inside.iter().take(MAX_NAMED);
    let named: Vec<&str> = named.map(|def| def.name.as_str()).collect();
    let more = match inside.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    conflict(format!(
        "schema \"{schema}\" is not empty: {}{more} {} in it; drop them first, or write DROP SCHEMA {schema} \
         CASCADE",
        named.join(", "),
        if inside.len() == 1 { "is" } else { "are" }
    ))
}

/// The definition of a schema that a comment is for.
pub(super) fn commented(engine: &Engine, name: &ObjectName) -> Result<TableDef, Error> {
    let schema = name_of(name)?;
    let record = engine
        .store()
        .table(&QualifiedName::of(&schema, "").to_string());
    match record {
        Some(def) => Ok(TableDef::clone(&def)),
        None if exists(engine.store(), &schema) => Err(invalid(format!(
            "schema \"{schema}\" takes no comment: nobody made it with CREATE SCHEMA"
        ))),
        None => Err(missing_schema(engine.store(), &schema)),
    }
}
