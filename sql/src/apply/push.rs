//! A subquery, run for many outer rows at once.
//!
//! Invariant: [`push`] gives the columns of the plan, as they are called there, and behind them those of
//! the outer values; for every outer row the rows that the plan has for it, no more and no fewer.

use std::sync::Arc;

use datafusion::common::{
    Column, DFSchema, JoinType, NullEquality, Result, ScalarValue, not_impl_err,
};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::expr::{AggregateFunction, Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::{
    Aggregate, Distinct, EmptyRelation, Expr, ExprFunctionExt, ExprSchemable, FetchType, Filter,
    Join, Limit, LogicalPlan, LogicalPlanBuilder, Operator, SkipType, Union, Unnest, Values,
    Window, binary_expr, lit, when,
};

use super::outer::{Names, Outer, columns, cross, named, plain, project};

/// See the module.
pub(super) fn push(plan: LogicalPlan, outer: &Outer, names: &mut Names) -> Result<LogicalPlan> {
    if outer.is_empty() {
        return Ok(plan);
    }
    if !outer.is_in(&plan)? {
        return cross(plan, outer.rows.as_ref().clone());
    }
    match plan {
        LogicalPlan::Projection(projection) => {
            let own = projection.schema.columns();
            let input = push(Arc::unwrap_or_clone(projection.input), outer, names)?;
            shown(projection.expr, &own, (input, outer))
        }
        LogicalPlan::Filter(filter) => {
            let input = push(Arc::unwrap_or_clone(filter.input), outer, names)?;
            let predicate = outer.bind(filter.predicate)?;
            let filter = Filter::try_new(predicate, Arc::new(input))?;
            Ok(LogicalPlan::Filter(filter))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let own = alias.schema.columns();
            let input = push(Arc::unwrap_or_clone(alias.input), outer, names)?;
            shown(columns(&input), &own, (input, outer))
        }
        LogicalPlan::Subquery(subquery) => {
            push(Arc::unwrap_or_clone(subquery.subquery), outer, names)
        }
        // Which row comes first matters to a LIMIT alone.
        LogicalPlan::Sort(sort) => match sort.fetch {
            None => push(Arc::unwrap_or_clone(sort.input), outer, names),
            Some(fetch) => {
                let input = Arc::unwrap_or_clone(sort.input);
                limited(input, (sort.expr, 0, Some(fetch)), (outer, names))
            }
        },
        LogicalPlan::Limit(limit) => limit_of(limit, outer, names),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let input = push(Arc::unwrap_or_clone(input), outer, names)?;
            Ok(LogicalPlan::Distinct(Distinct::All(Arc::new(input))))
        }
        LogicalPlan::Aggregate(aggregate) => aggregated(aggregate, outer, names),
        LogicalPlan::Window(window) => windowed(window, outer, names),
        LogicalPlan::Union(union) => united(union, outer, names),
        LogicalPlan::Join(join) => joined(join, outer, names),
        LogicalPlan::Unnest(unnest) => unnested(unnest, outer, names),
        LogicalPlan::Values(values) => push(rows_of(values)?, outer, names),
        other => not_impl_err!(
            "a subquery that depends on the rows around it in this place ({}): write it as a join",
            other.display()
        ),
    }
}

/// Expressions under the names of columns, and the outer values behind them.
fn shown(
    exprs: Vec<Expr>,
    own: &[Column],
    (input, outer): (LogicalPlan, &Outer),
) -> Result<LogicalPlan> {
    let exprs = exprs.into_iter().zip(own);
    let exprs = exprs.map(|(expr, column)| Ok(named(outer.bind(expr)?, column)));
    let mut exprs: Vec<Expr> = exprs.collect::<Result<_>>()?;
    exprs.extend(outer.exprs());
    project(exprs, input)
}

/// LIMIT, of each outer row.
fn limit_of(limit: Limit, outer: &Outer, names: &mut Names) -> Result<LogicalPlan> {
    let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
        (limit.get_skip_type()?, limit.get_fetch_type()?)
    else {
        return not_impl_err!("a LIMIT that is no number, in a subquery of the rows around it");
    };
    match Arc::unwrap_or_clone(limit.input) {
        // What a projection or another name does to each row, it does to fewer rows, too.
        LogicalPlan::Projection(projection) => {
            let own = projection.schema.columns();
            let inner = Limit {
                skip: limit.skip,
                fetch: limit.fetch,
                input: projection.input,
            };
            let input = limit_of(inner, outer, names)?;
            shown(projection.expr, &own, (input, outer))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let own = alias.schema.columns();
            let inner = Limit {
                skip: limit.skip,
                fetch: limit.fetch,
                input: alias.input,
            };
            let input = limit_of(inner, outer, names)?;
            shown(columns(&input), &own, (input, outer))
        }
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
            let input = Arc::unwrap_or_clone(sort.input);
            limited(input, (sort.expr, skip, fetch), (outer, names))
        }
        input => limited(input, (Vec::new(), skip, fetch), (outer, names)),
    }
}

