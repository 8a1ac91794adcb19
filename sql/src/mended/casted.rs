//! `id IN (SELECT c.x FROM c WHERE c.y = t.y)` with integers of different widths.
//!
//! What the subquery gives is cast to the type that it is compared in, under the name that it had; the columns that it is
//! correlated by are added to it later, and one of them may have that name, too. It gets a name of its own.
//!
//! So does what `x < ANY (SELECT c.x FROM c)` looks at: it becomes EXISTS with `x < c.x` as the condition, and where the row
//! around it has a `c.x` as well, which of a table that is read twice it has, that would be compared with itself.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
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
        Expr::InSubquery(mut asked) => match with_name(&asked.subquery) {
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

fn with_name_alone(subquery: &Subquery) -> Option<Subquery> {
    let ([_], Some((Some(_), _))) = (
        subquery.subquery.schema().fields().as_ref(),
        subquery.subquery.schema().iter().next(),
    ) else {
        return with_name(subquery);
    };
    let column = Expr::Column(subquery.subquery.schema().columns().into_iter().next()?);
    let named = Projection::try_new(vec![column.alias(NAME)], Arc::clone(&subquery.subquery));
    Some(subquery.with_plan(Arc::new(LogicalPlan::Projection(named.ok()?))))
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
