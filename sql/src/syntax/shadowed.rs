//! A WITH whose query has the name of one around it.
//!
//! Idea: the planner takes no name twice, whatever stands between. The inner query gets a hidden ending, and so do
//! the tables that mean it, which keep the name as their alias. The ending says how many queries around have the name,
//! so that two of one WITH are still of one name, which the planner refuses, and equal texts stay equal. Invariant: a
//! name means the innermost query of that name that is defined where it stands; what a statement changes is no such
//! query. Beside a WITH RECURSIVE, with which it may be put together, a query of a plain WITH that reads a table of its
//! own name gets an ending, too: it would read itself. Non-goal: the texts of views, which keep the endings.

use datafusion::sql::sqlparser::ast::{Ident, Query, Statement, TableFactor, With};

use super::names::marked;
use crate::statement::{changes_first, ident_of, table_alias};
use crate::withs::{Withs, has_recursive, reads};

/// The queries of WITH around a place of a statement.
#[derive(Default)]
pub(super) struct Shadows {
    withs: Withs<Named>,
    /// Whether one was given an ending.
    hides: bool,
    /// Whether the statement has a WITH RECURSIVE.
    recurs: bool,
    /// Whether the next table is what a statement changes.
    is_target: bool,
}

/// A query of WITH.
#[derive(Debug, Clone)]
struct Named {
    name: String,
    /// What it is called now.
    hidden: Option<Ident>,
}

impl Shadows {
    /// Goes into a query.
    pub(super) fn enter(&mut self, query: &mut Query) {
        let Some(with) = &mut query.with else {
            return self.withs.enter([]);
        };
        let mut own = Vec::with_capacity(with.cte_tables.len());
        let apart = match self.recurs && !with.recursive {
            true => names_of_tables(with),
            false => Vec::new(),
        };
        for cte in &mut with.cte_tables {
            let name = ident_of(&cte.alias.name);
            let around = self.withs.known().filter(|named| named.name == name);
            let hidden = match around.count() {
                0 if !apart.contains(&name) => None,
                around => Some(marked(&name, around)),
            };
            if let Some(hidden) = &hidden {
                cte.alias.name = hidden.clone();
                self.hides = true;
            }
            own.push(Named { name, hidden });
        }
        self.withs.enter_all(own, with.recursive);
    }

    pub(super) fn leave(&mut self) {
        self.withs.leave();
    }

    /// Goes into a statement, whose first table is what it changes if it changes one.
    pub(super) fn enter_statement(&mut self, statement: &Statement) {
        self.is_target = changes_first(statement);
        self.recurs |= has_recursive(statement);
    }

    /// Lets a table mean what its name did.
    pub(super) fn follow(&mut self, table: &mut TableFactor) {
        if std::mem::take(&mut self.is_target) || !self.hides {
            return;
        }
        let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = table
        else {
            return;
        };
        let [part] = name.0.as_slice() else {
            return;
        };
        let Some(written) = part.as_ident().cloned() else {
            return;
        };
        let wanted = ident_of(&written);
        let meant = self.withs.known().filter(|named| named.name == wanted);
        if let Some(hidden) = meant.last().and_then(|named| named.hidden.clone()) {
            *name = vec![hidden].into();
            alias.get_or_insert_with(|| table_alias(written));
        }
    }
}

/// The names of queries that read a table of that name.
fn names_of_tables(with: &With) -> Vec<String> {
    let ctes = with.cte_tables.iter();
    ctes.map(|cte| (ident_of(&cte.alias.name), &cte.query))
        .filter(|(name, query)| reads(query.as_ref(), name))
        .map(|(name, _)| name)
        .collect()
}
