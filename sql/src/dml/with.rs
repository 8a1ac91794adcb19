//! `WITH … INSERT`, `UPDATE`, `DELETE` and `MERGE`.
//!
//! Idea: the parser takes it for a query whose body is the statement; the WITH goes to the query that the
//! statement is turned into. Invariant: so its names mean what they mean there. Non-goal: changes inside
//! of a WITH (see `changing`).

use datafusion::sql::sqlparser::ast::{Query, SetExpr, Statement, With};
use netabase_store::Error;

use crate::error::invalid;

/// The statement behind a WITH, if a query is none.
pub(crate) fn change_of(query: &mut Query) -> Option<(Option<With>, Statement)> {
    let changes = matches!(
        query.body.as_ref(),
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
    );
    if !changes {
        return None;
    }
    let nothing = SetExpr::Values(datafusion::sql::sqlparser::ast::Values {
        explicit_row: false,
        value_keyword: false,
        rows: Vec::new(),
    });
    match std::mem::replace(query.body.as_mut(), nothing) {
        SetExpr::Insert(statement)
        | SetExpr::Update(statement)
        | SetExpr::Delete(statement)
        | SetExpr::Merge(statement) => Some((query.with.take(), statement)),
        _ => None,
    }
}

/// Puts a WITH before those that a query has.
pub(super) fn add_with(query: &mut Query, with: Option<With>) {
    let Some(mut with) = with else { return };
    if let Some(own) = query.with.take() {
        with.recursive |= own.recursive;
        with.cte_tables.extend(own.cte_tables);
    }
    query.with = Some(with);
}

/// The same for an INSERT.
pub(super) fn into_source(
    source: Option<&mut Box<Query>>,
    with: Option<With>,
) -> Result<(), Error> {
    match (source, with) {
        (_, None) => Ok(()),
        (Some(query), with) => {
            add_with(query, with);
            Ok(())
        }
        (None, Some(_)) => Err(invalid(
            "WITH before DEFAULT VALUES has no use: leave it out",
        )),
    }
}
