//! What the numbers of `generate_series` and `range` are called.
//!
//! Idea: the planner calls the column `value`. In PostgreSQL it is called as the source is: `i` for
//! `generate_series(1, 3) i`, and `generate_series` without an alias. Where a SELECT asks for that name, or for `*` of
//! a source with an alias, the column gets it.
//!
//! Invariant: `value` stays its name where it is asked for, and where nothing says another one.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, OrderBy, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins, Visit, Visitor,
};

use super::lateral::name_column;
use super::merged::constraint_of;
use crate::statement::{ident_of, table_alias};

/// The name of the column of a series that has no other.
const VALUE: &str = "value";

/// Names the columns of the series that a query is over.
#[inline(never)]
pub(super) fn name_series(query: &mut Query) {
    let Query { body, order_by, .. } = query;
    let mut bodies = vec![body.as_mut()];
    while let Some(body) = bodies.pop() {
        match body {
            SetExpr::Select(select) => name_in(select, order_by.as_ref()),
            SetExpr::SetOperation { left, right, .. } => {
                bodies.extend([left.as_mut(), right.as_mut()]);
            }
            _ => {}
        }
    }
}

fn name_in(select: &mut Select, order: Option<&OrderBy>) {
    let mut series = Vec::new();
    for tables in &mut select.from {
        each(tables, &mut |source| series.extend(unnamed(source)));
    }
    for label in series {
        let mut asked = Asked::of(&label.name);
        // It never breaks.
        let _ = select.visit(&mut asked);
        if let Some(order) = order {
            let _ = order.visit(&mut asked);
        }
        asked.star = select.projection.iter().any(|item| label.is_in(item));
        for tables in &mut select.from {
            asked.own |= joins_by(tables, &label.name);
        }
        if !asked.says(&label) {
            continue;
        }
        for tables in &mut select.from {
            each(tables, &mut |source| {
                if unnamed(source).is_some_and(|other| other.name == label.name) {
                    name(source, &label.name);
                }
            });
        }
    }
}

/// What a series is called.
struct Label {
    name: String,
    is_alias: bool,
}

impl Label {
    /// Whether an item of a SELECT is all columns of the series.
    fn is_in(&self, item: &SelectItem) -> bool {
        match item {
            SelectItem::Wildcard(_) => true,
            SelectItem::QualifiedWildcard(kind, _) => match kind {
                SelectItemQualifiedWildcardKind::ObjectName(name) => {
                    let last = name.0.last().and_then(|part| part.as_ident());
                    last.is_some_and(|last| ident_of(last) == self.name)
                }
                SelectItemQualifiedWildcardKind::Expr(_) => false,
            },
            _ => false,
        }
    }
}

/// A series whose column has no name that was written.
fn unnamed(source: &TableFactor) -> Option<Label> {
    let (name, alias) = match source {
        TableFactor::Table {
            name,
            alias,
            args: Some(_),
            with_ordinality: false,
            sample: None,
            ..
        }
        | TableFactor::Function {
            name,
            alias,
            with_ordinality: false,
            ..
        } => (name, alias),
        _ => return None,
    };
    let [called] = name.0.as_slice() else {
        return None;
    };
    let called = called.as_ident().map(ident_of)?;
    if !(called == "generate_series" || called == "range") {
        return None;
    }
    match alias {
        None => Some(Label {
            name: called,
            is_alias: false,
        }),
        Some(alias) if alias.columns.is_empty() => Some(Label {
            name: ident_of(&alias.name),
            is_alias: true,
        }),
        Some(_) => None,
    }
}

fn name(source: &mut TableFactor, label: &str) {
    if let TableFactor::Table { alias, .. } | TableFactor::Function { alias, .. } = source {
        let alias = alias.get_or_insert_with(|| table_alias(Ident::with_quote('"', label)));
        name_column(alias);
    }
}

/// The sources of a row of joins, and those in parentheses.
fn each(tables: &mut TableWithJoins, change: &mut dyn FnMut(&mut TableFactor)) {
    let joined = tables.joins.iter_mut().map(|join| &mut join.relation);
    for source in std::iter::once(&mut tables.relation).chain(joined) {
        match source {
            TableFactor::NestedJoin {
                table_with_joins, ..
            } => each(table_with_joins, change),
            source => change(source),
        }
    }
}

/// Whether a join is over a column of a name.
fn joins_by(tables: &mut TableWithJoins, name: &str) -> bool {
    tables.joins.iter_mut().any(|join| {
        let on = constraint_of(&mut join.join_operator);
        let Some(JoinConstraint::Using(columns)) = on else {
            return false;
        };
        columns.iter().any(|column| {
            let last = column.0.last().and_then(|part| part.as_ident());
            last.is_some_and(|last| ident_of(last) == name)
        })
    })
}

/// By which names the column of a series is asked for.
struct Asked<'a> {
    label: &'a str,
    /// By that of the series.
    own: bool,
    /// By `value`, which may be another's.
    value: bool,
    /// As `value` of the series.
    value_of: bool,
    /// By `*`.
    star: bool,
}

impl<'a> Asked<'a> {
    fn of(label: &'a str) -> Self {
        Self {
            label,
            own: false,
            value: false,
            value_of: false,
            star: false,
        }
    }

    fn says(&self, label: &Label) -> bool {
        !self.value_of && (self.own || label.is_alias && self.star && !self.value)
    }
}

impl Visitor for Asked<'_> {
    type Break = ();

    #[inline(never)]
    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => {
                let name = ident_of(name);
                self.own |= name == self.label;
                self.value |= name == VALUE;
            }
            Expr::CompoundIdentifier(names) => {
                if let [.., table, column] = names.as_slice()
                    && ident_of(table) == self.label
                {
                    let column = ident_of(column);
                    self.own |= column == self.label;
                    self.value_of |= column == VALUE && self.label != VALUE;
                }
            }
            Expr::CompoundFieldAccess { root, .. } => {
                let mut root = root.as_ref();
                while let Expr::Nested(inner) = root {
                    root = inner;
                }
                // The row of a series has fields, and a number has none.
                self.value_of |=
                    matches!(root, Expr::Identifier(name) if ident_of(name) == self.label);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
