//! What is read here besides what DataFusion plans.
//!
//! Purpose: [`mend`] turns syntax that the planner refuses, or takes for something else, into syntax
//! that means the same and is planned: `a.b[1].c`, `SIMILAR TO`, `FETCH FIRST`.
//!
//! Invariant: what is changed would have failed, or would have meant something else than in PostgreSQL.

mod aggregates;
mod brackets;
mod budget;
mod calls;
mod constants;
mod dialect;
mod explain;
mod glob;
mod hidden_lists;
mod hints;
mod idioms;
mod kept;
mod lateral;
mod merged;
mod named_windows;
mod names;
mod nothing;
mod others;
mod outside;
mod recursions;
mod rows;
mod series;
mod shadowed;
mod similar;

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, JoinOperator, LimitClause, ObjectName, OrderByExpr,
    OrderByKind, Query, Select, SelectFlavor, SelectItem, SetExpr, Statement as SqlStatement,
    Subscript, TableFactor, TableWithJoins, Value, Visit, VisitMut, Visitor, VisitorMut,
    WildcardAdditionalOptions,
};
use netabase_store::Error;

use crate::error::invalid;
use crate::exact;
use crate::statement::ident_of;

pub(crate) use aggregates::call;
pub(crate) use dialect::NetabaseDialect;
pub(crate) use explain::tokens as explain_tokens;
pub(crate) use hidden_lists::HiddenLists;
pub(crate) use hints::known as known_words;
pub(crate) use kept::{kept_expr, kept_query, read_expr};
pub(crate) use merged::{Joins, constraint_of, settle_joins, shows_wrong, wants_columns};
pub(crate) use names::{doubled, may_double, shown, shown_escaped, shown_schema, tell_from_star};
pub(crate) use nothing::is_nothing;
pub(crate) use outside::outside_queries;
pub(crate) use recursions::cast_twice;
pub(crate) use rows::from_of;

/// UNIONs in a row that may be copied.
const MAX_COPIED: usize = 250;

/// Makes a statement one that is planned as it is meant. Fails for what would be planned wrongly.
pub(crate) fn mend(statement: &mut Statement) -> Result<(), Error> {
    match statement {
        Statement::Statement(inner) => {
            let distinct = matches!(
                **inner,
                SqlStatement::CreateTable(_) | SqlStatement::CreateView(_)
            );
            let mut mender = Mender::of(inner, distinct);
            // What a definition keeps is read again with its columns.
            mender.digits = !matches!(
                **inner,
                SqlStatement::CreateTable(_)
                    | SqlStatement::AlterTable(_)
                    | SqlStatement::CreateIndex(_)
            );
            if let Some(returning) = returning_of(inner) {
                names::tell_returned_apart(returning);
            }
            match inner.visit(&mut mender) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(error) => Err(error),
            }
        }
        Statement::Explain(explain) => mend(&mut explain.statement),
        _ => Ok(()),
    }
}

/// The same for a query inside another statement.
pub(crate) fn mend_query(query: &mut Query) -> Result<(), Error> {
    mend_with(query, false)
}

