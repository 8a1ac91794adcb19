//! Columns without a name, and columns of one name.
//!
//! The planner calls what is computed in terms of its own, such as `t.a + Int64(1)`; an item of a SELECT is called as
//! it is written, as in SQLite and DuckDB.
//!
//! Idea: the planner wants every column of a SELECT to have a name of its own, and leaves CASTs out of
//! names. Where two would have the same one, later ones get an alias that ends in letters that nobody
//! sees and nobody writes; the answer of a statement shows it without them ([`shown`]). Inside a query
//! all of them get one, so that their name alone says none of them.
//!
//! Invariant: only columns whose names may be the same are touched, and each is shown as before, or as
//! it is written. Non-goal: tables, which have no two columns of a name.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArguments, Ident, ObjectName, OrderBy, OrderByExpr, OrderByKind, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetQuantifier, Statement as SqlStatement,
    Value, Visit, VisitMut, Visitor, VisitorMut, WildcardAdditionalOptions,
};

use crate::provenance;
use crate::statement::ident_of;

/// What a hidden ending begins with.
const MARK: char = '\u{2060}';
/// The digits that follow.
const DIGITS: [char; 4] = ['\u{2061}', '\u{2062}', '\u{2063}', '\u{2064}'];

/// The characters of a name that an expression gives.
const MAX_NAME: usize = 100;

/// Where a SELECT stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Its columns are those of the answer.
    Answer,
    /// So are they, beside those of other SELECTs: the planner forgets which tables they are of.
    Arm,
    /// Others name its columns.
    Inside,
    /// Its columns must have different names.
    Distinct,
}

/// The place of the SELECTs in a query.
pub(super) fn place_of(query: &Query, depth: usize, distinct: bool) -> Place {
    let mut bodies = vec![query.body.as_ref()];
    while let Some(body) = bodies.pop() {
        if let SetExpr::SetOperation {
            left,
            right,
            set_quantifier,
            ..
        } = body
        {
            use SetQuantifier::{AllByName, ByName, DistinctByName};
            if matches!(set_quantifier, ByName | AllByName | DistinctByName) {
                return Place::Distinct;
            }
            bodies.extend([&**left, &**right]);
        }
    }
    match depth {
        0 if distinct => Place::Distinct,
        0 if matches!(query.body.as_ref(), SetExpr::SetOperation { .. }) => Place::Arm,
        0 => Place::Answer,
        _ => Place::Inside,
    }
}

/// A name as it is shown.
pub(crate) fn shown(name: &str) -> &str {
    let bare = name.trim_end_matches(DIGITS);
    match bare.strip_suffix(MARK) {
        Some(own) if bare.len() < name.len() => own,
        _ => name,
    }
}

/// The same of a name that is written with escapes, as `{:?}` does it.
pub(crate) fn shown_escaped(name: &str) -> &str {
    let mark = MARK.escape_unicode().to_string();
    name.split_once(&mark).map_or(name, |(own, _)| own)
}

/// Columns as they are shown; `None` if they are already.
pub(crate) fn shown_schema(schema: &SchemaRef) -> Option<SchemaRef> {
    let is_marked = |name: &str| shown(name).len() < name.len();
    if !schema.fields().iter().any(|field| is_marked(field.name())) {
        return None;
    }
    let fields = schema.fields().iter().map(|field| {
        let name = shown(field.name());
        Arc::new(field.as_ref().clone().with_name(name))
    });
    let fields: Vec<_> = fields.collect();
    Some(Arc::new(Schema::new_with_metadata(
        fields,
        schema.metadata().clone(),
    )))
}

pub(super) fn marked(name: &str, nth: usize) -> Ident {
    let mut text = format!("{name}{MARK}");
    let mut rest = nth;
    loop {
        text.extend(DIGITS.get(rest % DIGITS.len()));
        rest /= DIGITS.len();
        if rest == 0 {
            return Ident::with_quote('"', text);
        }
    }
}

/// Calls what is computed as it is written.
#[inline(never)]
pub(super) fn name_computed(items: &mut [SelectItem]) {
    for item in items {
        let name = match item {
            SelectItem::UnnamedExpr(expr) => computed_name(expr),
            _ => None,
        };
        if let Some(name) = name {
            rename(item, Ident::with_quote('"', name));
        }
    }
}

/// The SELECT that a query is, and what it is ordered by.
fn ordered(query: &mut Query) -> Option<(&Select, &mut Vec<OrderByExpr>)> {
    match (query.body.as_ref(), &mut query.order_by) {
        (
            SetExpr::Select(select),
            Some(OrderBy {
                kind: OrderByKind::Expressions(orders),
                ..
            }),
        ) => Some((select, orders)),
        _ => None,
    }
}

