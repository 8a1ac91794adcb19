//! What is known about tables and their columns, for those who describe them.
//!
//! Invariant: what a table's definition says beyond Arrow's schema is read here alone.

use arrow::datatypes::Field;
use netabase_store::{TableDef, ViewDef};

/// The field metadata that documents a column.
pub(crate) const COMMENT: &str = "comment";

/// What a definition says about a column beyond its type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ColumnFacts {
    /// The expression whose value a row gets that does not say another.
    pub(crate) default: Option<String>,
    /// The expression that the value is computed by.
    pub(crate) generated: Option<String>,
    /// What the column is for.
    pub(crate) comment: Option<String>,
}

/// What is known about a column of a user's table.
pub(crate) fn column_facts(def: &TableDef, column: usize) -> ColumnFacts {
    let rules = def.column_rules(column).cloned().unwrap_or_default();
    let field = def.schema.fields().get(column);
    ColumnFacts {
        default: rules.default,
        generated: rules.generated,
        comment: rules
            .comment
            .or_else(|| field.and_then(|field| comment_of(field))),
    }
}

/// The columns that are seen, under their names of now, with their places in the primary key, from 1.
pub(crate) fn visible_columns(def: &TableDef) -> Vec<(Field, ColumnFacts, Option<usize>)> {
    let columns = def.visible_columns().into_iter();
    let known = columns.filter_map(|column| {
        let field = def.schema.fields().get(column)?.as_ref().clone();
        let field = field.with_name(def.column_name(column));
        let place = def.primary_key.iter().position(|key| *key == column);
        Some((
            field,
            column_facts(def, column),
            place.map(|place| place + 1),
        ))
    });
    known.collect()
}

/// The comment in a field's metadata.
pub(crate) fn comment_of(field: &Field) -> Option<String> {
    field.metadata().get(COMMENT).cloned()
}

/// What a table is for, if it says so.
pub(crate) fn table_comment(def: &TableDef) -> Option<String> {
    def.options.rules.comment.clone()
}

/// The query of a view without rows of its own.
pub(crate) fn plain_view(def: &TableDef) -> Option<&ViewDef> {
    let view = def.options.rules.view.as_ref();
    view.filter(|view| !view.materialized)
}

/// What a definition defines.
pub(crate) fn kind_of(def: &TableDef) -> &'static str {
    match &def.options.rules.view {
        None => "table",
        Some(view) if view.materialized => "materialized view",
        Some(_) => "view",
    }
}

/// Whether somebody gave it a primary key.
pub(crate) fn has_key(def: &TableDef) -> bool {
    plain_view(def).is_none() && !def.primary_key.iter().any(|key| def.is_hidden(*key))
}
