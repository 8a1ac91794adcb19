//! What is concluded from a filter about the values that it leaves.
//!
//! DataFusion narrows the range of each column by the condition, and takes a column whose range is one value for a
//! constant: `ORDER BY` of it sorts nothing. The ranges are not those of the values: the ones that it begins
//! with may be estimates, `CAST(x AS BIGINT) = 6` makes 6 of 6.5, `x / 2 = 3` makes 6 of 7, and numbers cast
//! to text come in another order, for which it has no range but an error.
//!
//! [`as_they_are`] hands such conditions through [`Nullable`], of whose result nothing is concluded. Conditions
//! that compare a column with a literal stay: what they say of the column is true. Invariant: rows are those of the plan
//! before. Not here: filters within scans, of which only estimates are made.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::{split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, Operator, ScalarUDF, lit};
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_expr::intervals::utils::{check_support, is_operator_supported};

use super::nullable::Nullable;

/// The plan, which concludes nothing wrong from its filters. It is optimized already: nothing moves a filter now.
///
/// # Errors
/// The planner's, for a filter that does not fit what is below it.
pub(crate) fn as_they_are(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_down_with_subqueries(|node| match node {
        LogicalPlan::Filter(filter) => opaque(filter),
        node => Ok(Transformed::no(node)),
    })
    .data()
}

fn opaque(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let hidden: Vec<bool> = split_conjunction(&filter.predicate)
        .into_iter()
        .map(|condition| !fixes_column(condition) && is_analysed(condition, &filter))
        .collect();
    if !hidden.contains(&true) {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let conditions = split_conjunction_owned(filter.predicate).into_iter();
    let conditions = conditions
        .zip(hidden)
        .map(|(condition, hidden)| match hidden {
            true => ScalarUDF::from(Nullable::new()).call(vec![condition]),
            false => condition,
        });
    let predicate = conditions.reduce(Expr::and).unwrap_or_else(|| lit(true));
    Filter::try_new(predicate, filter.input)
        .map(|filter| Transformed::yes(LogicalPlan::Filter(filter)))
}

/// Whether it is `column = literal`.
fn fixes_column(condition: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = condition
    else {
        return false;
    };
    matches!(
        (left.as_ref(), right.as_ref()),
        (Expr::Column(_), Expr::Literal(..)) | (Expr::Literal(..), Expr::Column(_))
    )
}

/// Whether ranges are concluded from it. What cannot be planned by itself (it asks a subquery) is not.
fn is_analysed(condition: &Expr, filter: &Filter) -> bool {
    let may_be = match condition {
        Expr::BinaryExpr(binary) => is_operator_supported(&binary.op),
        other => matches!(other, Expr::Cast(_) | Expr::Between(_)),
    };
    if !may_be {
        return false;
    }
    let schema = filter.input.schema();
    let (properties, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
    create_physical_expr(condition, schema, &properties, &context)
        .is_ok_and(|condition| check_support(&condition, schema.inner()))
}
