//! Rewriting the expressions of a plan by their types.
//!
//! Invariant: columns are called what they were; a node whose expressions change, and what is above it, has its schema
//! computed anew.

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Rewrites each expression of a plan and of its subqueries, the innermost first; types are those in the schema.
pub(crate) fn rewrite_by_type(
    plan: LogicalPlan,
    rewrite: impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let mut changed = false;
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let node = in_node(node, &rewrite)?;
        changed |= node.transformed;
        match changed {
            // What is above has other types, or may be NULL.
            true => node.map_data(LogicalPlan::recompute_schema),
            false => Ok(node),
        }
    })?;
    Ok(rewritten.data)
}

/// Whether something is so of any expression of a node, or of a part of one.
pub(crate) fn in_any_expression(node: &LogicalPlan, is_so: impl Fn(&Expr) -> bool) -> Result<bool> {
    let mut any = false;
    node.apply_expressions(|expr| {
        any |= expr.exists(|part| Ok(is_so(part)))?;
        Ok(match any {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(any)
}

fn in_node(
    plan: LogicalPlan,
    rewrite: &impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        let source = scan.source.schema();
        let of_source = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &source)?;
        schema.merge(&of_source);
    }
    let names = NamePreserver::new(&plan);
    let named = |expr: Expr| {
        let name = names.save(&expr);
        let rewritten = expr.transform_up(|expr| rewrite(expr, &schema))?;
        Ok(rewritten.update_data(|expr| name.restore(expr)))
    };
    plan.map_expressions(|expr| match expr {
        // Each of its parts is a column.
        Expr::GroupingSet(_) => expr.map_children(named),
        expr => named(expr),
    })
}
