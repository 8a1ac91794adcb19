//! Views that read tables and other views.
//!
//! Non-goal: names in expressions of functions; a name that the view's own WITH defines is that query's.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{ObjectName, Query, Visit, Visitor};
use netabase_store::{QualifiedName, Store, TableDef};

use crate::statement::{TableName, ident_of, parse_query, table_name};

/// The views, by name, that read one of these tables and views, or a view that does; without these.
pub(super) fn views_of(store: &Store, defs: &[Arc<TableDef>]) -> Vec<Arc<TableDef>> {
    let mut gone: HashSet<String> = defs.iter().map(|def| def.name.clone()).collect();
    let known = store.tables().into_iter();
    let mut others: Vec<(Arc<TableDef>, Reads)> = known
        .filter(|def| !gone.contains(&def.name))
        .filter_map(|def| {
            let query = parse_query(&def.options.rules.view.as_ref()?.query).ok()?;
            let mut reads = Reads::default();
            // It never breaks off.
            let _ = query.visit(&mut reads);
            Some((def, reads))
        })
        .collect();
    let mut views = Vec::new();
    loop {
        let (reading, rest): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|(_, reads)| reads.any(&gone));
        if reading.is_empty() {
            return views;
        }
        gone.extend(reading.iter().map(|(def, _)| def.name.clone()));
        views.extend(reading.into_iter().map(|(def, _)| def));
        others = rest;
    }
}

/// The tables that a query names, and those that it defines itself.
#[derive(Default)]
struct Reads {
    named: HashSet<String>,
    own: HashSet<String>,
}

impl Reads {
    fn any(&self, gone: &HashSet<String>) -> bool {
        let mut read = self.named.difference(&self.own);
        read.any(|name| gone.contains(name))
    }
}

impl Visitor for Reads {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        let names = with.map(|table| QualifiedName::bare(&ident_of(&table.alias.name)).to_string());
        self.own.extend(names);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if let Ok(TableName::Table(name)) = table_name(relation) {
            self.named.insert(name);
        }
        ControlFlow::Continue(())
    }
}
