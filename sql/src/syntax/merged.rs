//! Joins that make one column of two.
//!
//! Idea: of the columns that USING and NATURAL merge, the planner shows one of the two as it is: for a
//! name, the left one; for a `*`, that of the table whose name sorts first. Where the other one should
//! be seen, which is where the shown one may be NULL, the answer would be wrong. There USING is written
//! out: `ON l.k = r.k`, `coalesce(l.k, r.k)` for the name, and for `*` the merged columns first.
//!
//! Invariant: what is not refused shows the right one. Non-goal: which columns a NATURAL join is over, which
//! is not in the text, and found out before the statement is planned ([`settle_joins`]).

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, GroupByExpr, Ident, Join, JoinConstraint,
    JoinOperator, ObjectName, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins,
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

/// The tables of a SELECT whose joins would be planned wrongly as they are.
pub(crate) fn wants_columns(select: &Select) -> Option<&TableWithJoins> {
    let star = has_star(select);
    let mut all = select.from.iter();
    all.find(|tables| is_unsettled(tables, star))
}

fn is_unsettled(tables: &TableWithJoins, star: bool) -> bool {
    tables.joins.iter().any(is_wrong) || (star && shows_right(tables))
}

/// Lets the SELECT at a place of a query have joins that say their columns, and writes them out.
pub(crate) fn settle_joins(query: &mut Query, at: usize, joins: &Joins) -> Result<(), Error> {
    let Some(select) = selects_of(&mut query.body).into_iter().nth(at) else {
        return Ok(());
    };
    let star = has_star(select);
    let mut all = select.from.iter_mut();
    let wanting = all.find(|tables| is_unsettled(tables, star));
    if let Some(tables) = wanting {
        for (join, settled) in tables.joins.iter_mut().zip(joins) {
            join.join_operator = settled.clone();
        }
    }
    order(query);
    let Some(select) = selects_of(&mut query.body).into_iter().nth(at) else {
        return Ok(());
    };
    write_out(select)?;
    select.from.iter().try_for_each(check_joins)?;
    check_stars(select)
}

/// Fails for a `*` that would show the right column of a LEFT JOIN.
fn check_stars(select: &Select) -> Result<(), Error> {
    match has_star(select) && select.from.iter().any(shows_right) {
        false => Ok(()),
        true => Err(invalid(
            "* over this LEFT JOIN with USING or NATURAL is not supported: write the columns, or \
             table.* for each table",
        )),
    }
}

fn has_star(select: &Select) -> bool {
    let is_star = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
    select.projection.iter().any(is_star)
}

/// Whether a `*` shows the right column of a LEFT JOIN.
fn shows_right(tables: &TableWithJoins) -> bool {
    let mut left = vec![name_of(&tables.relation)];
    for join in &tables.joins {
        let right = name_of(&join.relation);
        if let JoinOperator::Left(on) | JoinOperator::LeftOuter(on) = &join.join_operator
            && merges(on)
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
        TableFactor::Table { name, .. } => name.0.last()?.as_ident(),
        _ => None,
    }
}

/// A column that joins have merged.
struct Merged {
    name: String,
    /// What it is.
    value: Expr,
    /// The sources that have it, by their places.
    of: Vec<usize>,
}

/// Writes out the joins of a SELECT that the planner would take wrongly, where the text tells enough.
pub(super) fn write_out(select: &mut Select) -> Result<(), Error> {
    let star = has_star(select);
    let [tables] = select.from.as_mut_slice() else {
        return Ok(());
    };
    if !(tables.joins.iter().any(is_wrong) || star && shows_right(tables)) {
        return Ok(());
    }
    let sources = std::iter::once(&tables.relation).chain(tables.joins.iter().map(|j| &j.relation));
    let sources: Option<Vec<Ident>> = sources.map(|s| ident_of_source(s).cloned()).collect();
    let Some(sources) = sources else {
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
    show(select, &merged.columns, &sources);
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
fn merged_of(tables: &mut TableWithJoins, sources: &[Ident]) -> Result<Option<All>, Error> {
    use JoinOperator::{FullOuter, Right, RightOuter};
    let mut all = All::default();
    for (at, join) in tables.joins.iter_mut().enumerate() {
        let kept = match join.join_operator {
            FullOuter(_) => Kept::Both,
            Right(_) | RightOuter(_) => Kept::Right,
            _ => Kept::Left,
        };
        let names = match constraint_of(&mut join.join_operator) {
            Some(JoinConstraint::Using(names)) => names,
            Some(JoinConstraint::Natural) | None => return Ok(None),
            Some(_) => {
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

/// Lets a SELECT show merged columns as what they are.
fn show(select: &mut Select, merged: &[Merged], sources: &[Ident]) {
    let mut items = Vec::with_capacity(select.projection.len());
    for item in std::mem::take(&mut select.projection) {
        match item {
            SelectItem::Wildcard(options) if options == WildcardAdditionalOptions::default() => {
                items.extend(star(merged, sources));
            }
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => {
                let known = merged.iter().find(|m| m.name == ident_of(&name));
                items.push(match known {
                    Some(known) => named(known),
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
    let conditions = [
        &mut select.selection,
        &mut select.having,
        &mut select.qualify,
    ];
    for condition in conditions.into_iter().flatten() {
        replace(condition, merged);
    }
    if let GroupByExpr::Expressions(groups, _) = &mut select.group_by {
        groups.iter_mut().for_each(|group| replace(group, merged));
    }
}

fn named(merged: &Merged) -> SelectItem {
    SelectItem::ExprWithAlias {
        expr: merged.value.clone(),
        alias: Ident::with_quote('"', merged.name.clone()),
    }
}

/// The merged columns, and then all others, source by source.
fn star(merged: &[Merged], sources: &[Ident]) -> Vec<SelectItem> {
    let mut items: Vec<SelectItem> = merged.iter().map(named).collect();
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

/// Merged columns in an expression; subqueries have names of their own.
fn replace(expr: &mut Expr, merged: &[Merged]) {
    outside_queries(expr, |expr| {
        if let Expr::Identifier(name) = expr
            && let Some(known) = merged.iter().find(|m| m.name == ident_of(name))
        {
            *expr = known.value.clone();
        }
    });
}

/// The same for ORDER BY, unless the name is one of the answer's.
pub(super) fn order(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return;
    };
    let [tables] = select.from.as_slice() else {
        return;
    };
    if has_star(select) || !tables.joins.iter().any(is_wrong) {
        return;
    }
    let mut tables = tables.clone();
    let sources = std::iter::once(&tables.relation).chain(tables.joins.iter().map(|j| &j.relation));
    let sources: Option<Vec<Ident>> = sources.map(|s| ident_of_source(s).cloned()).collect();
    let merged = sources.map(|sources| merged_of(&mut tables, &sources));
    let Some(Ok(Some(mut merged))) = merged else {
        return;
    };
    let shown = |name: &str| {
        select.projection.iter().any(|item| match item {
            SelectItem::UnnamedExpr(Expr::Identifier(own)) => ident_of(own) == name,
            SelectItem::ExprWithAlias { alias, .. } => ident_of(alias) == name,
            _ => false,
        })
    };
    merged.columns.retain(|merged| !shown(&merged.name));
    if let Some(order) = &mut query.order_by
        && let OrderByKind::Expressions(orders) = &mut order.kind
    {
        for by in orders {
            replace(&mut by.expr, &merged.columns);
        }
    }
}
