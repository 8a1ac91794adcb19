//! Tables of one name in two schemas, in one statement.
//!
//! Idea: the planner takes `s.t.c` for a column of anything that is called `t`, if that was written without its schema or
//! has `t` as an alias, and looks where the reference stands first. So `DELETE FROM shop.t WHERE EXISTS (SELECT 1 FROM
//! t WHERE t.k = shop.t.k)` compares a column with itself, and deletes every row. Invariant: a statement in which a
//! reference may be taken for another table's is refused, with the advice that helps. Some are refused that would be
//! planned rightly. Non-goal: plans that a program makes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, FromTable, Ident, Select, Statement, TableFactor, TableWithJoins,
    UpdateTableFromKind, Visit, Visitor,
};
use netabase_store::Error;

use crate::error::invalid;
use crate::statement::{changes_first, ident_of, label_of};

/// Fails if a reference to a column of a statement may mean one of two tables of one name.
pub(crate) fn check(statement: &Statement) -> Result<(), Error> {
    let mut seen = Seen::default();
    // It never breaks off.
    let _ = statement.visit(&mut seen);
    seen.check()
}

/// What is called by one name.
#[derive(Debug, Default)]
struct Called {
    /// The schemas that are written before it; none before tables without one, and aliases.
    schemas: BTreeSet<Option<String>>,
    /// Whether one of them is seen without its schema.
    is_bare: bool,
}

#[derive(Debug, Default)]
struct Seen {
    called: BTreeMap<String, Called>,
    /// Names that a FROM has two of.
    twice: BTreeSet<String>,
    /// What stands before the last point of a reference.
    qualifiers: BTreeSet<String>,
    /// The same with the name before it.
    full: BTreeSet<(String, String)>,
    /// Whether the next table is what a statement changes.
    is_target: bool,
}

impl Seen {
    fn check(&self) -> Result<(), Error> {
        for (name, called) in &self.called {
            if called.schemas.len() < 2 {
                continue;
            }
            let schemas = || called.schemas.iter().flatten();
            let Some(first) = schemas().next() else {
                continue;
            };
            let reference = schemas().find(|schema| {
                let full = ((*schema).clone(), name.clone());
                called.is_bare && self.full.contains(&full)
            });
            let (wrong, schema) = match reference {
                Some(schema) => (format!("{schema}.{name}"), schema),
                None if self.twice.contains(name) && self.qualifiers.contains(name) => {
                    (name.clone(), first)
                }
                None => continue,
            };
            return Err(invalid(format!(
                "two tables are called \"{name}\" here, and a column of {wrong} may be either one's: give them other \
                 names, as in {schema}.{name} AS a"
            )));
        }
        Ok(())
    }

    /// The tables of one FROM.
    fn see_from<'a>(&mut self, tables: impl IntoIterator<Item = &'a TableWithJoins>) {
        let mut rest: Vec<&TableWithJoins> = tables.into_iter().collect();
        let mut called: BTreeMap<String, Option<String>> = BTreeMap::new();
        while let Some(tables) = rest.pop() {
            let joined = tables.joins.iter().map(|join| &join.relation);
            for factor in std::iter::once(&tables.relation).chain(joined) {
                if let TableFactor::NestedJoin {
                    table_with_joins,
                    alias: None,
                } = factor
                {
                    rest.push(table_with_joins);
                }
                let Some((name, schema)) = label_and_schema(factor) else {
                    continue;
                };
                if called.get(&name).is_some_and(|other| *other != schema) {
                    self.twice.insert(name.clone());
                }
                called.insert(name, schema);
            }
        }
    }

    fn see_names(&mut self, names: &[String]) {
        if let [name, _, ..] = names {
            self.qualifiers.insert(name.clone());
        }
        // A catalog may come first, and fields last.
        for pair in names.windows(3).take(2) {
            if let [schema, name, _] = pair {
                self.full.insert((schema.clone(), name.clone()));
            }
        }
    }
}

/// What something in FROM is called, and the schema before it.
fn label_and_schema(factor: &TableFactor) -> Option<(String, Option<String>)> {
    let schema = match factor {
        TableFactor::Table {
            name, alias: None, ..
        } => {
            let mut before = name.0.iter().rev().skip(1);
            before.next().and_then(|part| part.as_ident()).map(ident_of)
        }
        _ => None,
    };
    Some((ident_of(label_of(factor)?), schema))
}

