//! What a subquery refers to outside of itself, whose type was found out later.
//!
//! `SELECT … FROM (SELECT n FROM t UNION ALL SELECT 2.5) x WHERE EXISTS (SELECT 1 FROM s WHERE s.k = x.n)`: the parts
//! of a UNION, or of a CASE, get their common type when the plan is analyzed; `x.n` in the subquery has the type that
//! it had before, and is compared in that one, which fails where the values meet.
//!
//! Idea: such a reference gets the type of its column, and the types of the plan are looked at again. Invariant:
//! nothing is done where all types are right already.

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ExprSchema, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;

use super::has_node;

/// Gives references to the rows around their types. See the module.
#[derive(Debug)]
pub(super) struct OuterTypes;

impl AnalyzerRule for OuterTypes {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        if !has_references(&plan)? {
            return Ok(plan);
        }
        let typed = plan.transform_up_with_subqueries(in_node)?;
        match typed.transformed {
            true => TypeCoercion::new().analyze(typed.data, config),
            false => Ok(typed.data),
        }
    }

    fn name(&self) -> &str {
        "outer_types"
    }
}

fn has_references(plan: &LogicalPlan) -> Result<bool> {
    has_node(plan, |node| {
        let mut found = false;
        // It never fails.
        let _ = node.apply_expressions(|expr| {
            found |= expr.contains_outer();
            Ok(TreeNodeRecursion::Continue)
        });
        found
    })
}

fn in_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&node.inputs());
    let node = lateral_typed(node)?;
    node.transform_data(|node| subqueries_typed(node, &[&schema]))
}

/// A join whose right side may refer to the left one.
fn lateral_typed(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(mut join) = node else {
        return Ok(Transformed::no(node));
    };
    if !join
        .right
        .exists(|plan| Ok(matches!(plan, LogicalPlan::Subquery(_))))?
    {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let left = Arc::clone(join.left.schema());
    let right = Arc::unwrap_or_clone(join.right).transform_down(|plan| match plan {
        LogicalPlan::Subquery(subquery) => {
            Ok(typed(subquery, &[&left])?.update_data(LogicalPlan::Subquery))
        }
        plan => Ok(Transformed::no(plan)),
    })?;
    join.right = Arc::new(right.data);
    Ok(Transformed::new_transformed(
        LogicalPlan::Join(join),
        right.transformed,
    ))
}

/// The subqueries of a node; of the rows around them, the first are those whose types are given, and the others are
/// nearer.
fn subqueries_typed(node: LogicalPlan, around: &[&DFSchema]) -> Result<Transformed<LogicalPlan>> {
    node.map_expressions(|expr| {
        expr.transform(|expr| match expr {
            Expr::ScalarSubquery(subquery) => {
                Ok(typed(subquery, around)?.update_data(Expr::ScalarSubquery))
            }
            Expr::Exists(Exists { subquery, negated }) => Ok(typed(subquery, around)?
                .update_data(|subquery| Expr::Exists(Exists { subquery, negated }))),
            Expr::InSubquery(InSubquery {
                expr,
                subquery,
                negated,
            }) => Ok(typed(subquery, around)?.update_data(|subquery| {
                Expr::InSubquery(InSubquery {
                    expr,
                    subquery,
                    negated,
                })
            })),
            Expr::SetComparison(asked) => {
                let subquery = typed(asked.subquery.clone(), around)?;
                Ok(subquery.update_data(|subquery| {
                    Expr::SetComparison(SetComparison { subquery, ..asked })
                }))
            }
            expr => Ok(Transformed::no(expr)),
        })
    })
}

/// A subquery whose references to the rows around it have their types.
fn typed(subquery: Subquery, around: &[&DFSchema]) -> Result<Transformed<Subquery>> {
    let plan = subquery.subquery.as_ref().clone();
    let plan = plan.transform_down(|node| {
        let schema = merge_schema(&node.inputs());
        let nearer: Vec<&DFSchema> = around.iter().copied().chain([&schema]).collect();
        let node = subqueries_typed(node, &nearer)?;
        node.transform_data(|node| {
            node.map_expressions(|expr| expr.transform(|expr| Ok(reference_typed(expr, around))))
        })
    })?;
    if !plan.transformed {
        return Ok(Transformed::no(subquery));
    }
    let refs = subquery.outer_ref_columns.into_iter();
    Ok(Transformed::yes(Subquery {
        subquery: plan.data.into(),
        outer_ref_columns: refs
            .map(|expr| reference_typed(expr, around).data)
            .collect(),
        ..subquery
    }))
}

fn reference_typed(expr: Expr, around: &[&DFSchema]) -> Transformed<Expr> {
    let Expr::OuterReferenceColumn(field, column) = expr else {
        return Transformed::no(expr);
    };
    let mut nearest = around.iter().rev();
    let owner = nearest.find(|schema| schema.has_column(&column));
    match owner.map(|schema| schema.field_from_column(&column)) {
        Some(Ok(own)) if own.data_type() != field.data_type() => {
            let typed = Field::clone(&field).with_data_type(own.data_type().clone());
            Transformed::yes(Expr::OuterReferenceColumn(typed.into(), column))
        }
        _ => Transformed::no(Expr::OuterReferenceColumn(field, column)),
    }
}
