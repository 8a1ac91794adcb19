//! Writing out every `*` of a statement, so that it leaves the columns of provenance out.
//!
//! Idea: of one table, `*` becomes `* EXCLUDE (…)`; of several, one `table.* EXCLUDE (…)` for each. A
//! name in FROM is a table unless a WITH that is in scope there has defined it.
//!
//! Invariant: the written-out list has the columns, in the order, that `*` has without the columns of
//! provenance. Where that cannot be told from the text (NATURAL, USING, an unnamed subquery beside a
//! table), the statement is refused with the way out.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    ExceptSelectItem, ExcludeSelectItem, Ident, Join, JoinConstraint, JoinOperator, ObjectName,
    Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement, TableAlias,
    TableAliasColumnDef, TableFactor, TableWithJoins, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};
use netabase_store::{Error, Store, TableDef};

use super::names_for;
use crate::catalog::live_table;
use crate::error::invalid;
use crate::statement::{TableName, ident_of, table_name};
use crate::withs::Withs;

/// Rewrites a statement. Fails where a `*` cannot be written out.
pub(super) fn write_out(statement: &mut Statement, store: &Store) -> Result<(), Error> {
    let mut stars = Stars {
        store,
        withs: Withs::default(),
    };
    match statement.visit(&mut stars) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// A walk over a statement.
struct Stars<'a> {
    store: &'a Store,
    withs: Withs<String>,
}

/// Something in FROM.
struct Source {
    /// How its columns are qualified; `None`: not at all.
    name: Option<Vec<Ident>>,
    /// Which columns its `*` must leave out.
    hidden: Vec<&'static str>,
    /// Whether its columns come out of the joins that it is in.
    shown: bool,
}

/// All of FROM.
#[derive(Default)]
struct Sources {
    all: Vec<Source>,
    /// Whether some columns are those of two tables.
    merged: bool,
}

impl VisitorMut for Stars<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.withs.enter_query(query);
        broken(refuse_bodies(query))
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Error> {
        self.withs.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        broken(self.rewrite(select))
    }
}

fn broken(result: Result<(), Error>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

/// Fails for queries that have all columns of a table without a `*`.
fn refuse_bodies(query: &Query) -> Result<(), Error> {
    let mut bodies = vec![query.body.as_ref()];
    while let Some(body) = bodies.pop() {
        match body {
            SetExpr::Table(_) => {
                return Err(refused("TABLE name", "write SELECT * FROM name"));
            }
            SetExpr::SetOperation { left, right, .. } => bodies.extend([&**left, &**right]),
            _ => {}
        }
    }
    match query.pipe_operators.is_empty() {
        true => Ok(()),
        false => Err(refused("|>", "write the query with SELECT")),
    }
}

fn refused(what: &str, way_out: &str) -> Error {
    invalid(format!(
        "{what} is not supported together with _version, _author or _expires: {way_out}"
    ))
}

impl Stars<'_> {
    fn rewrite(&self, select: &mut Select) -> Result<(), Error> {
        let mut sources = Sources::default();
        for tables in &mut select.from {
            self.tables(tables, &mut sources)?;
        }
        if sources.all.iter().all(|source| source.hidden.is_empty()) {
            return Ok(());
        }
        let mut items = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::Wildcard(options) => items.extend(sources.star(options)?),
                other => items.push(sources.qualified(other)),
            }
        }
        select.projection = items;
        Ok(())
    }

    fn tables(&self, tables: &mut TableWithJoins, sources: &mut Sources) -> Result<(), Error> {
        let first = sources.all.len();
        self.factor(&mut tables.relation, sources)?;
        for join in &mut tables.joins {
            let right = sources.all.len();
            self.factor(&mut join.relation, sources)?;
            let (left, right) = sources.all.split_at_mut(right);
            let left = left.get_mut(first..).unwrap_or_default();
            sources.merged |= merges(join, left, right)?;
            use JoinOperator::{Anti, LeftAnti, LeftSemi, RightAnti, RightSemi, Semi};
            let gone = match join.join_operator {
                Semi(_) | LeftSemi(_) | Anti(_) | LeftAnti(_) => right,
                RightSemi(_) | RightAnti(_) => left,
                _ => continue,
            };
            gone.iter_mut().for_each(|source| source.shown = false);
        }
        Ok(())
    }

    fn factor(&self, factor: &mut TableFactor, sources: &mut Sources) -> Result<(), Error> {
        let source = match factor {
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => return self.tables(table_with_joins, sources),
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => {
                let hidden: Vec<_> = match self.table(name) {
                    Some(def) => names_for(&def.schema).collect(),
                    None => Vec::new(),
                };
                rename(alias, &hidden);
                let parts = || name.0.iter().filter_map(|part| part.as_ident().cloned());
                let name = alias.as_ref().map(|alias| vec![alias.name.clone()]);
                Source {
                    name: Some(name.unwrap_or_else(|| parts().collect())),
                    hidden,
                    shown: true,
                }
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias: Some(alias),
            } => {
                let mut inner = Sources::default();
                self.tables(table_with_joins, &mut inner)?;
                if inner.all.iter().any(|source| !source.hidden.is_empty()) {
                    return Err(refused(
                        "an alias for a join of tables",
                        "write (SELECT columns FROM …) AS alias",
                    ));
                }
                Source::plain(Some(alias))
            }
            TableFactor::Table { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. } => Source::plain(alias.as_ref()),
            _ => Source::plain(None),
        };
        sources.all.push(source);
        Ok(())
    }

    /// The table of this name, unless a WITH has defined it.
    fn table(&self, name: &ObjectName) -> Option<Arc<TableDef>> {
        if let [part] = name.0.as_slice() {
            let name = ident_of(part.as_ident()?);
            if self.withs.defines(&name) {
                return None;
            }
        }
        match table_name(name).ok()? {
            TableName::Table(name) => live_table(self.store, &name).filter(|def| {
                let view = def.options.rules.view.as_ref();
                view.is_none_or(|view| view.materialized)
            }),
            TableName::Described => None,
        }
    }
}

