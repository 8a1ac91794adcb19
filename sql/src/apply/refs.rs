//! What a subquery refers to outside of itself, and whether DataFusion can make a join of it.

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, Subquery};

/// Columns of queries around.
pub(super) type Refs = Vec<(Column, FieldRef)>;

/// The subquery of an expression that is one.
pub(super) fn subquery_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery)
        | Expr::Exists(Exists { subquery, .. })
        | Expr::InSubquery(InSubquery { subquery, .. })
        | Expr::SetComparison(SetComparison { subquery, .. }) => Some(subquery),
        _ => None,
    }
}

/// Whether what a subquery is compared with is called as a column that it has, while it is tied to the rows around it:
/// a table that is read inside and outside. In the condition of DataFusion's join both would be the inner one.
pub(super) fn clashes(expr: &Expr) -> Result<bool> {
    let (compared, plan) = match expr {
        Expr::InSubquery(inner) => (&inner.expr, &inner.subquery.subquery),
        Expr::SetComparison(inner) => (&inner.expr, &inner.subquery.subquery),
        _ => return Ok(false),
    };
    if free_refs(plan)?.is_empty() {
        return Ok(false);
    }
    let columns = compared.column_refs();
    let mut clash = false;
    plan.apply(|node| {
        clash |= columns.iter().any(|c| node.schema().has_column(c));
        // From below another name comes up only what is tied there.
        let is_hidden = match node {
            LogicalPlan::SubqueryAlias(alias) => free_refs(&alias.input)?.is_empty(),
            _ => false,
        };
        Ok(match (clash, is_hidden) {
            (true, _) => TreeNodeRecursion::Stop,
            (false, true) => TreeNodeRecursion::Jump,
            (false, false) => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(clash)
}

/// The columns that a plan refers to and does not have.
pub(super) fn free_refs(plan: &LogicalPlan) -> Result<Refs> {
    let mut refs = Refs::new();
    collect(plan, &mut refs)?;
    Ok(refs)
}

/// Those of them that rows of this schema have.
pub(super) fn bound_refs(plan: &LogicalPlan, outer: &DFSchema) -> Result<Refs> {
    let mut refs = free_refs(plan)?;
    refs.retain(|(column, _)| outer.has_column(column));
    Ok(refs)
}

fn collect(plan: &LogicalPlan, refs: &mut Refs) -> Result<()> {
    for expr in plan.expressions() {
        own_refs(&expr, refs)?;
        for inner in inner_refs(&expr)? {
            let inputs = plan.inputs();
            let bound = |input: &&LogicalPlan| input.schema().has_column(&inner.0);
            if !inputs.iter().any(bound) {
                add(refs, inner);
            }
        }
    }
    if let LogicalPlan::Join(join) = plan {
        collect(&join.left, refs)?;
        let lateral = lateral_of(&join.right).is_some();
        for right in free_refs(&join.right)? {
            if !(lateral && join.left.schema().has_column(&right.0)) {
                add(refs, right);
            }
        }
        return Ok(());
    }
    for input in plan.inputs() {
        collect(input, refs)?;
    }
    Ok(())
}

fn add(refs: &mut Refs, found: (Column, FieldRef)) {
    if !refs.iter().any(|(column, _)| *column == found.0) {
        refs.push(found);
    }
}

/// The columns of queries around in an expression, without its subqueries.
fn own_refs(expr: &Expr, refs: &mut Refs) -> Result<()> {
    expr.apply(|expr| {
        if let Expr::OuterReferenceColumn(field, column) = expr {
            add(refs, (column.clone(), field.clone()));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// What the subqueries in an expression refer to.
fn inner_refs(expr: &Expr) -> Result<Refs> {
    let mut refs = Refs::new();
    expr.apply(|expr| {
        if let Some(subquery) = subquery_of(expr) {
            for found in free_refs(&subquery.subquery)? {
                add(&mut refs, found);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(refs)
}

/// The subquery of a LATERAL, perhaps under other names.
pub(super) fn lateral_of(plan: &LogicalPlan) -> Option<&Subquery> {
    match plan {
        LogicalPlan::Subquery(subquery) => Some(subquery),
        LogicalPlan::SubqueryAlias(alias) => lateral_of(&alias.input),
        LogicalPlan::Projection(projection) => lateral_of(&projection.input),
        _ => None,
    }
}

/// How a subquery is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Value,
    Exists,
    In,
    Lateral,
}

/// Whether DataFusion makes the right join of a subquery of these outer rows.
pub(super) fn is_simple(plan: &LogicalPlan, outer: &DFSchema, used: Use) -> Result<bool> {
    let refs = free_refs(plan)?;
    if refs.iter().any(|(column, _)| !outer.has_column(column)) {
        return Ok(false);
    }
    if refs.is_empty() {
        return Ok(true);
    }
    if used == Use::Value && !is_one_aggregate(plan) {
        return Ok(false);
    }
    Ok(fits(plan, (used, false, false))? && !names_two(plan, used)?)
}

/// Whether two columns of one name come up from a subquery: those that it gives, and those that are compared with the
/// rows around it. DataFusion joins the subquery under a name of its own, where both would be the same.
fn names_two(plan: &LogicalPlan, used: Use) -> Result<bool> {
    let mut columns: Vec<Column> = match used {
        Use::Exists => Vec::new(),
        Use::Value | Use::In | Use::Lateral => plan.schema().columns(),
    };
    plan.apply(|node| {
        if let LogicalPlan::Filter(filter) = node {
            let parts = split_conjunction(&filter.predicate);
            let tied = parts.into_iter().filter(|part| part.contains_outer());
            columns.extend(tied.flat_map(Expr::column_refs).cloned());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    columns.sort();
    columns.dedup();
    let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    names.sort_unstable();
    Ok(names.windows(2).any(|two| matches!(two, [a, b] if a == b)))
}

/// Whether the only row of a value is that of an aggregate.
fn is_one_aggregate(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_one_aggregate(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_one_aggregate(&alias.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}

/// Whether references are where they can be pulled up from. `filtered` and `aggregated` tell whether that
/// is above.
fn fits(plan: &LogicalPlan, (used, filtered, aggregated): (Use, bool, bool)) -> Result<bool> {
    if free_refs(plan)?.is_empty() {
        return Ok(true);
    }
    let refers = |expr: &Expr| -> Result<bool> {
        let mut refs = inner_refs(expr)?;
        own_refs(expr, &mut refs)?;
        Ok(!refs.is_empty())
    };
    match plan {
        LogicalPlan::Filter(filter) => {
            for part in split_conjunction(&filter.predicate) {
                let equality = used != Use::Value && !aggregated || is_equality(part);
                if refers(part)? && !(equality && inner_refs(part)?.is_empty()) {
                    return Ok(false);
                }
            }
            fits(&filter.input, (used, true, aggregated))
        }
        LogicalPlan::Aggregate(aggregate) => {
            let grouped = !aggregate.group_expr.is_empty();
            if filtered || aggregated || (grouped && used != Use::Exists) {
                return Ok(false);
            }
            for expr in plan.expressions() {
                if refers(&expr)? {
                    return Ok(false);
                }
            }
            if matches!(used, Use::Exists | Use::In) {
                return Ok(false);
            }
            fits(&aggregate.input, (used, filtered, true))
        }
        LogicalPlan::Projection(projection) => {
            // Where no row matches, the others get no value beside that of the aggregate.
            let is_computed = |expr: &Expr| !matches!(expr.clone().unalias(), Expr::Column(_));
            let mut computed = projection.expr.iter().filter(|expr| is_computed(expr));
            if used == Use::Lateral && is_one_aggregate(plan) && computed.next().is_some() {
                return Ok(false);
            }
            for expr in plan.expressions() {
                if refers(&expr)? {
                    return Ok(false);
                }
            }
            inputs_fit(plan, (used, filtered, aggregated))
        }
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
            for expr in plan.expressions() {
                if refers(&expr)? {
                    return Ok(false);
                }
            }
            if lateral_of(&join.right).is_some() {
                return Ok(false);
            }
            inputs_fit(plan, (used, filtered, aggregated))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            Ok(!hides(&alias.input)? && inputs_fit(plan, (used, filtered, aggregated))?)
        }
        LogicalPlan::Distinct(_) if matches!(used, Use::Exists | Use::In) => {
            inputs_fit(plan, (used, filtered, aggregated))
        }
        _ => Ok(false),
    }
}

/// Whether what is compared with the row around does not come up to a plan's columns, so that under another name nobody
/// has it.
fn hides(plan: &LogicalPlan) -> Result<bool> {
    let mut hidden = false;
    plan.apply(|node| {
        if let LogicalPlan::Filter(filter) = node {
            let parts = split_conjunction(&filter.predicate);
            let tied = parts.into_iter().filter(|part| part.contains_outer());
            let mut columns = tied.flat_map(Expr::column_refs);
            hidden |= columns.any(|column| !plan.schema().has_column(column));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(hidden)
}

fn inputs_fit(plan: &LogicalPlan, state: (Use, bool, bool)) -> Result<bool> {
    for input in plan.inputs() {
        if !fits(input, state)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `outer = inner` of two columns, which also says by what the rows of an aggregate are grouped.
fn is_equality(expr: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = expr
    else {
        return false;
    };
    fn uncast(expr: &Expr) -> &Expr {
        match expr {
            Expr::Cast(cast) => &cast.expr,
            _ => expr,
        }
    }
    let is_outer = |expr: &Expr| matches!(uncast(expr), Expr::OuterReferenceColumn(..));
    let is_inner = |expr: &Expr| matches!(uncast(expr), Expr::Column(_));
    (is_outer(left) && is_inner(right)) || (is_outer(right) && is_inner(left))
}

/// Whether a plan has one row at most, for every row around it.
pub(super) fn is_single(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_single(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_single(&alias.input),
        LogicalPlan::Filter(filter) => is_single(&filter.input),
        LogicalPlan::Sort(sort) => is_single(&sort.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(_) => true,
        other => other.max_rows().is_some_and(|rows| rows <= 1),
    }
}
