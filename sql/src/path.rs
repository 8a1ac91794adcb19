//! Schemas, and the search path: where a name without a schema is looked for.
//!
//! Idea: names are completed in the syntax tree before it is planned, so that nothing behind knows of the
//! path. Invariant: with the path that a session begins with, no table is renamed. A name that WITH has
//! defined, and one that no schema of the path knows, stays as it is.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, SelectItemQualifiedWildcardKind,
    Statement, TableFactor, TableWithJoins, VisitMut, VisitorMut,
};
use netabase_store::{Error, ErrorKind, QualifiedName, Store};

use crate::blame::{Blame, What};
use crate::catalog::{CATALOG, INFORMATION_SCHEMA, KEYED_SCHEMA, SCHEMA, live_table};
use crate::engine::Engine;
use crate::error::invalid;
use crate::near::hint;
use crate::own_settings::OwnSettings;
use crate::statement::{changes_first, ident_of, table_alias};
use crate::system::{self, SYSTEM_SCHEMA};
use crate::withs::Withs;

/// The most schemas of a path.
pub(crate) const MAX_PATH: usize = 64;
/// Schemas that an error lists.
const MAX_NAMED: usize = 8;
/// Words in PostgreSQL's paths that stand for schemas which are none here.
const IGNORED: [&str; 3] = ["$user", "pg_catalog", "pg_temp"];

/// Schemas to look in, in order; `None`: in `public` alone.
pub(crate) type SearchPath = Option<Arc<[String]>>;

/// Every schema that there is: those that were made or hold something, and those that describe them.
pub(crate) fn schemas(store: &Store) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = [SCHEMA, SYSTEM_SCHEMA, INFORMATION_SCHEMA]
        .map(str::to_owned)
        .into();
    let made = store.schemas().into_iter().chain(store.tables());
    all.extend(made.filter_map(|def| def.schema_name()));
    all
}

/// Whether there is a schema of this name.
pub(crate) fn exists(store: &Store, schema: &str) -> bool {
    [SCHEMA, SYSTEM_SCHEMA, INFORMATION_SCHEMA].contains(&schema)
        || store
            .table(&QualifiedName::of(schema, "").to_string())
            .is_some()
        || schemas(store).contains(schema)
}

/// There is no such schema.
pub(crate) fn missing_schema(store: &Store, schema: &str) -> Error {
    let all: Vec<String> = schemas(store).into_iter().collect();
    let mut hint = hint(schema, all.iter().map(String::as_str));
    if hint.is_empty() {
        let named = all.iter().take(MAX_NAMED).map(String::as_str);
        let more = if all.len() > MAX_NAMED { ", …" } else { "" };
        hint = format!("; there are {}{more}", named.collect::<Vec<_>>().join(", "));
    }
    let text = format!("schema \"{schema}\" does not exist{hint}");
    Blame::error(What::Name, schema, (ErrorKind::NotFound, text))
}

/// Fails for a name that no schema of a user's may have.
pub(crate) fn check_new_schema(schema: &str) -> Result<(), Error> {
    let taken = [
        SCHEMA,
        SYSTEM_SCHEMA,
        INFORMATION_SCHEMA,
        KEYED_SCHEMA,
        CATALOG,
    ];
    if taken.contains(&schema) || schema.starts_with("pg_") || schema.starts_with('$') {
        return Err(invalid(format!(
            "\"{schema}\" cannot be the name of a schema: public, netabase, information_schema and names \
             that begin with pg_ or $ are taken"
        )));
    }
    Ok(())
}