/// What ORDER BY of a SELECT DISTINCT has in common with an item is called as the item is, which the planner looks for.
#[inline(never)]
pub(super) fn order_by_names(query: &mut Query) {
    let Some((select, orders)) = ordered(query) else {
        return;
    };
    if select.distinct.is_none() {
        return;
    }
    for order in orders {
        // A number is the place of an item, even where another item is that number.
        if is_place(&order.expr) {
            continue;
        }
        let name = select.projection.iter().find_map(|item| match item {
            SelectItem::UnnamedExpr(expr) if *expr == order.expr => {
                computed_name(expr).map(|name| Ident::with_quote('"', name))
            }
            SelectItem::ExprWithAlias { expr, alias } if *expr == order.expr => Some(alias.clone()),
            _ => None,
        });
        if let Some(name) = name {
            order.expr = Expr::Identifier(name);
        }
    }
}

fn is_place(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Number(..)))
}

/// What a value is called; a column has its name.
fn computed_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Subquery(_) => match inner_item(expr)? {
            SelectItem::UnnamedExpr(inner) => computed_name(inner),
            SelectItem::ExprWithAlias { alias, .. } => Some(ident_of(alias)),
            _ => None,
        },
        // It may be several columns.
        Expr::Function(function) if is_unnest(&function.name) => None,
        // What the planner calls a column that is cast twice is not found by its name.
        Expr::Cast { expr: inner, .. } if matches!(inner.as_ref(), Expr::Cast { .. }) => {
            match column_of(inner) {
                Some(names) => names.last().map(ident_of),
                None => Some(text_of(expr).replace('"', "")),
            }
        }
        _ if column_of(expr).is_some() => None,
        Expr::Nested(inner) => computed_name(inner),
        _ => Some(text_of(expr).replace('"', "")),
    }
}

fn is_unnest(name: &ObjectName) -> bool {
    let part = name.0.last().and_then(|part| part.as_ident());
    part.map(ident_of).as_deref() == Some("unnest")
}

/// Gives columns of one name different ones.
pub(super) fn tell_apart(select: &mut Select, place: Place) {
    if place == Place::Distinct || select.projection.len() < 2 {
        return;
    }
    let single = matches!(select.from.as_slice(), [tables] if tables.joins.is_empty());
    let stars = Stars::of(&select.projection, place, single);
    apart(&mut select.projection, place, &stars);
}

/// The same for what RETURNING gives.
pub(super) fn tell_returned_apart(items: &mut [SelectItem]) {
    name_computed(items);
    let stars = Stars::of(items, Place::Answer, true);
    apart(items, Place::Answer, &stars);
}

/// ORDER BY of names that a query has several of is by the first of them.
pub(super) fn order_by_first(query: &mut Query, place: Place) {
    let Some((select, orders)) = ordered(query) else {
        return;
    };
    if place != Place::Inside {
        return;
    }
    for order in orders {
        let Expr::Identifier(name) = &mut order.expr else {
            continue;
        };
        let wanted = ident_of(name);
        let first = select.projection.iter().find_map(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => {
                Some(alias).filter(|alias| shown(&alias.value) == wanted && alias.value != wanted)
            }
            _ => None,
        });
        if let Some(first) = first {
            *name = first.clone();
        }
    }
}

/// What a column's name may be the same as another's by.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Name(String),
    Text(String),
}

struct Item {
    key: Key,
    /// As it is shown.
    name: String,
    /// The table that is written before it.
    table: Option<String>,
    /// Whether it is a column.
    is_column: bool,
    /// Whether its name is the one that is shown, whatever becomes of it.
    is_named: bool,
    has_alias: bool,
}

impl Item {
    fn of(item: &SelectItem) -> Option<Self> {
        match item {
            SelectItem::UnnamedExpr(expr) => Some(Self::unnamed(expr)),
            SelectItem::ExprWithAlias { alias, .. } => {
                let name = ident_of(alias);
                Some(Self {
                    key: Key::Name(name.clone()),
                    name,
                    table: None,
                    is_column: false,
                    is_named: true,
                    has_alias: true,
                })
            }
            _ => None,
        }
    }

