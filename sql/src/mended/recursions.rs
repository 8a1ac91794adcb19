//! `WITH RECURSIVE t AS (SELECT 0 AS x UNION ALL SELECT x + 0.75 FROM t …)`.
//!
//! DataFusion casts what a recursion goes on with to the types that it begins with: x would be 0 for ever. As in
//! PostgreSQL such a query is refused, if values are cut off; integers of two widths, and numbers beside texts, are not.
//!
//! Idea: the planner's casts are the outermost of the recursive part; `syntax::recursions` sees to it that others are
//! no such casts.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{
    Cast, Expr, ExprSchemable, LogicalPlan, Projection, RecursiveQuery,
};
use datafusion::optimizer::AnalyzerRule;

use crate::error::{error_to_datafusion, invalid};
use crate::sql_type::type_name;

/// Refuses recursions that would lose what they compute. See the module.
#[derive(Debug)]
pub(super) struct Recursions;

impl AnalyzerRule for Recursions {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::RecursiveQuery(query) = node {
                check(query)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }

    fn name(&self) -> &str {
        "recursions"
    }
}

fn check(query: &RecursiveQuery) -> Result<()> {
    let LogicalPlan::Projection(Projection { expr, input, .. }) = query.recursive_term.as_ref()
    else {
        return Ok(());
    };
    for (value, begun) in expr.iter().zip(query.static_term.schema().fields()) {
        let Expr::Cast(Cast { expr, field }) = value.clone().unalias() else {
            continue;
        };
        let (from, to) = (expr.get_type(input.schema())?, field.data_type());
        if cuts(&from, to) {
            let (column, name) = (begun.name(), &query.name);
            let (from, to) = (type_name(&from), type_name(to));
            return Err(error_to_datafusion(invalid(format!(
                "column {column:?} of the recursive query {name:?} is {to} in its first part and {from} in the \
                 second, of which {to} has not all: cast one of them, for example the first to {from}"
            ))));
        }
    }
    Ok(())
}

/// Whether a cast leaves something out without a word.
fn cuts(from: &DataType, to: &DataType) -> bool {
    let places = |kind: &DataType| match kind {
        kind if kind.is_integer() => Some(0),
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some(*scale),
        _ => None,
    };
    match (places(from), places(to)) {
        (Some(from), Some(to)) => from > to,
        (None, Some(_)) => from.is_floating(),
        _ => {
            let is_time = matches!(from, DataType::Timestamp(..));
            let is_day = matches!(to, DataType::Date32 | DataType::Date64);
            is_time && is_day || from.is_numeric() && *to == DataType::Boolean
        }
    }
}