/// Lets an alias that names a table's columns keep the names of those behind them.
fn rename(alias: &mut Option<TableAlias>, hidden: &[&'static str]) {
    if let Some(alias) = alias
        && !alias.columns.is_empty()
    {
        let names = hidden.iter().copied().map(TableAliasColumnDef::from_name);
        alias.columns.extend(names);
    }
}

/// Whether a join makes one column of two.
fn merges(join: &Join, left: &[Source], right: &[Source]) -> Result<bool, Error> {
    use JoinOperator as Op;
    let constraint = match &join.join_operator {
        Op::Join(on)
        | Op::Inner(on)
        | Op::Left(on)
        | Op::LeftOuter(on)
        | Op::Right(on)
        | Op::RightOuter(on)
        | Op::FullOuter(on)
        | Op::CrossJoin(on)
        | Op::Semi(on)
        | Op::LeftSemi(on)
        | Op::RightSemi(on)
        | Op::Anti(on)
        | Op::LeftAnti(on)
        | Op::RightAnti(on)
        | Op::StraightJoin(on)
        | Op::AsOf { constraint: on, .. } => on,
        _ => return Ok(false),
    };
    let hides = |sources: &[Source]| sources.iter().any(|source| !source.hidden.is_empty());
    match constraint {
        JoinConstraint::Using(_) => Ok(true),
        JoinConstraint::Natural if hides(left) && hides(right) => Err(refused(
            "NATURAL JOIN",
            "it would compare these columns, too; write USING (columns)",
        )),
        JoinConstraint::Natural => Ok(true),
        _ => Ok(false),
    }
}

impl Source {
    fn plain(alias: Option<&TableAlias>) -> Self {
        Self {
            name: alias.map(|alias| vec![alias.name.clone()]),
            hidden: Vec::new(),
            shown: true,
        }
    }

    /// Whether `name.*` is about this.
    fn is_named(&self, name: &ObjectName) -> bool {
        let own = self.name.iter().flatten().map(ident_of);
        let given = name.0.iter().map(|part| part.as_ident().map(ident_of));
        let (own, given): (Vec<_>, Option<Vec<_>>) = (own.collect(), given.collect());
        // `public.t` may be called `t`, and the other way round.
        given.is_some_and(|given| {
            !given.is_empty() && (own.ends_with(&given) || given.ends_with(&own))
        })
    }
}

impl Sources {
    /// What stands for a `*`.
    fn star(&self, options: WildcardAdditionalOptions) -> Result<Vec<SelectItem>, Error> {
        let shown = || self.all.iter().filter(|source| source.shown);
        if shown().all(|source| source.hidden.is_empty()) {
            return Ok(vec![SelectItem::Wildcard(options)]);
        }
        if let [only] = self.all.as_slice() {
            return Ok(vec![SelectItem::Wildcard(without(options, &only.hidden))]);
        }
        if self.merged {
            return Err(refused(
                "* over a join with USING",
                "write the columns, or table.* for each table",
            ));
        }
        if options != WildcardAdditionalOptions::default() {
            return Err(refused(
                "* with a clause over several tables",
                "write table.* for each table",
            ));
        }
        let item = |source: &Source| {
            let name = source.name.clone().ok_or_else(|| {
                refused(
                    "* over a table and a subquery without a name",
                    "give the subquery an alias",
                )
            })?;
            let kind = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(name));
            let options = without(WildcardAdditionalOptions::default(), &source.hidden);
            Ok(SelectItem::QualifiedWildcard(kind, options))
        };
        shown().map(item).collect()
    }

    /// `table.*` without the columns, and everything else as it is.
    fn qualified(&self, item: SelectItem) -> SelectItem {
        let SelectItem::QualifiedWildcard(kind, options) = item else {
            return item;
        };
        let SelectItemQualifiedWildcardKind::ObjectName(name) = &kind else {
            return SelectItem::QualifiedWildcard(kind, options);
        };
        let hidden = self.all.iter().find(|source| source.is_named(name));
        let hidden = hidden.map_or(&[][..], |source| &source.hidden);
        SelectItem::QualifiedWildcard(kind, without(options, hidden))
    }
}

/// Options that leave out some more columns; none is named twice, which would be an error.
fn without(
    mut options: WildcardAdditionalOptions,
    hidden: &[&'static str],
) -> WildcardAdditionalOptions {
    let mut names = match options.opt_exclude.take() {
        Some(ExcludeSelectItem::Single(name)) => vec![name],
        Some(ExcludeSelectItem::Multiple(names)) => names,
        None => Vec::new(),
    };
    let excepted = |name: &str| match &options.opt_except {
        Some(ExceptSelectItem {
            first_element,
            additional_elements,
        }) => std::iter::once(first_element)
            .chain(additional_elements)
            .any(|ident| ident_of(ident) == name),
        None => false,
    };
    for hidden in hidden {
        let named = names.iter().any(|name| match name.0.as_slice() {
            [part] => part
                .as_ident()
                .is_some_and(|ident| ident_of(ident) == *hidden),
            _ => false,
        });
        if !named && !excepted(hidden) {
            names.push(ObjectName::from(vec![Ident::new(*hidden)]));
        }
    }
    if !names.is_empty() {
        options.opt_exclude = Some(ExcludeSelectItem::Multiple(names));
    }
    options
}