/// The path that a list of names says: `s, "S t", public`.
pub(crate) fn parse(text: &str) -> Result<SearchPath, Error> {
    let wrong = || {
        invalid(format!(
            "'{text}' is no search path: write schemas, with commas between"
        ))
    };
    let mut path = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let name;
        (name, rest) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (name, rest) = quoted.split_once('"').ok_or_else(wrong)?;
                (name.to_owned(), rest.trim_start())
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (name, rest) = rest.split_at_checked(end).ok_or_else(wrong)?;
                (name.trim().to_ascii_lowercase(), rest)
            }
        };
        if name.is_empty() {
            return Err(wrong());
        }
        if !IGNORED.contains(&name.as_str()) && !path.contains(&name) {
            path.push(name);
        }
        rest = match rest.strip_prefix(',') {
            Some(rest) if !rest.trim().is_empty() => rest.trim_start(),
            None if rest.is_empty() => break,
            _ => return Err(wrong()),
        };
    }
    if path.len() > MAX_PATH {
        return Err(invalid(format!(
            "a search path of {} schemas; at most {MAX_PATH}",
            path.len()
        )));
    }
    Ok(match path.as_slice() {
        [] => None,
        [only] if only == SCHEMA => None,
        _ => Some(path.into()),
    })
}

/// A path as it is written.
pub(crate) fn text_of(path: &SearchPath) -> String {
    let Some(path) = path else {
        return SCHEMA.to_owned();
    };
    let plain = |name: &str| {
        let mut chars = name.chars();
        chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let names = path.iter().map(|name| match plain(name) {
        true => name.clone(),
        false => format!("\"{name}\""),
    });
    names.collect::<Vec<_>>().join(", ")
}

impl Engine {
    /// The session's search path.
    pub(crate) fn search_path(&self) -> SearchPath {
        OwnSettings::path_of(self.context())
    }

    /// The schema that new tables are made in.
    pub(crate) fn current_schema(&self) -> String {
        let path = self.search_path();
        let first = path.as_deref().and_then(|path| path.first());
        first.cloned().unwrap_or_else(|| SCHEMA.to_owned())
    }

    /// A name with the schema in which the path finds it.
    pub(crate) fn in_path(&self, name: &ObjectName) -> ObjectName {
        match (self.search_path(), name.0.as_slice()) {
            (Some(path), [part]) => {
                let table = part.as_ident().map(ident_of);
                let found = table.and_then(|table| find(&path, self.store(), &table));
                found.map_or_else(|| name.clone(), |schema| within(&schema, part.clone()))
            }
            _ => name.clone(),
        }
    }
}

/// A part of a name, within a schema.
fn within(schema: &str, part: ObjectNamePart) -> ObjectName {
    let schema = ObjectNamePart::Identifier(Ident::with_quote('"', schema));
    ObjectName(vec![schema, part])
}

/// The name of a table as a statement has it, from one as programs write it. It does not depend on a path.
pub(crate) fn object_name(name: &str) -> ObjectName {
    let name = QualifiedName::parse(name).unwrap_or_else(|| QualifiedName::bare(name));
    let schema = name.schema.unwrap_or_else(|| SCHEMA.to_owned());
    let parts = [schema, name.table].map(|part| Ident::with_quote('"', part));
    ObjectName::from(parts.to_vec())
}

/// A name, as programs write it, in SQL: `"public"."t"`.
pub fn sql_name(name: &str) -> String {
    object_name(name).to_string()
}

/// Fails with `NotFound` unless there is the schema that a table's name says.
///
/// # Errors
/// That there is none.
pub fn check_schema_of(store: &Store, name: &str) -> Result<(), Error> {
    let schema = QualifiedName::parse(name).and_then(|name| name.schema);
    match schema {
        Some(schema) if !exists(store, &schema) => Err(missing_schema(store, &schema)),
        _ => Ok(()),
    }
}

/// The name by which the store knows a table, from one as programs write it: `t`, `s.t`, `public.t`.
pub fn stored_name(name: &str) -> String {
    match QualifiedName::parse(name) {
        Some(QualifiedName {
            schema: Some(schema),
            table,
        }) if schema == SCHEMA => QualifiedName::bare(&table).to_string(),
        Some(name) => name.to_string(),
        None => name.to_owned(),
    }
}

/// The name by which the store knows a table of a schema.
pub(crate) fn name_in(schema: &str, table: &str) -> String {
    let name = match schema {
        SCHEMA => QualifiedName::bare(table),
        _ => QualifiedName::of(schema, table),
    };
    name.to_string()
}

/// The schema of a path that has a table of this name.
pub(crate) fn find(path: &[String], store: &Store, table: &str) -> Option<String> {
    let has = |schema: &&String| match schema.as_str() {
        SYSTEM_SCHEMA | INFORMATION_SCHEMA => {
            system::names().any(|name| name == (schema.as_str(), table))
        }
        schema => live_table(store, &name_in(schema, table)).is_some(),
    };
    path.iter().find(has).cloned()
}

/// Gives the tables of a statement or a query the schemas in which the path finds them.
pub(crate) fn qualify<T: VisitMut>(statement: &mut T, path: &SearchPath, store: &Store) {
    let mut visitor = Qualifier {
        path: path.as_deref().unwrap_or_default(),
        store,
        withs: Withs::default(),
        is_target: false,
    };
    // It never breaks off.
    let _ = statement.visit(&mut visitor);
}

/// The whole name of a table in FROM that has no alias, if its last part is this.
fn named_in_full(factor: &TableFactor, wanted: &str) -> Option<ObjectName> {
    match factor {
        TableFactor::Table {
            name,
            alias: None,
            args: None,
            ..
        } if name.0.len() > 1 => {
            let last = name.0.last()?.as_ident().map(ident_of)?;
            (last == wanted).then(|| name.clone())
        }
        _ => None,
    }
}

/// Whether something in FROM is called just this.
fn is_called(factor: &TableFactor, wanted: &str) -> bool {
    match factor {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        } => ident_of(&alias.name) == wanted,
        TableFactor::Table {
            name, alias: None, ..
        } => match name.0.as_slice() {
            [part] => part
                .as_ident()
                .is_some_and(|ident| ident_of(ident) == wanted),
            _ => false,
        },
        _ => false,
    }
}

