//! `WITH … INSERT`, `UPDATE`, `DELETE` and `MERGE`.
//!
//! Idea: the parser takes it for a query whose body is the statement; the WITH goes to the query that the
//! statement is turned into. Invariant: so its names mean what they mean there. Non-goal: changes inside
//! of a WITH (see `changing`).

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ObjectName, Query, SetExpr, Statement, Visit, Visitor, With,
};
use netabase_store::Error;

use crate::error::invalid;
use crate::statement::ident_of;
use crate::syntax::shown;

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

/// Fails if what is asked of the rows afterwards, in RETURNING or ON CONFLICT, reads a query of the WITH: it is gone by
/// then, and a table may have its name.
pub(super) fn refuse_unseen(with: Option<&With>, statement: &Statement) -> Result<(), Error> {
    let Some(with) = with else { return Ok(()) };
    let names = with.cte_tables.iter();
    let mut finder = Finder {
        names: names.map(|cte| ident_of(&cte.alias.name)).collect(),
        found: None,
    };
    let clause = match statement {
        Statement::Insert(insert) => {
            let _ = insert.on.visit(&mut finder);
            match finder.found {
                Some(_) => "ON CONFLICT",
                None => {
                    let _ = insert.returning.visit(&mut finder);
                    "RETURNING"
                }
            }
        }
        Statement::Update(update) => {
            let _ = update.returning.visit(&mut finder);
            "RETURNING"
        }
        Statement::Delete(delete) => {
            let _ = delete.returning.visit(&mut finder);
            "RETURNING"
        }
        Statement::Merge(merge) => {
            let _ = merge.output.visit(&mut finder);
            "RETURNING"
        }
        _ => return Ok(()),
    };
    match finder.found {
        Some(name) => Err(invalid(format!(
            "{clause} cannot read \"{name}\" of the WITH: put its rows into a table first, or write the query there"
        ))),
        None => Ok(()),
    }
}

/// Looks for tables of some names.
struct Finder {
    names: Vec<String>,
    found: Option<String>,
}

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if let [part] = relation.0.as_slice()
            && let Some(name) = part.as_ident().map(ident_of)
            && self.names.contains(&name)
        {
            self.found = Some(shown(&name).to_owned());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
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