    fn unnamed(expr: &Expr) -> Self {
        if let Some(inner) = inner_item(expr).and_then(Self::of) {
            return Self {
                is_column: false,
                is_named: false,
                has_alias: false,
                ..inner
            };
        }
        let column = column_of(expr);
        let (key, name, table) = match column {
            Some([tables @ .., name]) => {
                let table = tables.last().map(ident_of);
                let name = ident_of(name);
                (Key::Name(name.clone()), name, table)
            }
            _ => (Key::Text(plain(expr)), text_of(expr), None),
        };
        Self {
            key,
            name,
            table,
            is_column: column.is_some(),
            is_named: matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)),
            has_alias: false,
        }
    }

    /// Whether the planner can tell two columns apart.
    fn differs(&self, other: &Self) -> bool {
        self.is_column
            && other.is_column
            && self.table.is_some()
            && other.table.is_some()
            && self.table != other.table
    }
}

/// The column of a subquery that is a value.
fn inner_item(expr: &Expr) -> Option<&SelectItem> {
    match expr {
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => select.projection.first(),
            _ => None,
        },
        _ => None,
    }
}

/// The column that an expression is, whatever it is cast to.
fn column_of(expr: &Expr) -> Option<&[Ident]> {
    match expr {
        Expr::Identifier(name) => Some(std::slice::from_ref(name)),
        Expr::CompoundIdentifier(names) => Some(names),
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => column_of(inner),
        _ => None,
    }
}

/// What is shown for an expression without a name.
fn text_of(expr: &Expr) -> String {
    match expr {
        Expr::Function(function) => {
            let mut function = function.clone();
            if let [part] = function.name.0.as_slice()
                && let Some(name) = part.as_ident()
            {
                function.name = ObjectName::from(vec![Ident::new(ident_of(name))]);
            }
            short(&function)
        }
        other => short(other),
    }
}

/// The text of something, or the first of it.
fn short(text: &impl fmt::Display) -> String {
    struct Short(String, usize);
    impl Write for Short {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for letter in text.chars() {
                if self.1 == MAX_NAME {
                    self.0.push('…');
                    return Err(fmt::Error);
                }
                self.0.push(letter);
                self.1 += 1;
            }
            Ok(())
        }
    }
    let mut short = Short(String::new(), 0);
    // It fails where it is long enough.
    let _ = write!(short, "{text}");
    short.0
}

/// An expression without what names leave out.
fn plain(expr: &Expr) -> String {
    let mut expr = expr.clone();
    // It never breaks.
    let _ = VisitMut::visit(&mut expr, &mut Plainer);
    expr.to_string()
}

struct Plainer;

impl VisitorMut for Plainer {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let lower = |name: &Ident| Ident::new(ident_of(name));
        let plain = match expr {
            Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => (**inner).clone(),
            Expr::Identifier(name) => Expr::Identifier(lower(name)),
            Expr::CompoundIdentifier(names) => match names.last() {
                Some(name) => Expr::Identifier(lower(name)),
                None => return ControlFlow::Continue(()),
            },
            Expr::Substring {
                special, shorthand, ..
            } => {
                (*special, *shorthand) = (true, true);
                return ControlFlow::Continue(());
            }
            Expr::Exists { negated, .. } => {
                Expr::Identifier(Ident::new(format!("exists {negated}")))
            }
            Expr::InSubquery { expr, negated, .. } => Expr::InList {
                expr: expr.clone(),
                list: Vec::new(),
                negated: *negated,
            },
            Expr::Subquery(_) => match inner_item(expr) {
                Some(SelectItem::UnnamedExpr(inner)) => inner.clone(),
                Some(SelectItem::ExprWithAlias { alias, .. }) => Expr::Identifier(lower(alias)),
                _ => Expr::Identifier(Ident::new("subquery")),
            },
            Expr::Function(function) if matches!(function.args, FunctionArguments::Subquery(_)) => {
                Expr::Identifier(Ident::new("array"))
            }
            Expr::Function(function) => {
                let parts = function.name.0.iter();
                let names: Vec<Ident> = parts
                    .filter_map(|part| part.as_ident().map(lower))
                    .collect();
                let is_now =
                    |name: &Ident| matches!(name.value.as_str(), "now" | "current_timestamp");
                if names.iter().any(is_now) {
                    *expr = Expr::Identifier(Ident::new("now"));
                    return ControlFlow::Continue(());
                }
                function.name = ObjectName::from(names);
                return ControlFlow::Continue(());
            }
            _ => return ControlFlow::Continue(()),
        };
        *expr = plain;
        ControlFlow::Continue(())
    }
}

/// The `*` of a SELECT, which have the columns that are also written out.
#[derive(Default)]
struct Stars {
    /// All columns of everything.
    all: bool,
    /// All columns of these.
    of: HashSet<String>,
}

