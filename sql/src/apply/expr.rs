//! A subquery in an expression, as a column that a join adds to the rows.
//!
//! Invariant: the join adds columns, and neither adds rows nor takes any away.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result, ScalarValue, not_impl_err};
use datafusion::functions_aggregate::count::count;
use datafusion::functions_aggregate::first_last::first_value;
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::{
    Distinct, Expr, Filter, LogicalPlan, LogicalPlanBuilder, ScalarUDF, Subquery, binary_expr, lit,
    when,
};

use super::outer::{Names, Outer, columns, plain, project};
use super::push::{join_on_values, push};
use super::refs::{Use, bound_refs, clashes, free_refs, is_simple, is_single, subquery_of};
use crate::functions::OneRow;

/// Which subqueries DataFusion makes joins of, where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    Filter,
    Projection,
    Elsewhere,
}

/// Replaces the subqueries of an expression that DataFusion has no plan for by columns that `rows` gets.
pub(super) fn replaced(
    expr: Expr,
    (rows, stand): (&mut LogicalPlan, Stand),
    names: &mut Names,
) -> Result<Expr> {
    let replaced = expr.transform_up(|expr| {
        if !is_ours(&expr, rows, stand)? {
            return Ok(Transformed::no(expr));
        }
        let made = match expr {
            Expr::ScalarSubquery(subquery) => value(subquery, rows, names)?,
            Expr::Exists(Exists { subquery, negated }) => exists(subquery, negated, (rows, names))?,
            Expr::InSubquery(inner) => contains(inner, rows, names)?,
            Expr::SetComparison(inner) => compared(inner, rows, names)?,
            other => return Ok(Transformed::no(other)),
        };
        Ok(Transformed::yes(made))
    })?;
    Ok(replaced.data)
}

/// Whether an expression is a subquery that has to be replaced.
pub(super) fn is_ours(expr: &Expr, rows: &LogicalPlan, stand: Stand) -> Result<bool> {
    let Some(subquery) = subquery_of(expr) else {
        return Ok(false);
    };
    let plan = &subquery.subquery;
    let simple = |used| is_simple(plan, rows.schema(), used);
    Ok(match (expr, stand) {
        (Expr::ScalarSubquery(_), Stand::Elsewhere) => !free_refs(plan)?.is_empty(),
        (Expr::ScalarSubquery(_), _) => !simple(Use::Value)?,
        (Expr::Exists(_), Stand::Filter) => !simple(Use::Exists)?,
        (_, Stand::Filter) => !simple(Use::In)? || clashes(expr)?,
        _ => true,
    })
}

/// The subquery for the values of all rows; with it, the pairs by which it is joined.
struct Pushed {
    plan: LogicalPlan,
    on: Vec<(Expr, Expr)>,
    outer: Outer,
}

fn pushed(subquery: &LogicalPlan, rows: &LogicalPlan, names: &mut Names) -> Result<Pushed> {
    let refs = bound_refs(subquery, rows.schema())?;
    let outer = Outer::of(rows, &refs, names)?;
    let plan = push(subquery.clone(), &outer, names)?;
    let on = outer.columns.iter();
    let on = on.map(|(column, name)| (Expr::Column(column.clone()), plain(name)));
    Ok(Pushed {
        plan,
        on: on.collect(),
        outer,
    })
}

/// Lets rows have what stands in others for the same values.
fn add(rows: &mut LogicalPlan, made: LogicalPlan, on: Vec<(Expr, Expr)>) -> Result<()> {
    let left = std::mem::take(rows);
    *rows = join_on_values((left, made), JoinType::Left, (on, None))?;
    Ok(())
}

/// The one value of a subquery.
fn value(subquery: Subquery, rows: &mut LogicalPlan, names: &mut Names) -> Result<Expr> {
    let pushed = pushed(&subquery.subquery, rows, names)?;
    let Some(first) = columns(&pushed.plan).into_iter().next() else {
        return not_impl_err!("a subquery without columns");
    };
    let name = names.next("value");
    let mut shown = vec![first.clone().alias(&name)];
    let plan = match is_single(&subquery.subquery) {
        true => pushed.plan,
        false => {
            let (any, many) = (names.next("any"), names.next("many"));
            let aggregates = vec![
                first_value(first, Vec::new()).alias(&any),
                count(lit(1_i64)).alias(&many),
            ];
            let groups = pushed.outer.exprs();
            let one = ScalarUDF::from(OneRow::new()).call(vec![plain(&any), plain(&many)]);
            shown = vec![one.alias(&name)];
            LogicalPlanBuilder::from(pushed.plan)
                .aggregate(groups, aggregates)?
                .build()?
        }
    };
    shown.extend(pushed.outer.exprs());
    add(rows, project(shown, plan)?, pushed.on)?;
    Ok(plain(&name))
}

