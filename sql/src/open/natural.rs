//! NATURAL joins of which the planner would show the wrong one of two columns.
//!
//! Idea: the columns that both sides have are found out, and written as USING, of which
//! [`crate::syntax`] says what it shows. Invariant: as in PostgreSQL, a side that has such a column twice
//! is refused, and sides that have none in common are joined row by row.

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, ObjectName, Query, Select, TableFactor, TableWithJoins, Value,
    Visit, VisitMut, With,
};
use netabase_store::Error;

use super::{Ctes, Look, MAX_PLACES, columns_of, find_in, first_in, selects_of, too_many};
use crate::error::{error_from_datafusion, invalid};
use crate::syntax::{Joins, constraint_of, settle_joins, shows_wrong, wants_columns};

/// Writes them out.
pub(super) async fn settle<T: VisitMut + Visit>(
    look: &Look<'_>,
    statement: &mut T,
) -> Result<(), Error> {
    for _ in 0..MAX_PLACES {
        let found = find_in(statement, |query, ctes| {
            let mut selects = selects_of(&mut query.body).into_iter();
            let tables = selects.find_map(|select| wanting(select, ctes).cloned())?;
            Some(ctes.with().map(|with| (tables, with)))
        })?;
        let Some((tables, with)) = found.transpose()? else {
            return Ok(());
        };
        let joins = written_out(look, tables, with).await?;
        first_in(statement, true, |query, ctes| {
            put(query, ctes, &joins).transpose()
        })
        .transpose()?;
    }
    Err(too_many())
}

/// The tables of a SELECT that are to be written out: inside of a recursion, or where a WITH names two queries alike, only
/// those that would be planned wrongly.
fn wanting<'a>(select: &'a Select, ctes: &Ctes) -> Option<&'a TableWithJoins> {
    wants_columns(select).filter(|tables| shows_wrong(tables, select) || ctes.are_plain())
}

/// Puts joins into the first SELECT that wants them, if there is one.
fn put(query: &mut Query, ctes: &Ctes, joins: &Joins) -> Result<Option<()>, Error> {
    let mut selects = selects_of(&mut query.body).into_iter();
    let wants = selects.position(|select| wanting(select, ctes).is_some());
    match wants {
        Some(at) => settle_joins(query, at, joins).map(Some),
        None => Ok(None),
    }
}

/// The joins of some tables, without NATURAL.
async fn written_out(
    look: &Look<'_>,
    tables: TableWithJoins,
    with: Option<With>,
) -> Result<Joins, Error> {
    let mut left = names_of(look, &tables.relation, with.clone()).await?;
    let mut joins = Vec::with_capacity(tables.joins.len());
    for join in tables.joins {
        let right = names_of(look, &join.relation, with.clone()).await?;
        let mut operator = join.join_operator;
        if let Some(on) = constraint_of(&mut operator) {
            match on {
                JoinConstraint::Natural => {
                    let common = common(&left, &right)?;
                    left.retain(|name| !common.contains(name));
                    let rest = right.iter().filter(|name| !common.contains(name));
                    left.extend(rest.cloned());
                    let using: Vec<ObjectName> = common.iter().map(|name| quoted(name)).collect();
                    *on = match using.is_empty() {
                        true => JoinConstraint::On(Expr::Value(Value::Boolean(true).into())),
                        false => JoinConstraint::Using(using),
                    };
                    left.splice(0..0, common);
                }
                JoinConstraint::Using(names) => {
                    let merged: Vec<String> = names.iter().filter_map(last_of).collect();
                    let rest = right.into_iter().filter(|name| !merged.contains(name));
                    left.extend(rest);
                }
                _ => left.extend(right),
            }
        } else {
            left.extend(right);
        }
        joins.push(operator);
    }
    Ok(joins)
}

fn last_of(name: &ObjectName) -> Option<String> {
    let last = name.0.last()?.as_ident()?;
    Some(crate::statement::ident_of(last))
}

fn quoted(name: &str) -> ObjectName {
    ObjectName::from(vec![Ident::with_quote('"', name)])
}

/// The names that both sides have, in the order of the left one.
fn common(left: &[String], right: &[String]) -> Result<Vec<String>, Error> {
    let common: Vec<String> = left
        .iter()
        .filter(|name| right.contains(name))
        .cloned()
        .collect();
    for side in [left, right] {
        let twice = |name: &&String| side.iter().filter(|other| other == name).count() > 1;
        if let Some(name) = common.iter().find(twice) {
            return Err(invalid(format!(
                "NATURAL JOIN: column \"{name}\" is more than once on one side; write ON a.x = b.x"
            )));
        }
    }
    Ok(common)
}

async fn names_of(
    look: &Look<'_>,
    source: &TableFactor,
    with: Option<With>,
) -> Result<Vec<String>, Error> {
    let columns = columns_of(look, source, with).await?;
    let columns = columns.map_err(error_from_datafusion)?;
    Ok(columns.iter().map(|field| field.name().clone()).collect())
}
