//! Joins that make one column of two.
//!
//! Idea: of the columns that USING and NATURAL merge, the planner shows one of the two as it is: for a
//! name, the left one; for a `*`, that of the table whose name sorts first, at the place where that has it. So a `*`
//! is written out, with the merged columns first. Where a name means the right one, or the one that is not NULL, USING
//! is written out too: `ON l.k = r.k`, and `coalesce(l.k, r.k)` for the name. A name that several joins merge the planner
//! takes for several: that becomes the column of the first source, unless a join is RIGHT or FULL.
//!
//! Invariant: what is not refused shows the right one. Non-goal: which columns a NATURAL join is over, which
//! is not in the text, and found out before the statement is planned ([`settle_joins`]).

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Distinct, ExcludeSelectItem, Expr, GroupByExpr, Ident, Join,
    JoinConstraint, JoinOperator, ObjectName, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins, Visit, Visitor,
    WildcardAdditionalOptions,
};
use netabase_store::Error;

use super::outside::outside_queries;
use super::rows::parsed;
use super::selects_of;
use crate::error::invalid;
use crate::statement::ident_of;

/// Fails for joins whose merged column may come from the right alone.
pub(super) fn check_joins(tables: &TableWithJoins) -> Result<(), Error> {
    match tables.joins.iter().any(is_wrong) {
        false => Ok(()),
        true => Err(invalid(
            "this RIGHT or FULL JOIN with USING or NATURAL is not supported: write ON a.x = b.x, and \
             coalesce(a.x, b.x) for the column",
        )),
    }
}

fn is_wrong(join: &Join) -> bool {
    use JoinOperator::{FullOuter, Right, RightOuter};
    match &join.join_operator {
        Right(on) | RightOuter(on) | FullOuter(on) => merges(on),
        _ => false,
    }
}

/// The joins of some tables, one by one.
pub(crate) type Joins = Vec<JoinOperator>;

/// The tables of a SELECT whose joins would be planned wrongly as they are, or not at all.
pub(crate) fn wants_columns(select: &Select) -> Option<&TableWithJoins> {
    select.from.get(unsettled_in(select)?)
}

/// Whether the planner would show wrong columns of them.
pub(crate) fn shows_wrong(tables: &TableWithJoins, select: &Select) -> bool {
    tables.joins.iter().any(is_wrong) || has_star(select) && shows_right(tables)
}

fn unsettled_in(select: &Select) -> Option<usize> {
    let star = has_star(select);
    let wrong = select.from.iter().position(|t| shows_wrong(t, select));
    wrong.or_else(|| {
        let mut all = select.from.iter();
        all.position(|tables| star && has_natural(tables) || is_open(tables, select))
    })
}

/// Whether a join that keeps the left side is NATURAL.
fn has_natural(tables: &TableWithJoins) -> bool {
    let mut merging = tables.joins.iter().filter_map(kept_left);
    merging.any(|on| matches!(on, JoinConstraint::Natural))
}

/// Whether a SELECT may name a column that several joins merge, or the only one, and the text does not tell which
/// those are.
fn is_open(tables: &TableWithJoins, select: &Select) -> bool {
    let merging = || tables.joins.iter().filter_map(kept_left);
    let alone = |source: &TableFactor| {
        let lateral = matches!(source, TableFactor::Derived { lateral: true, .. });
        ident_of_source(source).is_some() && !lateral
    };
    let merges_one = tables.joins.len() == 1 || merging().filter(|on| merges(on)).count() > 1;
    select.from.len() == 1
        && merges_one
        && has_natural(tables)
        && sources_in(tables).all(alone)
        && (has_names(select) || has_star(select))
}

/// Whether a SELECT has names without their table.
fn has_names(select: &Select) -> bool {
    struct Names;
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    let conditions = [&select.selection, &select.having, &select.qualify];
    select.projection.visit(&mut Names).is_break()
        || select.group_by.visit(&mut Names).is_break()
        || conditions
            .iter()
            .any(|part| part.visit(&mut Names).is_break())
}

/// What a join is over that keeps all rows of the left, or only those that are on both sides.
fn kept_left(join: &Join) -> Option<&JoinConstraint> {
    use JoinOperator::{Inner, Join as Plain, Left, LeftOuter};
    match &join.join_operator {
        Plain(on) | Inner(on) | Left(on) | LeftOuter(on) => Some(on),
        _ => None,
    }
}

