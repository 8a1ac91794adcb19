//! One node of a plan whose expressions have subqueries, or that joins a LATERAL.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::{
    Aggregate, Expr, Filter, Join, LogicalPlan, Operator, Projection, Sort, Values, Window,
    binary_expr,
};

use super::expr::{Stand, is_ours, replaced};
use super::outer::{Names, Outer, columns, named, plain, project};
use super::push::{join_on_values, push, rows_of};
use super::refs::{Use, bound_refs, free_refs, is_simple, lateral_of, subquery_of};

type Node = Transformed<LogicalPlan>;

/// See [`super`].
pub(super) fn rewrite(plan: LogicalPlan, names: &mut Names) -> Result<Node> {
    match plan {
        LogicalPlan::Projection(node) if any(&node.expr, &node.input, Stand::Projection)? => {
            projection(node, names).map(Transformed::yes)
        }
        LogicalPlan::Filter(node) if any([&node.predicate], &node.input, Stand::Filter)? => {
            filter(node, names).map(Transformed::yes)
        }
        LogicalPlan::Sort(node) => sort(node, names),
        LogicalPlan::Aggregate(node)
            if any(
                node.group_expr.iter().chain(&node.aggr_expr),
                &node.input,
                Stand::Elsewhere,
            )? =>
        {
            aggregate(node, names).map(Transformed::yes)
        }
        LogicalPlan::Window(node) if any(&node.window_expr, &node.input, Stand::Elsewhere)? => {
            window(node, names).map(Transformed::yes)
        }
        LogicalPlan::Values(node) if has_subqueries(&node)? => {
            let made = rows_of(node)?.transform_up(|plan| rewrite(plan, names))?;
            Ok(Transformed::yes(made.data))
        }
        LogicalPlan::Join(node) => lateral(node, names),
        other => Ok(Transformed::no(other)),
    }
}