/// Some rows of each outer row, in an order.
fn limited(
    input: LogicalPlan,
    (order, skip, fetch): (Vec<SortExpr>, usize, Option<usize>),
    (outer, names): (&Outer, &mut Names),
) -> Result<LogicalPlan> {
    let input = match outer.is_in(&input)? {
        true => push(input, outer, names)?,
        false => cross(input, outer.rows.as_ref().clone())?,
    };
    let shown = columns(&input);
    let order = order.into_iter().map(|by| {
        let expr = outer.bind(by.expr)?;
        Ok(SortExpr::new(expr, by.asc, by.nulls_first))
    });
    let order: Vec<SortExpr> = order.collect::<Result<_>>()?;
    let nth = names.next("nth");
    let number = row_number()
        .partition_by(outer.exprs())
        .order_by(order)
        .build()?;
    let counted = LogicalPlanBuilder::from(input).window([number.alias(&nth)])?;
    let mut wanted = plain(&nth).gt(lit(skip as u64));
    if let Some(fetch) = fetch {
        let last = skip.saturating_add(fetch) as u64;
        wanted = wanted.and(plain(&nth).lt_eq(lit(last)));
    }
    project(shown, counted.filter(wanted)?.build()?)
}

/// An aggregate, of each outer row.
fn aggregated(aggregate: Aggregate, outer: &Outer, names: &mut Names) -> Result<LogicalPlan> {
    let own = aggregate.schema.columns();
    let grouped = !aggregate.group_expr.is_empty();
    if matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)]) {
        return not_impl_err!("GROUPING SETS in a subquery that depends on the rows around it");
    }
    let empty: Vec<Option<ScalarValue>> = aggregate
        .aggr_expr
        .iter()
        .map(|expr| of_no_rows(expr, &aggregate))
        .collect::<Result<_>>()?;
    let input = push(Arc::unwrap_or_clone(aggregate.input), outer, names)?;
    let bound = |exprs: Vec<Expr>, own: &[Column]| -> Result<Vec<Expr>> {
        let exprs = exprs.into_iter().zip(own);
        exprs
            .map(|(expr, column)| Ok(named(outer.bind(expr)?, column)))
            .collect()
    };
    let (of_groups, of_aggregates) = own.split_at(aggregate.group_expr.len().min(own.len()));
    let mut groups = bound(aggregate.group_expr, of_groups)?;
    groups.extend(outer.exprs());
    let aggregates = bound(aggregate.aggr_expr, of_aggregates)?;
    let made = Aggregate::try_new(Arc::new(input), groups, aggregates)?;
    let made = LogicalPlan::Aggregate(made);
    if grouped {
        let exprs = own.iter().cloned().map(Expr::Column).collect();
        return shown(exprs, &own, (made, outer));
    }
    // An outer row without a row of its own has the aggregate of none.
    let mut exprs: Vec<Expr> = own.iter().cloned().map(Expr::Column).collect();
    exprs.extend(outer.exprs());
    let (made, pairs) = outer.renamed(project(exprs, made)?, names)?;
    let all = join_on_values(
        (outer.rows.as_ref().clone(), made),
        JoinType::Left,
        (pairs, None),
    )?;
    let exprs = own.iter().zip(empty).map(|(column, empty)| {
        let value = Expr::Column(column.clone());
        match empty {
            None => Ok(value),
            Some(empty) => when(value.clone().is_null(), lit(empty)).otherwise(value),
        }
    });
    let exprs: Vec<Expr> = exprs.collect::<Result<_>>()?;
    shown(exprs, &own, (all, outer))
}

/// What an aggregate gives without rows, if that is not NULL.
fn of_no_rows(expr: &Expr, aggregate: &Aggregate) -> Result<Option<ScalarValue>> {
    let kind = expr.get_type(aggregate.input.schema().as_ref());
    let value = match bare(expr) {
        Expr::AggregateFunction(AggregateFunction { func, .. }) => func.default_value(&kind?)?,
        _ => return Ok(None),
    };
    Ok((!value.is_null()).then_some(value))
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => bare(&alias.expr),
        other => other,
    }
}

/// Windows, of each outer row.
fn windowed(window: Window, outer: &Outer, names: &mut Names) -> Result<LogicalPlan> {
    let own = window.schema.columns();
    let width = window.input.schema().fields().len();
    let input = push(Arc::unwrap_or_clone(window.input), outer, names)?;
    let exprs = window.window_expr.into_iter().zip(own.iter().skip(width));
    let exprs = exprs.map(|(expr, column)| {
        let Expr::WindowFunction(mut function) = outer.bind(bare(&expr).clone())? else {
            return not_impl_err!("this window in a subquery of the rows around it");
        };
        let WindowFunction { params, .. } = function.as_mut();
        params.partition_by.extend(outer.exprs());
        Ok(named(Expr::WindowFunction(function), column))
    });
    let exprs: Vec<Expr> = exprs.collect::<Result<_>>()?;
    let made = LogicalPlan::Window(Window::try_new(exprs, Arc::new(input))?);
    let exprs = own.iter().cloned().map(Expr::Column).collect();
    shown(exprs, &own, (made, outer))
}