/// Lets the SELECT at a place of a query have joins that say their columns, and writes them out.
pub(crate) fn settle_joins(query: &mut Query, at: usize, joins: &Joins) -> Result<(), Error> {
    let Some(select) = selects_of(&mut query.body).into_iter().nth(at) else {
        return Ok(());
    };
    let wanting = unsettled_in(select);
    if let Some(tables) = wanting.and_then(|at| select.from.get_mut(at)) {
        for (join, settled) in tables.joins.iter_mut().zip(joins) {
            join.join_operator = settled.clone();
        }
    }
    order(query);
    let Some(select) = selects_of(&mut query.body).into_iter().nth(at) else {
        return Ok(());
    };
    write_out(select, true)?;
    select.from.iter().try_for_each(check_joins)?;
    check_stars(select)
}

/// Fails for a `*` that would show the wrong columns.
fn check_stars(select: &Select) -> Result<(), Error> {
    match has_star(select) && select.from.iter().any(shows_right) {
        false => Ok(()),
        true => Err(invalid(
            "* over these joins with USING or NATURAL is not supported: write the columns, or \
             table.* for each table",
        )),
    }
}

fn has_star(select: &Select) -> bool {
    let is_whole = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
    select.projection.iter().any(is_whole)
}

fn is_star(item: &SelectItem) -> bool {
    matches!(
        item,
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
    )
}

fn has_plain_star(select: &Select) -> bool {
    select.projection.iter().any(is_plain_star)
}

/// A `*` without EXCLUDE and the like.
fn is_plain_star(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(options) if *options == WildcardAdditionalOptions::default())
}

/// Whether a `*` shows the right column of a LEFT JOIN, or several of those that joins merge.
fn shows_right(tables: &TableWithJoins) -> bool {
    let mut left = vec![name_of(&tables.relation)];
    let several = !chained_in(tables).is_empty();
    for join in &tables.joins {
        let right = name_of(&join.relation);
        let outer = matches!(
            join.join_operator,
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_)
        );
        if (outer || several)
            && kept_left(join).is_some_and(merges)
            && left.iter().any(|name| *name > right)
        {
            return true;
        }
        left.push(right);
    }
    false
}

fn merges(on: &JoinConstraint) -> bool {
    matches!(on, JoinConstraint::Using(_) | JoinConstraint::Natural)
}

/// What a source's columns are qualified by; nothing sorts before everything else.
fn name_of(source: &TableFactor) -> Option<String> {
    ident_of_source(source).map(ident_of)
}

fn ident_of_source(source: &TableFactor) -> Option<&Ident> {
    match source {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        } => Some(&alias.name),
        TableFactor::Table {
            name, args: None, ..
        } => name.0.last()?.as_ident(),
        _ => None,
    }
}

/// A column that joins have merged.
#[derive(Clone)]
struct Merged {
    name: String,
    /// What it is.
    value: Expr,
    /// The sources that have it, by their places.
    of: Vec<usize>,
}

/// The columns that joins of a SELECT merge, and the planner does itself but for their names: those of several
/// joins, and those of the only one. Beside other sources, it is the planner that says which names are ambiguous.
fn chained(select: &Select) -> Vec<Merged> {
    match select.from.as_slice() {
        [tables] if tables.joins.len() == 1 => kept_in(tables),
        [tables] => chained_in(tables),
        _ => Vec::new(),
    }
}

fn chained_in(tables: &TableWithJoins) -> Vec<Merged> {
    let mut all = kept_in(tables);
    all.retain(|merged| merged.of.len() > 2);
    all
}

/// The columns that joins merge which keep the left one.
fn kept_in(tables: &TableWithJoins) -> Vec<Merged> {
    let mut all: Vec<Merged> = Vec::new();
    let Some(first) = ident_of_source(&tables.relation) else {
        return all;
    };
    if tables.joins.iter().any(is_wrong) || has_name_twice(tables) {
        return all;
    }
    for (at, join) in (1..).zip(&tables.joins) {
        let Some(JoinConstraint::Using(names)) = kept_left(join) else {
            continue;
        };
        let idents = names.iter().filter_map(|name| name.0.last()?.as_ident());
        for ident in idents {
            let name = ident_of(ident);
            match all.iter_mut().find(|merged| merged.name == name) {
                Some(known) => known.of.push(at),
                // Which of several sources has it is not in the text.
                None if at > 1 => {}
                None => all.push(Merged {
                    name,
                    value: column(first, ident),
                    of: vec![0, at],
                }),
            }
        }
    }
    all
}

