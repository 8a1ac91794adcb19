//! INTERSECT ALL and EXCEPT ALL.
//!
//! Idea: DataFusion looks for each row of the left whether the right has an equal one, so that two equal
//! rows both find the same one. Here equal rows are numbered on both sides, and the number is compared,
//! too: the second of a kind finds the second.
//!
//! Invariant: of a row that is n times on the left and m times on the right, INTERSECT ALL gives
//! min(n, m) and EXCEPT ALL n - m, if that is more than none. Non-goal: INTERSECT and EXCEPT of distinct
//! rows, which need no numbers.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder, col};
use datafusion::optimizer::AnalyzerRule;

/// The columns of the numbers; not names that anybody would give.
const LEFT: &str = "__nth_left";
const RIGHT: &str = "__nth_right";

/// Numbers equal rows. See the module.
#[derive(Debug)]
pub(crate) struct SetAll;

impl AnalyzerRule for SetAll {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Join(join) if is_of_all(&join) => numbered(join).map(Transformed::yes),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(rewritten.data)
    }

    fn name(&self) -> &str {
        "set_all"
    }
}

/// Whether a join is what the planner makes of INTERSECT ALL or EXCEPT ALL: nothing else in a statement
/// looks for rows that are equal in all columns, where NULL equals NULL.
fn is_of_all(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && !join.on.is_empty()
        && !is_distinct(&join.left)
        && !join.on.iter().any(|(left, _)| *left == col(LEFT))
}

/// Whether no two rows are equal.
fn is_distinct(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Distinct(_) => true,
        LogicalPlan::SubqueryAlias(alias) => is_distinct(&alias.input),
        _ => false,
    }
}

/// The join with numbers, and without them in its rows.
fn numbered(join: Join) -> Result<LogicalPlan> {
    let columns = join.left.schema().columns();
    let (left, right): (Vec<Expr>, Vec<Expr>) = join.on.into_iter().unzip();
    let first = number(join.left, &left, LEFT)?;
    let second = number(join.right, &right, RIGHT)?;
    let left = left.into_iter().chain([col(LEFT)]);
    let right = right.into_iter().chain([col(RIGHT)]);
    let joined = Join::try_new(
        Arc::new(first),
        Arc::new(second),
        left.zip(right).collect(),
        None,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    LogicalPlanBuilder::from(LogicalPlan::Join(joined))
        .project(columns.into_iter().map(Expr::Column))?
        .build()
}

/// Rows with the number of each among its equals.
fn number(rows: Arc<LogicalPlan>, keys: &[Expr], name: &str) -> Result<LogicalPlan> {
    let mut shown: Vec<Expr> = rows
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    let nth = row_number().partition_by(keys.to_vec()).build()?;
    let counted = LogicalPlanBuilder::from(rows).window([nth.alias(name)])?;
    shown.push(col(name));
    counted.project(shown)?.build()
}
