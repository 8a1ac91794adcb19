//! `WITH … INSERT`, `UPDATE`, `DELETE` and `MERGE`.
//!
//! Idea: the parser takes it for a query whose body is the statement; the WITH goes to the query that the
//! statement is turned into. Invariant: so its names mean what they mean there. Non-goal: changes inside
//! of a WITH (see `changing`).

use datafusion::sql::sqlparser::ast::{Query, SetExpr, Statement, Values, With};
use netabase_store::Error;

use crate::error::invalid;
use crate::statement::ident_of;
use crate::syntax::shown;
use crate::withs::reads;

/// The statement behind a WITH, if a query is none.
pub(crate) fn change_of(query: &mut Query) -> Option<(Option<With>, Statement)> {
    let changes = matches!(
        query.body.as_ref(),
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
    );
    if !changes {
        return None;
    }
    match std::mem::replace(query.body.as_mut(), nothing()) {
        SetExpr::Insert(statement)
        | SetExpr::Update(statement)
        | SetExpr::Delete(statement)
        | SetExpr::Merge(statement) => Some((query.with.take(), statement)),
        _ => None,
    }
}

/// What stands where a body was taken out.
pub(super) fn nothing() -> SetExpr {
    SetExpr::Values(Values {
        explicit_row: false,
        value_keyword: false,
        rows: Vec::new(),
    })
}

/// Fails if what is asked of the rows afterwards, in RETURNING or ON CONFLICT, reads a query of the WITH: it is gone by
/// then, and a table may have its name.
pub(super) fn refuse_unseen(with: Option<&With>, statement: &Statement) -> Result<(), Error> {
    let ctes = with.map_or(&[][..], |with| with.cte_tables.as_slice());
    for name in ctes.iter().map(|cte| ident_of(&cte.alias.name)) {
        let (on_conflict, returning) = match statement {
            Statement::Insert(insert) => {
                (reads(&insert.on, &name), reads(&insert.returning, &name))
            }
            Statement::Update(update) => (false, reads(&update.returning, &name)),
            Statement::Delete(delete) => (false, reads(&delete.returning, &name)),
            Statement::Merge(merge) => (false, reads(&merge.output, &name)),
            _ => (false, false),
        };
        let clause = match (on_conflict, returning) {
            (true, _) => "ON CONFLICT",
            (false, true) => "RETURNING",
            (false, false) => continue,
        };
        return Err(invalid(format!(
            "{clause} cannot read \"{}\" of the WITH: put its rows into a table first, or write the query there",
            shown(&name)
        )));
    }
    Ok(())
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