/// Writes out the joins of a SELECT that the planner would take wrongly, where the text tells enough. The text of a
/// definition is kept, and read again, when the names in it must be names.
#[inline(never)]
pub(super) fn write_out(select: &mut Select, is_kept: bool) -> Result<(), Error> {
    let wrong = |tables: &TableWithJoins| tables.joins.iter().any(is_wrong);
    if !select.from.iter().any(wrong) {
        let chained = chained(select);
        if !chained.is_empty() {
            show(select, &chained, None);
        }
        star_in_order(select, if is_kept { named } else { shown });
        return Ok(());
    }
    let [tables] = select.from.as_mut_slice() else {
        return Ok(());
    };
    let Some(sources) = sources_of(tables) else {
        return Ok(());
    };
    let Some(merged) = merged_of(tables, &sources)? else {
        return Ok(());
    };
    for (join, conditions) in tables.joins.iter_mut().zip(merged.conditions) {
        if let (Some(on), Some(condition)) = (constraint_of(&mut join.join_operator), conditions) {
            *on = JoinConstraint::On(condition);
        }
    }
    show(select, &merged.columns, Some(&sources));
    Ok(())
}

/// What a join that may merge columns is over.
pub(crate) fn constraint_of(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    use JoinOperator as Op;
    match operator {
        Op::Join(on)
        | Op::Inner(on)
        | Op::Left(on)
        | Op::LeftOuter(on)
        | Op::Right(on)
        | Op::RightOuter(on)
        | Op::FullOuter(on) => Some(on),
        _ => None,
    }
}

/// The merged columns of a row of joins, and the condition of each join that merges.
#[derive(Default)]
struct All {
    columns: Vec<Merged>,
    conditions: Vec<Option<Expr>>,
}

/// Which side of a join always has its rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Left,
    Right,
    Both,
}

impl All {
    /// Merges a column of the source at a place with that of those before it; the condition. `None`
    /// where the text does not tell whose it is.
    fn merge(
        &mut self,
        (sources, at): (&[Ident], usize),
        name: &ObjectName,
        kept: Kept,
    ) -> Result<Option<Expr>, Error> {
        let ident = name.0.last().and_then(|part| part.as_ident());
        let (Some(ident), Some(source), Some(first)) = (ident, sources.get(at), sources.first())
        else {
            return Ok(None);
        };
        let known = self.columns.iter().position(|m| m.name == ident_of(ident));
        let before = match known.and_then(|known| self.columns.get(known)) {
            Some(known) => known.value.clone(),
            None if at == 1 => column(first, ident),
            None => return Ok(None),
        };
        let own = column(source, ident);
        let equal = Expr::BinaryOp {
            left: Box::new(before.clone()),
            op: BinaryOperator::Eq,
            right: Box::new(own.clone()),
        };
        let value = match kept {
            Kept::Left => before,
            Kept::Right => own,
            Kept::Both => parsed(&format!("coalesce({before}, {own})"))?,
        };
        match known.and_then(|known| self.columns.get_mut(known)) {
            Some(known) => {
                known.value = value;
                known.of.push(at);
            }
            None => self.columns.push(Merged {
                name: ident_of(ident),
                value,
                of: vec![0, at],
            }),
        }
        Ok(Some(equal))
    }
}

/// `None` where the text does not tell whose a column is.
fn merged_of(tables: &TableWithJoins, sources: &[Ident]) -> Result<Option<All>, Error> {
    use JoinOperator::{CrossJoin, FullOuter, Right, RightOuter};
    let mut all = All::default();
    for (at, join) in tables.joins.iter().enumerate() {
        let (kept, on) = match &join.join_operator {
            FullOuter(on) => (Kept::Both, on),
            Right(on) | RightOuter(on) => (Kept::Right, on),
            CrossJoin(_) => {
                all.conditions.push(None);
                continue;
            }
            _ => match kept_left(join) {
                Some(on) => (Kept::Left, on),
                None => return Ok(None),
            },
        };
        let names = match on {
            JoinConstraint::Using(names) => names,
            JoinConstraint::Natural => return Ok(None),
            _ => {
                all.conditions.push(None);
                continue;
            }
        };
        let mut conditions = Vec::with_capacity(names.len());
        for name in names {
            match all.merge((sources, at + 1), name, kept)? {
                Some(condition) => conditions.push(condition),
                None => return Ok(None),
            }
        }
        let condition = conditions.into_iter().reduce(|left, right| Expr::BinaryOp {
            left: Box::new(left),
            op: BinaryOperator::And,
            right: Box::new(right),
        });
        all.conditions.push(condition);
    }
    Ok(Some(all))
}

