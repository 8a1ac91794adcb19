//! Subqueries that depend on the rows around them, as joins.
//!
//! Purpose: DataFusion makes joins of many such subqueries, and refuses the others: a LIMIT in a LATERAL,
//! EXISTS and IN in the list of a SELECT, a value that is compared by other means than `=`. [`Apply`] does
//! those. Of the outer rows, the different values that a subquery refers to are taken ([`Outer`]); the
//! subquery is run for all of them at once, each of its rows with the values that it is for ([`push`]); and
//! the result is joined with the outer rows.
//!
//! Invariants: a subquery that DataFusion plans rightly is left to it, because its plans are better; what
//! is made of the others has the same columns, under the same names. Non-goal: subqueries in the condition
//! of a join.

mod expr;
mod node;
mod outer;
mod push;
mod refs;
mod stable;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::AnalyzerRule;

use self::outer::Names;

/// Makes joins of subqueries. See the module.
#[derive(Debug)]
pub(crate) struct Apply;

impl AnalyzerRule for Apply {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let mut names = Names::default();
        let rewritten =
            plan.transform_up_with_subqueries(|plan| node::rewrite(plan, &mut names))?;
        Ok(rewritten.data)
    }

    fn name(&self) -> &str {
        "apply"
    }
}
