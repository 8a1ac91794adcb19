//! A WITH whose query has the name of one around it.
//!
//! Idea: the planner takes no name twice, whatever stands between. The inner query gets a hidden ending, and so do
//! the tables that mean it, which keep the name as their alias. Invariant: a name means the innermost query of that
//! name that is defined where it stands. Non-goal: two queries of one WITH, which the planner refuses.

use datafusion::sql::sqlparser::ast::{Ident, Query, TableAlias, TableFactor};

use super::names::marked;
use crate::statement::ident_of;
use crate::withs::Withs;

/// The queries of WITH around a place of a statement.
#[derive(Default)]
pub(super) struct Shadows {
    withs: Withs<Named>,
    /// How many were given an ending.
    hidden: usize,
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
        for cte in &mut with.cte_tables {
            let name = ident_of(&cte.alias.name);
            let hidden = self.of(&name).is_some().then(|| {
                self.hidden += 1;
                marked(&name, self.hidden)
            });
            if let Some(hidden) = &hidden {
                cte.alias.name = hidden.clone();
            }
            own.push(Named { name, hidden });
        }
        self.withs.enter_all(own, with.recursive);
    }

    pub(super) fn leave(&mut self) {
        self.withs.leave();
    }

    /// The query that a name means.
    fn of(&self, name: &str) -> Option<&Named> {
        self.withs.known().filter(|named| named.name == name).last()
    }

    /// Lets a table mean what its name did.
    pub(super) fn follow(&self, table: &mut TableFactor) {
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
        let named = self.of(&ident_of(&written));
        if let Some(hidden) = named.and_then(|named| named.hidden.clone()) {
            *name = vec![hidden].into();
            alias.get_or_insert_with(|| TableAlias {
                explicit: true,
                name: written,
                columns: Vec::new(),
                at: None,
            });
        }
    }
}