fn united(union: Union, outer: &Outer, names: &mut Names) -> Result<LogicalPlan> {
    let own = union.schema.columns();
    let inputs = union.inputs.into_iter().map(|input| {
        let input = push(Arc::unwrap_or_clone(input), outer, names)?;
        // A union takes its names from all of its sides.
        let exprs = columns(&input).into_iter().zip(own.iter());
        let exprs = exprs.map(|(expr, column)| match expr {
            Expr::Column(inner) if inner.name == column.name => Expr::Column(inner),
            other => named(other, column),
        });
        let exprs: Vec<Expr> = exprs.chain(outer.exprs()).collect();
        Ok(Arc::new(project(exprs, input)?))
    });
    let inputs: Vec<Arc<LogicalPlan>> = inputs.collect::<Result<_>>()?;
    let made = LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?);
    let exprs = columns(&made);
    let last = exprs.len().saturating_sub(outer.columns.len());
    let mut shown: Vec<Expr> = Vec::with_capacity(exprs.len());
    for (at, expr) in exprs.into_iter().enumerate() {
        let column = match own.get(at) {
            Some(column) if at < last => column.clone(),
            _ => match outer.columns.get(at - last) {
                Some((_, name)) => Column::new_unqualified(name),
                None => continue,
            },
        };
        shown.push(named(expr, &column));
    }
    project(shown, made)
}

fn joined(join: Join, outer: &Outer, names: &mut Names) -> Result<LogicalPlan> {
    let own = join.schema.columns();
    let on_left = outer.is_in(&join.left)?;
    let on_right = outer.is_in(&join.right)?;
    let left_always = match join.join_type {
        JoinType::Inner => false,
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => true,
        other => {
            return not_impl_err!(
                "a {other} JOIN in a subquery that depends on the rows around it: turn its sides around"
            );
        }
    };
    let (mut left, mut right) = (
        Arc::unwrap_or_clone(join.left),
        Arc::unwrap_or_clone(join.right),
    );
    let mut pairs = Vec::new();
    if on_left || left_always {
        left = push(left, outer, names)?;
        if on_right {
            let pushed = push(right, outer, names)?;
            (right, pairs) = outer.renamed(pushed, names)?;
        }
    } else {
        right = push(right, outer, names)?;
    }
    let mut filters = Vec::new();
    for (one, other) in pairs {
        filters.push(binary_expr(one, Operator::IsNotDistinctFrom, other));
    }
    filters.extend(join.filter.map(|filter| outer.bind(filter)).transpose()?);
    let on = join.on.into_iter();
    let on = on.map(|(one, other)| Ok((outer.bind(one)?, outer.bind(other)?)));
    let made = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on.collect::<Result<_>>()?,
        filters.into_iter().reduce(Expr::and),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    let exprs = own.iter().cloned().map(Expr::Column).collect();
    shown(exprs, &own, (LogicalPlan::Join(made), outer))
}

/// A join where outer values are the same, NULL being the same as NULL.
pub(super) fn join_on_values(
    (left, right): (LogicalPlan, LogicalPlan),
    join_type: JoinType,
    (on, filter): (Vec<(Expr, Expr)>, Option<Expr>),
) -> Result<LogicalPlan> {
    let join = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        filter,
        join_type,
        datafusion::common::JoinConstraint::On,
        NullEquality::NullEqualsNull,
        false,
    )?;
    Ok(LogicalPlan::Join(join))
}

fn unnested(unnest: Unnest, outer: &Outer, names: &mut Names) -> Result<LogicalPlan> {
    let input = push(Arc::unwrap_or_clone(unnest.input), outer, names)?;
    LogicalPlanBuilder::from(input)
        .unnest_columns_with_options(unnest.exec_columns, unnest.options)?
        .build()
}

/// VALUES as a union of single rows.
pub(super) fn rows_of(values: Values) -> Result<LogicalPlan> {
    let own = values.schema.columns();
    let rows = values.values.into_iter().map(|row| {
        let one = LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: true,
            schema: Arc::new(DFSchema::empty()),
        });
        let exprs = row.into_iter().zip(&own);
        let exprs = exprs.map(|(expr, column)| named(expr, column));
        Ok(Arc::new(project(exprs.collect(), one)?))
    });
    let mut rows: Vec<Arc<LogicalPlan>> = rows.collect::<Result<_>>()?;
    match (rows.pop(), rows.is_empty()) {
        (Some(only), true) => Ok(Arc::unwrap_or_clone(only)),
        (Some(last), false) => {
            rows.push(last);
            let union = Union::try_new_with_loose_types(rows)?;
            Ok(LogicalPlan::Union(union))
        }
        (None, _) => not_impl_err!("VALUES without rows"),
    }
}
