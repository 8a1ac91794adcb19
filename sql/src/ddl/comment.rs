//! `COMMENT ON`: what a table, view, column or schema is, in words.

use datafusion::sql::sqlparser::ast::{CommentObject, ObjectName};
use netabase_store::{Error, ErrorKind, TableDef};

use super::known_table;
use crate::dml;
use crate::engine::Engine;
use crate::error::invalid;
use crate::output::Output;
use crate::statement::ident_of;

/// Sets a comment, or removes it.
pub(crate) async fn comment(
    engine: &Engine,
    (object, name): (CommentObject, &ObjectName),
    text: Option<String>,
    if_exists: bool,
) -> Result<Output, Error> {
    match set(engine, object, name, text).await {
        Err(error) if if_exists && error.kind() == ErrorKind::NotFound => Ok(Output::empty()),
        Err(error) => Err(error),
        Ok(()) => Ok(Output::empty()),
    }
}

async fn set(
    engine: &Engine,
    object: CommentObject,
    name: &ObjectName,
    text: Option<String>,
) -> Result<(), Error> {
    let changed = match object {
        CommentObject::Table | CommentObject::View | CommentObject::MaterializedView => {
            let mut changed = TableDef::clone(known_table(engine, name)?.as_ref());
            let view = changed.options.rules.view.as_ref();
            let is = match view.map(|view| view.materialized) {
                None => CommentObject::Table,
                Some(false) => CommentObject::View,
                Some(true) => CommentObject::MaterializedView,
            };
            if is != object {
                return Err(invalid(format!(
                    "{name} is not a {}: write COMMENT ON {is} {name} IS …",
                    object.to_string().to_lowercase()
                )));
            }
            changed.options.rules.comment = text;
            changed
        }
        CommentObject::Schema => {
            let mut changed = super::schema::commented(engine, name)?;
            changed.options.rules.comment = text;
            changed
        }
        CommentObject::Column => of_column(engine, name, text)?,
        other => {
            return Err(invalid(format!(
                "COMMENT ON {other} is not supported: comments are for tables, views, columns and schemas"
            )));
        }
    };
    changed.validate()?;
    engine.cluster().alter_table(changed).await.map(|_| ())
}

fn of_column(engine: &Engine, name: &ObjectName, text: Option<String>) -> Result<TableDef, Error> {
    let Some((column, table)) = name.0.split_last().filter(|(_, table)| !table.is_empty()) else {
        return Err(invalid(format!(
            "{name} is not the name of a column: write table.column"
        )));
    };
    let mut changed = TableDef::clone(known_table(engine, &ObjectName(table.to_vec()))?.as_ref());
    let column = column.as_ident().map(ident_of).unwrap_or_default();
    let place = dml::column_of(&changed, &column)?;
    if let Some(rules) = changed.column_rules_mut(place) {
        rules.comment = text;
    }
    Ok(changed)
}
