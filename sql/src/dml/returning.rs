//! RETURNING: a query over the rows that a statement changes.
//!
//! Non-goal: what the other tables of an UPDATE or DELETE have beside them; MERGE gives that.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, SelectItem, SelectItemQualifiedWildcardKind, TableWithJoins,
};
use netabase_store::{Error, TableDef};

use super::rewrite::select;
use super::{collect, named_schema, plan_query};
use crate::catalog::SCHEMA;
use crate::engine::Engine;
use crate::error::{error_from_datafusion, from_arrow, invalid};
use crate::scoped::{Scoped, relation};
use crate::statement::{ident_of, label_of};
use crate::syntax::outside_queries;

/// The name of the rows in the query's own catalog.
const ROWS: &str = "changed";

/// What the items give for whole rows of the table, which is called `label` in them.
pub(super) async fn answer(
    engine: &Engine,
    def: &TableDef,
    (label, items): (Ident, Vec<SelectItem>),
    rows: Vec<RecordBatch>,
) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
    refuse_schemas(def, &label, &items)?;
    let deadline = engine.deadline();
    let visible = def.visible_columns();
    let schema = named_schema(def).project(&visible).map_err(from_arrow)?;
    let seen = rows.iter().map(|batch| batch.project(&visible));
    let seen = seen.collect::<Result<Vec<_>, _>>().map_err(from_arrow)?;
    let scoped = Scoped::default().with(ROWS, &schema.into(), seen);
    let scoped = scoped.map_err(error_from_datafusion)?;
    let query = select(items, vec![relation(ROWS, label)], None)?;
    let plan = plan_query(engine, query, Some(scoped), &deadline).await?;
    let schema = plan.schema().inner().clone();
    let (rows, _) = collect(engine, &plan, deadline, "RETURNING").await?;
    Ok((schema, rows))
}

/// Fails if items name the table with a schema that is not its own: the rows have none, and so take any.
fn refuse_schemas(def: &TableDef, label: &Ident, items: &[SelectItem]) -> Result<(), Error> {
    let own = def.schema_name();
    let own = own.as_deref().unwrap_or(SCHEMA);
    let mut found = None;
    let mut look = |name: &str, parts: &[Ident]| {
        if let [schema, table, ..] = parts
            && ident_of(table) == ident_of(label)
            && ident_of(schema) != own
            && def.column_named(&ident_of(schema)).is_none()
        {
            found.get_or_insert_with(|| name.to_owned());
        }
    };
    for item in items {
        if let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) =
            item
        {
            let parts: Option<Vec<Ident>> =
                name.0.iter().map(|part| part.as_ident().cloned()).collect();
            look(&format!("{name}.*"), &parts.unwrap_or_default());
        }
    }
    outside_queries(&mut items.to_vec(), |expr| {
        if let Expr::CompoundIdentifier(parts) = &*expr
            && parts.len() > 2
        {
            look(&expr.to_string(), parts);
        }
    });
    match found {
        Some(found) => Err(invalid(format!(
            "RETURNING {found}: the changed table is {}; leave the schema out, or write that one's",
            def.name
        ))),
        None => Ok(()),
    }
}

/// Fails if items name one of the other tables that a statement reads besides the one that it changes.
pub(super) fn refuse_others(
    def: &TableDef,
    items: Option<&Vec<SelectItem>>,
    others: &[TableWithJoins],
) -> Result<(), Error> {
    let Some(items) = items else { return Ok(()) };
    let joined = others.iter().flat_map(|tables| {
        let joins = tables.joins.iter().map(|join| &join.relation);
        std::iter::once(&tables.relation).chain(joins)
    });
    // What follows the name of a column is a field of it.
    let names = joined.filter_map(label_of).map(ident_of);
    let names: Vec<String> = names
        .filter(|name| def.column_named(name).is_none())
        .collect();
    let is_other = |name: &Ident| names.contains(&ident_of(name));
    let mut found = None;
    for item in items {
        if let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) =
            item
            && let [part] = name.0.as_slice()
            && part.as_ident().is_some_and(is_other)
        {
            found.get_or_insert_with(|| format!("{name}.*"));
        }
    }
    outside_queries(&mut items.clone(), |expr| {
        if let Expr::CompoundIdentifier(parts) = expr
            && parts.first().is_some_and(is_other)
        {
            found.get_or_insert_with(|| expr.to_string());
        }
    });
    match found {
        Some(found) => Err(invalid(format!(
            "RETURNING {found}: only columns of the changed table \"{}\" can be returned; MERGE … RETURNING \
             gives those of its source, too",
            def.name
        ))),
        None => Ok(()),
    }
}