impl Stars {
    fn of(items: &[SelectItem], place: Place, single: bool) -> Self {
        let mut stars = Self::default();
        let is_answer = matches!(place, Place::Answer | Place::Arm);
        for item in items {
            match item {
                // Which of a table's columns a `*` has is not known; for an answer that does not matter.
                SelectItem::Wildcard(options) => {
                    stars.all |= is_answer || *options == WildcardAdditionalOptions::default();
                }
                SelectItem::QualifiedWildcard(kind, options) => {
                    let whole = *options == WildcardAdditionalOptions::default();
                    stars.all |= is_answer || (single && whole);
                    if let SelectItemQualifiedWildcardKind::ObjectName(name) = kind
                        && let Some(table) = name.0.last().and_then(|part| part.as_ident())
                        && whole
                    {
                        stars.of.insert(ident_of(table));
                    }
                }
                _ => {}
            }
        }
        stars
    }

    fn have(&self, item: &Item) -> bool {
        let own = !item.has_alias && matches!(item.key, Key::Name(_));
        let of_table = item.table.as_ref();
        own && !provenance::is_name(&item.name)
            && (self.all || of_table.is_some_and(|table| self.of.contains(table)))
    }
}

fn apart(items: &mut [SelectItem], place: Place, stars: &Stars) {
    let read: Vec<Option<Item>> = items.iter().map(Item::of).collect();
    let mut groups: HashMap<&Key, Vec<usize>> = HashMap::new();
    for (at, item) in read.iter().enumerate() {
        if let Some(item) = item {
            groups.entry(&item.key).or_default().push(at);
        }
    }
    let mut renamed: Vec<(usize, Ident)> = Vec::new();
    for members in groups.values() {
        let group: Vec<(usize, &Item)> = members
            .iter()
            .filter_map(|at| Some((*at, read.get(*at)?.as_ref()?)))
            .collect();
        for (nth, (at, item)) in group.iter().enumerate() {
            let mut earlier = group.iter().take(nth);
            let differs = |other: &Item| place != Place::Arm && item.differs(other);
            let again = nth > 0 && !earlier.all(|(_, other)| differs(other));
            let first = nth == 0 && group.len() > 1 && !item.is_named;
            let inside = place == Place::Inside && group.len() > 1;
            if again || first || inside || stars.have(item) {
                renamed.push((*at, marked(&item.name, nth)));
            }
        }
    }
    for (at, alias) in renamed {
        if let Some(item) = items.get_mut(at) {
            rename(item, alias);
        }
    }
}

fn rename(item: &mut SelectItem, to: Ident) {
    match item {
        SelectItem::UnnamedExpr(expr) => {
            let expr = std::mem::replace(expr, Expr::Identifier(to.clone()));
            *item = SelectItem::ExprWithAlias { expr, alias: to };
        }
        SelectItem::ExprWithAlias { alias, .. } => *alias = to,
        _ => {}
    }
}

/// Whether a SELECT of a statement has a `*` and a name of its own beside it, which may be one of a column
/// that the `*` has.
pub(crate) fn may_double(statement: &SqlStatement) -> bool {
    struct Finder;
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            match has_star_and(&select.projection, |_| true) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    statement.visit(&mut Finder).is_break()
}

fn has_star_and(items: &[SelectItem], wanted: impl Fn(&Ident) -> bool) -> bool {
    let star = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
        )
    };
    let named = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => wanted(alias),
        _ => false,
    };
    items.len() > 1 && items.iter().any(star) && items.iter().any(named)
}

/// Gives names beside a `*` that a column of the `*` has hidden endings; whether there is one.
pub(crate) fn tell_from_star(statement: &mut SqlStatement, name: &str) -> bool {
    struct Marker<'a> {
        name: &'a str,
        found: bool,
    }
    impl VisitorMut for Marker<'_> {
        type Break = ();
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            if !has_star_and(&select.projection, |alias| ident_of(alias) == self.name) {
                return ControlFlow::Continue(());
            }
            for item in &mut select.projection {
                if let SelectItem::ExprWithAlias { alias, .. } = item
                    && ident_of(alias) == self.name
                {
                    *alias = marked(self.name, 0);
                    self.found = true;
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut marker = Marker { name, found: false };
    // It never breaks.
    let _ = statement.visit(&mut marker);
    marker.found
}

/// A name that several of some columns have.
pub(crate) fn doubled(schema: &Schema) -> Option<&str> {
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let mut marked = names.filter(|name| shown(name).len() < name.len());
    marked.next().map(shown)
}