fn column(source: &Ident, name: &Ident) -> Expr {
    Expr::CompoundIdentifier(vec![source.clone(), name.clone()])
}

/// Puts merged columns first in the `*` over joins that keep the left side, where the text tells whose they are.
fn star_in_order(select: &mut Select, one: fn(&Merged) -> SelectItem) {
    if !has_plain_star(select) {
        return;
    }
    let [tables] = select.from.as_slice() else {
        return;
    };
    let merged = written_out(tables);
    let Some(sources) = sources_of(tables).filter(|_| !merged.is_empty()) else {
        return;
    };
    let mut items = Vec::with_capacity(select.projection.len());
    for item in std::mem::take(&mut select.projection) {
        match item {
            item if is_plain_star(&item) => items.extend(star(&merged, &sources, one)),
            other => items.push(other),
        }
    }
    select.projection = items;
}

/// Lets a SELECT show merged columns as what they are, and those of a `*` if it is over these sources.
fn show(select: &mut Select, merged: &[Merged], sources: Option<&[Ident]>) {
    let others = others(&select.projection, merged);
    if let Some(Distinct::On(by)) = &mut select.distinct {
        by.iter_mut().for_each(|by| replace(by, &others));
    }
    let one = if has_star(select) { named } else { shown };
    let mut items = Vec::with_capacity(select.projection.len());
    for item in std::mem::take(&mut select.projection) {
        match item {
            item if is_plain_star(&item) => match sources {
                Some(sources) => items.extend(star(merged, sources, named)),
                None => items.push(item),
            },
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => {
                let known = merged.iter().find(|m| m.name == ident_of(&name));
                items.push(match known {
                    Some(known) => one(known),
                    None => SelectItem::UnnamedExpr(Expr::Identifier(name)),
                });
            }
            SelectItem::UnnamedExpr(mut expr) => {
                replace(&mut expr, merged);
                items.push(SelectItem::UnnamedExpr(expr));
            }
            SelectItem::ExprWithAlias { mut expr, alias } => {
                replace(&mut expr, merged);
                items.push(SelectItem::ExprWithAlias { expr, alias });
            }
            other => items.push(other),
        }
    }
    select.projection = items;
    if let Some(condition) = &mut select.selection {
        replace(condition, merged);
    }
    // The planner knows the names that the list gives; those of written out joins only here.
    let unnamed = if sources.is_none() { &others } else { merged };
    for condition in [&mut select.having, &mut select.qualify]
        .into_iter()
        .flatten()
    {
        replace(condition, unnamed);
    }
    if let GroupByExpr::Expressions(groups, _) = &mut select.group_by {
        groups.iter_mut().for_each(|group| replace(group, merged));
    }
}

/// A merged column, which is called so anyway if it is one, and keeps its table.
fn shown(merged: &Merged) -> SelectItem {
    match &merged.value {
        column @ Expr::CompoundIdentifier(_) => SelectItem::UnnamedExpr(column.clone()),
        _ => named(merged),
    }
}

/// The same beside a `*`, which shows it, too.
fn named(merged: &Merged) -> SelectItem {
    SelectItem::ExprWithAlias {
        expr: merged.value.clone(),
        alias: Ident::with_quote('"', merged.name.clone()),
    }
}

/// The merged columns, and then all others, source by source.
fn star(merged: &[Merged], sources: &[Ident], one: fn(&Merged) -> SelectItem) -> Vec<SelectItem> {
    let mut items: Vec<SelectItem> = merged.iter().map(one).collect();
    for (at, source) in sources.iter().enumerate() {
        let without = merged.iter().filter(|merged| merged.of.contains(&at));
        let without = without.map(|merged| {
            let name = Ident::with_quote('"', merged.name.clone());
            ObjectName::from(vec![name])
        });
        let without: Vec<ObjectName> = without.collect();
        let mut options = WildcardAdditionalOptions::default();
        if !without.is_empty() {
            options.opt_exclude = Some(ExcludeSelectItem::Multiple(without));
        }
        let name = ObjectName::from(vec![source.clone()]);
        let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
        items.push(SelectItem::QualifiedWildcard(kind, options));
    }
    items
}