/// Whether a subquery has rows.
fn exists(
    subquery: Subquery,
    negated: bool,
    (rows, names): (&mut LogicalPlan, &mut Names),
) -> Result<Expr> {
    let pushed = pushed(&subquery.subquery, rows, names)?;
    let name = names.next("exists");
    let found = lit(true).alias(&name);
    let plan = match pushed.outer.is_empty() {
        true => LogicalPlanBuilder::from(project(vec![found], pushed.plan)?)
            .limit(0, Some(1))?
            .build()?,
        false => {
            let plan = distinct(project(pushed.outer.exprs(), pushed.plan)?);
            let shown = std::iter::once(found).chain(pushed.outer.exprs());
            project(shown.collect(), plan)?
        }
    };
    add(rows, plan, pushed.on)?;
    Ok(match negated {
        true => plain(&name).is_null(),
        false => plain(&name).is_not_null(),
    })
}

fn distinct(plan: LogicalPlan) -> LogicalPlan {
    LogicalPlan::Distinct(Distinct::All(Arc::new(plan)))
}

/// Whether a value is among those of a subquery, or may be, NULL being any.
fn contains(inner: InSubquery, rows: &mut LogicalPlan, names: &mut Names) -> Result<Expr> {
    let InSubquery {
        expr,
        subquery,
        negated,
    } = inner;
    let pushed = pushed(&subquery.subquery, rows, names)?;
    let Some(first) = columns(&pushed.plan).into_iter().next() else {
        return not_impl_err!("a subquery without columns");
    };
    let total = counts(&pushed, first.clone(), (rows, names))?;
    let name = names.next("found");
    let mut shown = vec![first.alias(&name)];
    shown.extend(pushed.outer.exprs());
    let found = LogicalPlanBuilder::from(project(shown, pushed.plan)?);
    let found = found.filter(plain(&name).is_not_null())?.build()?;
    let mut on = pushed.on;
    on.push((expr.as_ref().clone(), plain(&name)));
    add(rows, distinct(found), on)?;
    let unknown = expr
        .is_null()
        .or(plain(&total.values).lt(plain(&total.rows)));
    let null = lit(ScalarValue::Boolean(None));
    let is_in = when(plain(&name).is_not_null(), lit(true))
        .when(plain(&total.rows).is_null(), lit(false))
        .when(plain(&total.rows).eq(lit(0_i64)), lit(false))
        .when(unknown, null)
        .otherwise(lit(false))?;
    Ok(match negated {
        true => !is_in,
        false => is_in,
    })
}

/// How many rows a subquery has, and how many of them are not NULL.
struct Total {
    rows: String,
    values: String,
}

fn counts(
    pushed: &Pushed,
    value: Expr,
    (rows, names): (&mut LogicalPlan, &mut Names),
) -> Result<Total> {
    let total = Total {
        rows: names.next("rows"),
        values: names.next("values"),
    };
    let aggregates = vec![
        count(lit(1_i64)).alias(&total.rows),
        count(value).alias(&total.values),
    ];
    let made = LogicalPlanBuilder::from(pushed.plan.clone())
        .aggregate(pushed.outer.exprs(), aggregates)?
        .build()?;
    let (made, pairs) = {
        let mut shown = vec![plain(&total.rows), plain(&total.values)];
        shown.extend(pushed.outer.exprs());
        pushed.outer.renamed(project(shown, made)?, names)?
    };
    let on = pushed.on.iter().zip(pairs);
    let on = on.map(|((column, _), (_, other))| (column.clone(), other));
    add(rows, made, on.collect())?;
    Ok(total)
}

/// `x < ANY (…)` and `x < ALL (…)`.
fn compared(inner: SetComparison, rows: &mut LogicalPlan, names: &mut Names) -> Result<Expr> {
    let all = inner.quantifier == SetQuantifier::All;
    let op = match all {
        false => Some(inner.op),
        true => inner.op.negate(),
    };
    let (Some(op), Some(own)) = (op, columns(&inner.subquery.subquery).into_iter().next()) else {
        return not_impl_err!("{} with ANY or ALL of a subquery", inner.op);
    };
    // Rows have the value as a column, which a subquery can refer to.
    let name = names.next("compared");
    let mut shown = columns(rows);
    shown.push(inner.expr.as_ref().clone().alias(&name));
    *rows = project(shown, std::mem::take(rows))?;
    let (_, field) = rows.schema().qualified_field_with_unqualified_name(&name)?;
    let column = datafusion::common::Column::new_unqualified(&name);
    let outside = Expr::OuterReferenceColumn(Arc::clone(field), column);
    let holds = binary_expr(outside, op, own);
    let mut any = |condition: Expr| -> Result<Expr> {
        let filter = Filter::try_new(condition, Arc::clone(&inner.subquery.subquery))?;
        let subquery = Subquery {
            subquery: Arc::new(LogicalPlan::Filter(filter)),
            ..inner.subquery.clone()
        };
        exists(subquery, false, (rows, names))
    };
    let (yes, unknown) = (any(holds.clone())?, any(holds.is_null())?);
    let null = lit(ScalarValue::Boolean(None));
    let found = when(yes, lit(true))
        .when(unknown, null)
        .otherwise(lit(false))?;
    Ok(match all {
        true => !found,
        false => found,
    })
}
