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
use datafusion::logical_expr::expr::InSubquery;
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
            node.map_expressions(|expr| expr.transform_up(|expr| Ok(named(expr))))
        })
        .data()
    }

    fn name(&self) -> &str {
        "named_casts"
    }
}

fn named(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::InSubquery(mut asked) => match with_name_in(&asked) {
            Some(named) => {
                asked.subquery = named;
                Transformed::yes(Expr::InSubquery(asked))
            }
            None => Transformed::no(Expr::InSubquery(asked)),
        },
        Expr::SetComparison(mut asked) => match with_name_alone(&asked.subquery) {
            Some(named) => {
                asked.subquery = named;
                Transformed::yes(Expr::SetComparison(asked))
            }
            None => Transformed::no(Expr::SetComparison(asked)),
        },
        other => Transformed::no(other),
    }
}

/// Of `max(x) IN (SELECT max(x) …)`, both sides are called alike.
fn with_name_in(asked: &InSubquery) -> Option<Subquery> {
    let columns = asked.subquery.subquery.schema().columns();
    let is_alike =
        |column: &Column| column.relation.is_none() && asked.expr.column_refs().contains(column);
    match columns.iter().any(is_alike) {
        true => with_name_alone(&asked.subquery),
        false => with_name(&asked.subquery),
    }
}

fn with_name_alone(subquery: &Subquery) -> Option<Subquery> {
    if let Some(named) = with_name(subquery) {
        return Some(named);
    }
    let columns = subquery.subquery.schema().columns();
    let [column] = <[_; 1]>::try_from(columns).ok()?;
    if column.relation.is_none() && column.name == NAME {
        return None;
    }
    let named = vec![Expr::Column(column).alias(NAME)];
    let named = Projection::try_new(named, Arc::clone(&subquery.subquery)).ok()?;
    Some(subquery.with_plan(Arc::new(LogicalPlan::Projection(named))))
}

fn with_name(subquery: &Subquery) -> Option<Subquery> {
    let LogicalPlan::Projection(projection) = subquery.subquery.as_ref() else {
        return None;
    };
    let ([cast @ Expr::Cast(_)], false) = (
        projection.expr.as_slice(),
        subquery.outer_ref_columns.is_empty(),
    ) else {
        return None;
    };
    let named = vec![cast.clone().alias(NAME)];
    let named = Projection::try_new(named, Arc::clone(&projection.input)).ok()?;
    Some(subquery.with_plan(Arc::new(LogicalPlan::Projection(named))))
}