/// Merged columns in an expression; subqueries have names of their own, and fields are no columns.
fn replace(expr: &mut Expr, merged: &[Merged]) {
    outside_queries(expr, |expr| match expr {
        Expr::Identifier(name) => {
            if let Some(known) = merged.iter().find(|m| m.name == ident_of(name)) {
                *expr = known.value.clone();
            }
        }
        // What is inside comes first.
        Expr::CompoundFieldAccess { root, access_chain } => {
            if matches!(access_chain.first(), Some(AccessExpr::Dot(_))) {
                put_back(root, merged);
            }
            for access in access_chain {
                if let AccessExpr::Dot(field) = access {
                    put_back(field, merged);
                }
            }
        }
        _ => {}
    });
}

/// The name that a merged column was put in the place of.
fn put_back(expr: &mut Expr, merged: &[Merged]) {
    if let Some(known) = merged.iter().find(|m| m.value == *expr) {
        *expr = Expr::Identifier(Ident::with_quote('"', known.name.clone()));
    }
}

/// The same for ORDER BY, unless the name is one of the answer's.
#[inline(never)]
pub(super) fn order(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return;
    };
    let Some(order) = &mut query.order_by else {
        return;
    };
    let merged = match select.from.as_slice() {
        [tables] if tables.joins.iter().any(is_wrong) => {
            if has_star(select) {
                return;
            }
            written_out(tables)
        }
        [tables] if has_plain_star(select) && !written_out(tables).is_empty() => return,
        all if has_star(select) && all.iter().any(shows_right) => return,
        // They may show it.
        [tables] if tables.joins.len() == 1 && select.projection.iter().any(is_star) => return,
        _ => chained(select),
    };
    let merged = others(&select.projection, &merged);
    if let OrderByKind::Expressions(orders) = &mut order.kind {
        for by in orders {
            replace(&mut by.expr, &merged);
        }
    }
}

/// What the merged columns of a row of joins are, where the text tells.
fn written_out(tables: &TableWithJoins) -> Vec<Merged> {
    match sources_of(tables).map(|sources| merged_of(tables, &sources)) {
        Some(Ok(Some(merged))) => merged.columns,
        _ => Vec::new(),
    }
}

/// The names of what is joined, if all have one.
fn sources_of(tables: &TableWithJoins) -> Option<Vec<Ident>> {
    if has_name_twice(tables) {
        return None;
    }
    let sources = sources_in(tables);
    sources
        .map(|source| ident_of_source(source).cloned())
        .collect()
}

fn sources_in(tables: &TableWithJoins) -> impl Iterator<Item = &TableFactor> {
    std::iter::once(&tables.relation).chain(tables.joins.iter().map(|join| &join.relation))
}

/// Whether two of them are called alike, as tables of two schemas may be.
fn has_name_twice(tables: &TableWithJoins) -> bool {
    let mut names: Vec<String> = sources_in(tables).filter_map(name_of).collect();
    names.sort_unstable();
    names.windows(2).any(|two| matches!(two, [a, b] if a == b))
}

/// Merged columns but for those whose names a SELECT gives.
fn others(items: &[SelectItem], merged: &[Merged]) -> Vec<Merged> {
    let gives = |item: &&SelectItem, name: &str| match item {
        SelectItem::UnnamedExpr(Expr::Identifier(own)) => ident_of(own) == name,
        SelectItem::ExprWithAlias { alias, .. } => ident_of(alias) == name,
        _ => false,
    };
    let shows = |item: &&SelectItem, name: &str| match item {
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
            parts.last().is_some_and(|own| ident_of(own) == name)
        }
        _ => false,
    };
    // Of two columns that are called so, it is neither.
    let shown = |name: &str| {
        items.iter().any(|item| gives(&item, name))
            || items.iter().filter(|item| shows(item, name)).count() == 1
    };
    let others = merged.iter().filter(|merged| !shown(&merged.name));
    others.cloned().collect()
}