/// The names that an expression begins with.
fn names_of(expr: &Expr) -> Vec<String> {
    let names = |parts: &[Ident]| parts.iter().map(ident_of).collect();
    match expr {
        Expr::CompoundIdentifier(parts) => names(parts),
        Expr::Identifier(part) => names(std::slice::from_ref(part)),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let mut all = names_of(root);
            all.extend(access_chain.iter().map_while(|access| match access {
                AccessExpr::Dot(Expr::Identifier(name)) => Some(ident_of(name)),
                _ => None,
            }));
            all
        }
        _ => Vec::new(),
    }
}

impl Visitor for Seen {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        self.is_target = changes_first(statement);
        match statement {
            Statement::Update(update) => {
                let from = match &update.from {
                    Some(
                        UpdateTableFromKind::BeforeSet(tables)
                        | UpdateTableFromKind::AfterSet(tables),
                    ) => tables.as_slice(),
                    None => &[],
                };
                self.see_from(std::iter::once(&update.table).chain(from));
            }
            Statement::Delete(delete) => {
                let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) =
                    &delete.from;
                let using = delete.using.iter().flatten();
                self.see_from(tables.iter().chain(using));
            }
            Statement::Merge(merge) => {
                let of = |relation: &TableFactor| TableWithJoins {
                    relation: relation.clone(),
                    joins: Vec::new(),
                };
                self.see_from(&[of(&merge.table), of(&merge.source)]);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.see_from(&select.from);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        // What is changed is read under the last part of its name, where its key is hidden.
        let is_target = std::mem::take(&mut self.is_target);
        if let Some((name, schema)) = label_and_schema(factor) {
            let called = self.called.entry(name).or_default();
            called.is_bare |= is_target || schema.is_none();
            called.schemas.insert(schema);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if matches!(
            expr,
            Expr::CompoundIdentifier(_) | Expr::CompoundFieldAccess { .. }
        ) {
            let names = names_of(expr);
            self.see_names(&names);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;
    use crate::syntax::NetabaseDialect;

    fn is_refused(text: &str) -> bool {
        let parsed = Parser::parse_sql(&NetabaseDialect, text).unwrap();
        check(&parsed[0]).is_err()
    }

    #[test]
    fn references_that_may_be_either_tables_are_refused() {
        for text in [
            "DELETE FROM s.t WHERE EXISTS (SELECT 1 FROM t WHERE t.k = s.t.k)",
            "UPDATE s.t SET v = (SELECT t.v FROM t WHERE t.k = s.t.k)",
            "DELETE FROM t USING s.t WHERE public.t.k = s.t.k",
            "DELETE FROM s.t USING t WHERE s.t.k = t.k",
            "DELETE FROM s.t USING public.t WHERE s.t.k = public.t.k",
            "SELECT * FROM t, s.t WHERE t.k = 1",
            "SELECT * FROM r.t, s.t WHERE t.k = 1",
            "SELECT * FROM u AS t JOIN s.t ON s.t.k = 1",
            "MERGE INTO s.t USING t ON s.t.k = t.k WHEN MATCHED THEN DELETE",
            "SELECT 1 FROM s.t WHERE EXISTS (SELECT 1 FROM t WHERE s.t.list[1] = 2)",
        ] {
            assert!(is_refused(text), "{text}");
        }
    }

    #[test]
    fn others_are_not() {
        for text in [
            "DELETE FROM s.t WHERE s.t.k = 1",
            "DELETE FROM s.t WHERE k IN (SELECT k FROM s.t WHERE s.t.k > 1)",
            "DELETE FROM s.t AS a USING t AS b WHERE a.k = b.k",
            "DELETE FROM s.t WHERE k IN (SELECT k FROM t WHERE t.v = 1)",
            "SELECT r.t.k, s.t.k FROM r.t, s.t WHERE r.t.k = s.t.k",
            "SELECT count(*) FROM t, s.t",
            "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM s.t)",
            "INSERT INTO s.t SELECT * FROM t WHERE t.k > 1",
            "SELECT t.k FROM t UNION ALL SELECT t.k FROM s.t",
        ] {
            assert!(!is_refused(text), "{text}");
        }
    }
}