struct Qualifier<'a> {
    path: &'a [String],
    store: &'a Store,
    withs: Withs<String>,
    /// Whether the next table is what a statement changes.
    is_target: bool,
}

impl VisitorMut for Qualifier<'_> {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<()> {
        self.is_target = changes_first(statement);
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.withs.enter_query(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.withs.leave();
        ControlFlow::Continue(())
    }

    /// `t.*` is found where FROM says `s.t`.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) =
                item
            else {
                continue;
            };
            let [ObjectNamePart::Identifier(wanted)] = name.0.as_slice() else {
                continue;
            };
            let wanted = ident_of(wanted);
            let joined = |tables: &TableWithJoins| {
                let joins = tables.joins.iter().map(|join| join.relation.clone());
                std::iter::once(tables.relation.clone())
                    .chain(joins)
                    .collect::<Vec<_>>()
            };
            let factors: Vec<TableFactor> = select.from.iter().flat_map(joined).collect();
            let mut found = factors
                .iter()
                .filter_map(|factor| named_in_full(factor, &wanted));
            let found = (found.next(), found.next());
            if let (Some(full), None) = found
                && !factors.iter().any(|factor| is_called(factor, &wanted))
            {
                *name = full;
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let is_target = std::mem::take(&mut self.is_target);
        let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        if self.path.is_empty() {
            return ControlFlow::Continue(());
        }
        let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
            return ControlFlow::Continue(());
        };
        let table = ident_of(ident);
        if (is_target || !self.withs.defines(&table))
            && let Some(schema) = find(self.path, self.store, &table)
        {
            // So that it is called as it was.
            alias.get_or_insert_with(|| table_alias(ident.clone()));
            *name = within(&schema, ObjectNamePart::Identifier(ident.clone()));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_they_were_written() {
        for (text, shown) in [
            ("", "public"),
            ("public", "public"),
            ("\"$user\", public", "public"),
            ("S , public", "s, public"),
            ("\"S t\",public,s,s", "\"S t\", public, s"),
        ] {
            let path = parse(text).unwrap();
            assert_eq!(text_of(&path), shown, "{text}");
            assert_eq!(parse(shown).unwrap(), path, "{text}");
        }
        for text in ["a,", ",a", "\"a", "\"a\" b", "a,,b", "\"\""] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&["a"; 3].join(",")).is_ok());
        let many: Vec<String> = (0..=MAX_PATH).map(|n| format!("s{n}")).collect();
        assert!(parse(&many.join(",")).is_err());
    }
}