fn any<'a>(
    exprs: impl IntoIterator<Item = &'a Expr>,
    input: &LogicalPlan,
    stand: Stand,
) -> Result<bool> {
    for expr in exprs {
        if expr.exists(|expr| is_ours(expr, input, stand))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_subqueries(values: &Values) -> Result<bool> {
    for expr in values.values.iter().flatten() {
        if expr.exists(|expr| Ok(subquery_of(expr).is_some()))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Expressions without their subqueries, under the names that they had.
fn all_replaced(
    exprs: Vec<Expr>,
    own: impl Iterator<Item = datafusion::common::Column>,
    (rows, stand, names): (&mut LogicalPlan, Stand, &mut Names),
) -> Result<Vec<Expr>> {
    exprs
        .into_iter()
        .zip(own)
        .map(|(expr, column)| Ok(named(replaced(expr, (rows, stand), names)?, &column)))
        .collect()
}

fn projection(node: Projection, names: &mut Names) -> Result<LogicalPlan> {
    let own = node.schema.columns().into_iter();
    let mut rows = Arc::unwrap_or_clone(node.input);
    let exprs = all_replaced(node.expr, own, (&mut rows, Stand::Projection, names))?;
    project(exprs, rows)
}

fn filter(node: Filter, names: &mut Names) -> Result<LogicalPlan> {
    let mut rows = Arc::unwrap_or_clone(node.input);
    let shown = columns(&rows);
    let predicate = replaced(node.predicate, (&mut rows, Stand::Filter), names)?;
    let filter = Filter::try_new(predicate, Arc::new(rows))?;
    project(shown, LogicalPlan::Filter(filter))
}

/// ORDER BY; what its subqueries refer to may be below the columns that are shown.
fn sort(node: Sort, names: &mut Names) -> Result<Node> {
    let by = || node.expr.iter().map(|by| &by.expr);
    if !any(by(), &node.input, Stand::Elsewhere)? {
        return Ok(Transformed::no(LogicalPlan::Sort(node)));
    }
    let shown = columns(&node.input);
    let mut rows = Arc::unwrap_or_clone(node.input);
    for by in &node.expr {
        rows = with_refs(rows, &by.expr)?;
    }
    let mut order = Vec::with_capacity(node.expr.len());
    for mut by in node.expr {
        by.expr = replaced(by.expr, (&mut rows, Stand::Elsewhere), names)?;
        order.push(by);
    }
    let sort = Sort {
        expr: order,
        input: Arc::new(rows),
        fetch: node.fetch,
    };
    project(shown, LogicalPlan::Sort(sort)).map(Transformed::yes)
}

/// Rows with the columns that the subqueries of an expression refer to.
fn with_refs(rows: LogicalPlan, expr: &Expr) -> Result<LogicalPlan> {
    let mut wanted = Vec::new();
    expr.exists(|expr| {
        if let Some(subquery) = subquery_of(expr) {
            wanted.extend(free_refs(&subquery.subquery)?);
        }
        Ok(false)
    })?;
    wanted.retain(|(column, _)| !rows.schema().has_column(column));
    match rows {
        LogicalPlan::Projection(mut node) if !wanted.is_empty() => {
            let below = node.input.schema();
            let missing = wanted.into_iter().map(|(column, _)| column);
            for column in missing.filter(|column| below.has_column(column)) {
                let expr = Expr::Column(column);
                if !node.expr.contains(&expr) {
                    node.expr.push(expr);
                }
            }
            project(node.expr, Arc::unwrap_or_clone(node.input))
        }
        other => Ok(other),
    }
}

fn aggregate(node: Aggregate, names: &mut Names) -> Result<LogicalPlan> {
    let own = node.schema.columns();
    let mut rows = Arc::unwrap_or_clone(node.input);
    let (of_groups, of_aggregates) = own.split_at(node.group_expr.len().min(own.len()));
    let groups = all_replaced(
        node.group_expr,
        of_groups.iter().cloned(),
        (&mut rows, Stand::Elsewhere, names),
    )?;
    let aggregates = all_replaced(
        node.aggr_expr,
        of_aggregates.iter().cloned(),
        (&mut rows, Stand::Elsewhere, names),
    )?;
    let made = Aggregate::try_new(Arc::new(rows), groups, aggregates)?;
    Ok(LogicalPlan::Aggregate(made))
}

fn window(node: Window, names: &mut Names) -> Result<LogicalPlan> {
    let own = node.schema.columns();
    let width = node.input.schema().fields().len();
    let mut rows = Arc::unwrap_or_clone(node.input);
    let exprs = all_replaced(
        node.window_expr,
        own.iter().skip(width).cloned(),
        (&mut rows, Stand::Elsewhere, names),
    )?;
    let made = Window::try_new(exprs, Arc::new(rows))?;
    let shown = own.into_iter().map(Expr::Column).collect();
    project(shown, LogicalPlan::Window(made))
}

/// A join with a LATERAL that refers to the left side.
fn lateral(node: Join, names: &mut Names) -> Result<Node> {
    let kept = |node| Ok(Transformed::no(LogicalPlan::Join(node)));
    if !matches!(node.join_type, JoinType::Inner | JoinType::Left) {
        return kept(node);
    }
    let Some(subquery) = lateral_of(&node.right) else {
        return kept(node);
    };
    let refs = bound_refs(&subquery.subquery, node.left.schema())?;
    if refs.is_empty() || is_simple(&subquery.subquery, node.left.schema(), Use::Lateral)? {
        return kept(node);
    }
    let own = node.schema.columns();
    let outer = Outer::of(&node.left, &refs, names)?;
    let right = push(Arc::unwrap_or_clone(node.right), &outer, names)?;
    let on = outer.columns.iter();
    let on = on.map(|(column, name)| (Expr::Column(column.clone()), plain(name)));
    let pairs = node.on.into_iter();
    let pairs = pairs.map(|(one, other)| binary_expr(one, Operator::Eq, other));
    let filter = pairs.chain(node.filter).reduce(Expr::and);
    let left = Arc::unwrap_or_clone(node.left);
    let made = join_on_values((left, right), node.join_type, (on.collect(), filter))?;
    let shown = own.into_iter().map(Expr::Column).collect();
    project(shown, made).map(Transformed::yes)
}
