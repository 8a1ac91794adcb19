//! A projection above one that computes the same.
//!
//! `SELECT a + 1 AS a FROM (SELECT a + 1 AS a FROM t)` adds two. DataFusion takes two projections of equal expressions
//! for one that is there twice, and leaves one out, as it may where they only give columns on. It puts the others
//! together from above, and may come to such a pair only then.
//!
//! Idea: what the lower one computes has names of its own, if it had that of a column that is read there, so that no
//! two are equal. Invariant: what the upper one gives is called as before.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::has_node;

/// The rule that this one asks.
pub(super) const INSTEAD_OF: &str = "optimize_projections";

/// Puts projections together. See the module.
#[derive(Debug, Default)]
pub(super) struct Stacked(OptimizeProjections);

impl OptimizerRule for Stacked {
    fn name(&self) -> &str {
        INSTEAD_OF
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let found = has_node(&plan, |node| wrong_pair(node).is_some())?;
        match found {
            true => {
                let apart = plan.transform_up_with_subqueries(apart)?;
                self.0.rewrite(apart.data, config)
            }
            false => self.0.rewrite(plan, config),
        }
    }
}

/// A projection, and the one below it that computes something under the name of a column that it reads.
fn wrong_pair(node: &LogicalPlan) -> Option<(&Projection, &Projection)> {
    let LogicalPlan::Projection(upper) = node else {
        return None;
    };
    let LogicalPlan::Projection(lower) = upper.input.as_ref() else {
        return None;
    };
    let read: HashSet<&str> = lower
        .expr
        .iter()
        .flat_map(Expr::column_refs)
        .map(|column| column.name.as_str())
        .collect();
    let mut given = lower.expr.iter().zip(lower.schema.fields());
    let is_wrong = given.any(|(expr, field)| {
        !matches!(expr, Expr::Column(_)) && read.contains(field.name().as_str())
    });
    is_wrong.then_some((upper, lower))
}

/// Two projections that are not equal.
fn apart(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let Some((upper, lower)) = wrong_pair(&node) else {
        return Ok(Transformed::no(node));
    };
    let known = Arc::clone(&lower.schema);
    let name_of = |place: usize| format!("__below{place}");
    let renamed = lower.expr.iter().enumerate();
    let renamed = renamed.map(|(place, expr)| expr.clone().unalias().alias(name_of(place)));
    let lower = Projection::try_new(renamed.collect(), lower.input.clone())?;
    let names = NamePreserver::new_for_projection();
    let read = upper.expr.iter().map(|expr| {
        let name = names.save(expr);
        let read = expr.clone().transform(|part| {
            let place = match &part {
                Expr::Column(column) => known.maybe_index_of_column(column),
                _ => None,
            };
            Ok(match place {
                Some(place) => {
                    let column = Column::new_unqualified(name_of(place));
                    Transformed::yes(Expr::Column(column))
                }
                None => Transformed::no(part),
            })
        })?;
        Ok(name.restore(read.data))
    });
    let read = read.collect::<Result<Vec<_>>>()?;
    let lower = LogicalPlan::Projection(lower);
    let upper = Projection::try_new_with_schema(read, lower.into(), upper.schema.clone())?;
    Ok(Transformed::yes(LogicalPlan::Projection(upper)))
}
