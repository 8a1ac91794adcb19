//! CASTs in the names of aggregates and windows.
//!
//! Idea: the planner leaves CASTs out of names, and so takes `sum(a)` and `sum(a::DOUBLE)` for one. A CAST of
//! a column inside of them is given its text as a name. Non-goal: CASTs elsewhere, which an alias tells
//! apart.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawWindowExpr,
};

/// Names CASTs. See the module.
#[derive(Debug)]
pub(crate) struct CastNames;

impl ExprPlanner for CastNames {
    fn plan_aggregate(
        &self,
        mut expr: RawAggregateExpr,
    ) -> Result<PlannerResult<RawAggregateExpr>> {
        expr.args = named(expr.args)?;
        Ok(PlannerResult::Original(expr))
    }

    fn plan_window(&self, mut expr: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        expr.args = named(expr.args)?;
        Ok(PlannerResult::Original(expr))
    }
}

fn named(args: Vec<Expr>) -> Result<Vec<Expr>> {
    let named = |arg: Expr| {
        let arg = arg.transform_up(|expr| {
            let is_cast = matches!(expr, Expr::Cast(_) | Expr::TryCast(_));
            if !is_cast || !expr.any_column_refs() {
                return Ok(Transformed::no(expr));
            }
            let name = expr.to_string();
            Ok(Transformed::yes(expr.alias(name)))
        })?;
        Ok(arg.data)
    };
    args.into_iter().map(named).collect()
}