fn mend_with(query: &mut Query, distinct: bool) -> Result<(), Error> {
    let mut mender = Mender::of(query, distinct);
    mender.digits = true;
    match query.visit(&mut mender) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The same for the query of CREATE TABLE … AS; what else it has is kept as it was written.
pub(crate) fn mend_source(statement: &mut Statement) -> Result<(), Error> {
    let Statement::Statement(inner) = statement else {
        return Ok(());
    };
    match inner.as_mut() {
        SqlStatement::CreateTable(create) => match &mut create.query {
            Some(query) => mend_with(query, true),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The same for an expression of a definition.
pub(crate) fn mend_expr(expr: &mut Expr) -> Result<(), Error> {
    let mut mender = Mender::of(expr, false);
    mender.digits = true;
    match expr.visit(&mut mender) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn returning_of(statement: &mut SqlStatement) -> Option<&mut Vec<SelectItem>> {
    match statement {
        SqlStatement::Insert(insert) => insert.returning.as_mut(),
        SqlStatement::Update(update) => update.returning.as_mut(),
        SqlStatement::Delete(delete) => delete.returning.as_mut(),
        _ => None,
    }
}

struct Mender {
    /// Whether the columns of the outermost query must have different names.
    distinct: bool,
    /// Whether numbers that are compared keep their digits: where the planner's rules come to know what
    /// they are compared with.
    digits: bool,
    /// Where the SELECTs of the queries stand that the walk is in.
    places: Vec<names::Place>,
    /// Whether the next query is a value, whose columns nobody names.
    is_value: bool,
    shadows: shadowed::Shadows,
    budget: budget::Budget,
}

impl Mender {
    fn of(statement: &impl datafusion::sql::sqlparser::ast::Visit, distinct: bool) -> Self {
        Self {
            distinct,
            digits: false,
            places: Vec::new(),
            is_value: false,
            shadows: shadowed::Shadows::default(),
            budget: budget::Budget::of(statement),
        }
    }
}

impl VisitorMut for Mender {
    type Break = Error;

    fn pre_visit_statement(&mut self, statement: &mut SqlStatement) -> ControlFlow<Error> {
        self.shadows.enter_statement(statement);
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let place = names::place_of(query, self.places.len(), self.distinct);
        self.places.push(place);
        self.shadows.enter(query);
        recursions::keep_casts(query);
        if let Some(lock) = query.locks.first() {
            return ControlFlow::Break(invalid(format!(
                "{lock} is not supported: rows are not locked, and a transaction that meets another's rows fails \
                 when it is committed; leave it out"
            )));
        }
        for select in selects_of(&mut query.body) {
            select_all(select);
            constants::keep_named(select);
        }
        if !self.is_value {
            names::order_by_names(query);
        }
        merged::order(query);
        series::name_series(query);
        let ordered = order_by_all(query).and_then(|()| named_windows::order(query));
        match ordered.and_then(|()| fetch_as_limit(query)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.shadows.leave();
        if let Some(place) = self.places.pop() {
            names::order_by_first(query, place);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        if !std::mem::take(&mut self.is_value) {
            names::name_computed(&mut select.projection);
        }
        rows::name_comparisons(&mut select.projection);
        if let Some(place) = self.places.last() {
            names::tell_apart(select, *place);
        }
        select.from.iter_mut().for_each(semi_joins);
        others::conditions(select);
        if let Some(condition) = &mut select.selection {
            idioms::any_in_condition(condition);
        }
        // What cannot be written out yet is once the columns are known.
        let is_kept = self.places.last() == Some(&names::Place::Distinct);
        match named_windows::expand(select).and_then(|()| merged::write_out(select, is_kept)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Error> {
        self.shadows.follow(table);
        lateral::read_unnest(table);
        lateral::name_unnested(table);
        lateral::name_columns(table);
        lateral::series_of_columns(table);
        lateral::number_unnested(table);
        let TableFactor::NestedJoin {
            table_with_joins, ..
        } = table
        else {
            return ControlFlow::Continue(());
        };
        match merged::check_joins(table_with_joins) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Err(error) = self.budget.spend() {
            return ControlFlow::Break(error);
        }
        if self.digits {
            exact::compared(expr);
        }
        self.is_value |= matches!(
            expr,
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. }
        );
        let mended = match expr {
            Expr::CompoundFieldAccess { root, access_chain } => {
                name_fields(root, access_chain);
                Ok(())
            }
            Expr::SimilarTo { .. } => similar_as_regex(expr),
            Expr::Array(_) => {
                lateral::list_as_call(expr);
                Ok(())
            }
            Expr::Collate { .. } => without_collation(expr),
            Expr::Cast { .. } => {
                exact::cast_digits(expr);
                idioms::checked_text(expr)
            }
            Expr::InSubquery { .. } => rows::in_subquery(expr),
            Expr::InList { .. } => rows::in_list(expr),
            _ if rows::are_compared(expr) => rows::compare(expr),
            _ => idioms::mend(expr),
        };
        match mended {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// Whether there is a query inside of something that is none.
pub(crate) fn has_query(part: &impl Visit) -> bool {
    struct Finder;
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }
    part.visit(&mut Finder).is_break()
}

/// Whether so many UNIONs are in a row somewhere that a copy of the statement would take a large stack.
pub(crate) fn is_deep(statement: &impl Visit) -> bool {
    struct Finder;
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            let (mut body, mut levels) = (query.body.as_ref(), 0);
            while let SetExpr::SetOperation { left, .. } = body {
                (body, levels) = (left.as_ref(), levels + 1);
            }
            match levels > MAX_COPIED {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    statement.visit(&mut Finder).is_break()
}

/// The SELECTs of a query, but for those in queries inside of it.
pub(crate) fn selects_of(body: &mut SetExpr) -> Vec<&mut Select> {
    match body {
        SetExpr::Select(select) => vec![select],
        SetExpr::SetOperation { left, right, .. } => {
            let mut both = selects_of(left);
            both.extend(selects_of(right));
            both
        }
        _ => Vec::new(),
    }
}

/// `….c` behind a subscript or a value: the planner wants `['c']`. The names that a chain
/// begins with may be a table's and a column's, which it finds out. Bounds of slices that are left out are written.
fn name_fields(root: &Expr, chain: &mut [AccessExpr]) {
    let is_name = matches!(root, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    let is_dot = |access: &AccessExpr| matches!(access, AccessExpr::Dot(_));
    let names = match is_name {
        true => chain.iter().take_while(|access| is_dot(access)).count(),
        false => 0,
    };
    for access in chain.iter_mut().skip(names) {
        if let AccessExpr::Dot(Expr::Identifier(name)) = access {
            let text = Value::SingleQuotedString(ident_of(name));
            let index = Expr::Value(text.into());
            *access = AccessExpr::Subscript(Subscript::Index { index });
        }
        if let AccessExpr::Subscript(Subscript::Slice {
            lower_bound,
            upper_bound,
            ..
        }) = access
        {
            // From the first value, and to the last.
            lower_bound.get_or_insert_with(|| number("1"));
            upper_bound.get_or_insert_with(|| number("-1"));
        }
    }
}

fn number(digits: &str) -> Expr {
    Expr::Value(Value::Number(digits.to_owned(), false).into())
}

/// `FETCH FIRST n ROWS ONLY` is `LIMIT n`.
fn fetch_as_limit(query: &mut Query) -> Result<(), Error> {
    let Some(fetch) = query.fetch.take() else {
        return Ok(());
    };
    if fetch.with_ties || fetch.percent {
        return Err(invalid(
            "FETCH with PERCENT or WITH TIES is not supported: write FETCH FIRST n ROWS ONLY, or \
             QUALIFY rank() OVER (ORDER BY …) <= n",
        ));
    }
    let quantity = fetch.quantity.unwrap_or_else(|| number("1"));
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(quantity),
                offset: None,
                limit_by: Vec::new(),
            });
            Ok(())
        }
        Some(LimitClause::LimitOffset { limit, .. }) if limit.is_none() => {
            *limit = Some(quantity);
            Ok(())
        }
        Some(_) => Err(invalid("a query has LIMIT and FETCH: leave one out")),
    }
}

/// `SIMILAR TO` as a regular expression over the whole text.
fn similar_as_regex(expr: &mut Expr) -> Result<(), Error> {
    let Expr::SimilarTo {
        negated,
        expr: text,
        pattern,
        escape_char,
    } = expr
    else {
        return Ok(());
    };
    let escape = match escape_char.as_ref().map(|escape| &escape.value) {
        None => Some('\\'),
        Some(Value::SingleQuotedString(escape)) => escape.chars().next(),
        Some(_) => return Err(similar::wrong("its ESCAPE is not a text")),
    };
    let Expr::Value(value) = pattern.as_ref() else {
        return Err(similar::wrong("its pattern is not a text"));
    };
    let Value::SingleQuotedString(pattern) = &value.value else {
        return Err(similar::wrong("its pattern is not a text"));
    };
    let regex = similar::regex(pattern, escape)?;
    let left = match text.as_ref() {
        Expr::BinaryOp { .. } => Box::new(Expr::Nested(text.clone())),
        _ => text.clone(),
    };
    *expr = Expr::BinaryOp {
        left,
        op: match negated {
            false => BinaryOperator::PGRegexMatch,
            true => BinaryOperator::PGRegexNotMatch,
        },
        right: Box::new(Expr::Value(Value::SingleQuotedString(regex).into())),
    };
    Ok(())
}

/// Texts are compared by their bytes, which is what COLLATE "C" asks for.
fn without_collation(expr: &mut Expr) -> Result<(), Error> {
    let Expr::Collate {
        expr: inner,
        collation,
    } = expr
    else {
        return Ok(());
    };
    let is_bytes = |name: &ObjectName| {
        let last = name.0.last().and_then(|part| part.as_ident());
        last.is_some_and(|name| {
            let name = name.value.to_ascii_lowercase();
            ["c", "posix", "ucs_basic", "binary", "default"].contains(&name.as_str())
        })
    };
    if !is_bytes(collation) {
        return Err(invalid(format!(
            "COLLATE {collation} is not supported: texts are compared by their bytes; compare lower(…) on \
             both sides to take large and small letters for the same"
        )));
    }
    *expr = Expr::Nested(inner.clone());
    Ok(())
}

/// `SEMI JOIN` and `ANTI JOIN` keep rows of the left.
fn semi_joins(tables: &mut TableWithJoins) {
    for join in &mut tables.joins {
        join.join_operator = match &mut join.join_operator {
            JoinOperator::Semi(on) => JoinOperator::LeftSemi(on.clone()),
            JoinOperator::Anti(on) => JoinOperator::LeftAnti(on.clone()),
            _ => continue,
        };
    }
}

/// `FROM t` is `SELECT * FROM t`.
fn select_all(select: &mut Select) {
    if matches!(select.flavor, SelectFlavor::FromFirstNoSelect) {
        select.flavor = SelectFlavor::Standard;
        let all = WildcardAdditionalOptions::default();
        select.projection = vec![SelectItem::Wildcard(all)];
    }
}

/// `ORDER BY ALL` is by every column, from left to right.
fn order_by_all(query: &mut Query) -> Result<(), Error> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Ok(());
    };
    let named = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
        )
    };
    let columns = select.projection.len();
    let all_named = select.projection.iter().all(named);
    let Some(OrderByKind::Expressions(orders)) = query.order_by.as_mut().map(|by| &mut by.kind)
    else {
        return Ok(());
    };
    if let [by] = orders.as_slice()
        && let Expr::Identifier(word) = &by.expr
        && word.quote_style.is_none()
        && word.value.eq_ignore_ascii_case("all")
    {
        if !all_named {
            return Err(invalid(
                "ORDER BY ALL is not supported where the columns are a *: write them, or their numbers",
            ));
        }
        let by = by.clone();
        let place = |at: usize| Expr::Value(Value::Number(at.to_string(), false).into());
        let each = (1..=columns).map(|at| OrderByExpr {
            expr: place(at),
            ..by.clone()
        });
        *orders = each.collect();
    }
    Ok(())
}
