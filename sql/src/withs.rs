//! What WITH has defined, where a walk over a statement is.
//!
//! Invariant: each query of a WITH sees those before it, and what is around it; it is one of those itself once the
//! walk has left it.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{ObjectName, Query, TableFactor, Visit, Visitor};

use crate::statement::ident_of;

/// The definitions around a place, query by query.
#[derive(Debug)]
pub(crate) struct Withs<T> {
    queries: Vec<Scope<T>>,
}

#[derive(Debug)]
struct Scope<T> {
    known: Vec<T>,
    /// Those whose queries come next.
    coming: VecDeque<T>,
}

impl<T> Default for Withs<T> {
    fn default() -> Self {
        Self {
            queries: Vec::new(),
        }
    }
}

impl<T> Withs<T> {
    /// Goes into a query whose WITH has these definitions.
    pub(crate) fn enter(&mut self, coming: impl IntoIterator<Item = T>) {
        self.queries.push(Scope {
            known: Vec::new(),
            coming: coming.into_iter().collect(),
        });
    }

    /// Goes into a query whose WITH has these definitions; in a recursive one each is seen by all.
    pub(crate) fn enter_all(&mut self, coming: Vec<T>, is_recursive: bool)
    where
        T: Clone,
    {
        self.enter(coming.iter().cloned());
        if let (true, Some(scope)) = (is_recursive, self.queries.last_mut()) {
            scope.known.extend(coming);
        }
    }

    pub(crate) fn leave(&mut self) {
        self.queries.pop();
        if let Some(around) = self.queries.last_mut() {
            around.known.extend(around.coming.pop_front());
        }
    }

    /// Those that are seen, the outermost query's first.
    pub(crate) fn known(&self) -> impl Iterator<Item = &T> {
        self.queries.iter().flat_map(|scope| &scope.known)
    }
}

impl Withs<String> {
    /// Goes into a query.
    pub(crate) fn enter_query(&mut self, query: &Query) {
        let Some(with) = &query.with else {
            return self.enter([]);
        };
        let names = with.cte_tables.iter().map(|cte| ident_of(&cte.alias.name));
        self.enter_all(names.collect(), with.recursive);
    }

    pub(crate) fn defines(&self, name: &str) -> bool {
        self.known().any(|known| known == name)
    }
}

/// Whether a table of this name is read somewhere.
pub(crate) fn reads(part: &impl Visit, name: &str) -> bool {
    struct Finder<'a>(&'a str);
    impl Visitor for Finder<'_> {
        type Break = ();
        fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
            match table {
                TableFactor::Table { name, .. } if is_called(name, self.0) => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    fn is_called(table: &ObjectName, wanted: &str) -> bool {
        match table.0.as_slice() {
            [part] => part.as_ident().is_some_and(|name| ident_of(name) == wanted),
            _ => false,
        }
    }
    part.visit(&mut Finder(name)).is_break()
}

/// Whether a WITH RECURSIVE stands somewhere.
pub(crate) fn has_recursive(part: &impl Visit) -> bool {
    struct Finder;
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            match query.with.as_ref().is_some_and(|with| with.recursive) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    part.visit(&mut Finder).is_break()
}
