//! `id IN (SELECT c.x FROM c WHERE c.y = t.y)` with integers of different widths.
//!
//! What the subquery gives is cast to the type that it is compared in, under the name that it had; the columns that it is
//! correlated by are added to it later, and one of them may have that name, too. It gets a name of its own.
//!
//! So does what `x < ANY (SELECT c.x FROM c)` looks at: it becomes EXISTS with `x < c.x` as the condition, and where the row
//! around it has a `c.x` as well, which of a table that is read twice it has, that would be compared with itself.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::{InSubquery, SetComparison};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Subquery};
use datafusion::optimizer::AnalyzerRule;

/// What is looked for is called so.
const NAME: &str = "__value";

/// Names what is cast. See the module.
#[derive(Debug)]
pub(super) struct NamedCasts;

impl AnalyzerRule for NamedCasts {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            node.map_expressions(|expr| expr.transform_up(named))
        })
        .data()
    }

    fn name(&self) -> &str {
        "named_casts"
    }
}

fn named(expr: Expr) -> Result<Transformed<Expr>> {
    let subquery = match &expr {
        Expr::InSubquery(asked) => named_in(asked)?,
        Expr::SetComparison(asked) => named_alone(&asked.subquery)?,
        _ => None,
    };
    Ok(match (subquery, expr) {
        (Some(subquery), Expr::InSubquery(asked)) => {
            Transformed::yes(Expr::InSubquery(InSubquery { subquery, ..asked }))
        }
        (Some(subquery), Expr::SetComparison(asked)) => {
            Transformed::yes(Expr::SetComparison(SetComparison { subquery, ..asked }))
        }
        (_, expr) => Transformed::no(expr),
    })
}

/// Of `max(x) IN (SELECT max(x) …)`, both sides are called alike.
fn named_in(asked: &InSubquery) -> Result<Option<Subquery>> {
    let columns = asked.subquery.subquery.schema().columns();
    let compared = asked.expr.column_refs();
    let is_alike = |column: &Column| column.relation.is_none() && compared.contains(column);
    match columns.iter().any(is_alike) {
        true => named_alone(&asked.subquery),
        false => named_cast(&asked.subquery),
    }
}

/// A subquery of one column, which nothing else is called as.
fn named_alone(subquery: &Subquery) -> Result<Option<Subquery>> {
    if let Some(named) = named_cast(subquery)? {
        return Ok(Some(named));
    }
    match subquery.subquery.schema().columns().as_slice() {
        [column] if *column != Column::new_unqualified(NAME) => {
            with_name(subquery, Expr::Column(column.clone()), &subquery.subquery).map(Some)
        }
        _ => Ok(None),
    }
}

/// A subquery whose value is cast, if it is tied to the rows around it.
fn named_cast(subquery: &Subquery) -> Result<Option<Subquery>> {
    let LogicalPlan::Projection(projection) = subquery.subquery.as_ref() else {
        return Ok(None);
    };
    match projection.expr.as_slice() {
        [cast @ Expr::Cast(_)] if !subquery.outer_ref_columns.is_empty() => {
            with_name(subquery, cast.clone(), &projection.input).map(Some)
        }
        _ => Ok(None),
    }
}

fn with_name(subquery: &Subquery, value: Expr, rows: &Arc<LogicalPlan>) -> Result<Subquery> {
    let named = Projection::try_new(vec![value.alias(NAME)], Arc::clone(rows))?;
    Ok(subquery.with_plan(Arc::new(LogicalPlan::Projection(named))))
}
