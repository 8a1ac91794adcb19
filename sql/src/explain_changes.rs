//! EXPLAIN of statements that change rows.
//!
//! Idea: such a statement is a query and a write; the query is what is worth a look. Invariant: nothing is
//! written, with ANALYZE neither, which runs the query alone.

use std::sync::Arc;

use datafusion::common::display::{PlanType, ToStringifiedPlan};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{ExplainStatement, Statement};
use datafusion::sql::sqlparser::ast::{Statement as SqlStatement, With};
use netabase_store::Error;

use crate::dml;
use crate::engine::Engine;
use crate::error::invalid;
use crate::output::Output;
use crate::query;
use crate::statement::parse_query;

/// Runs EXPLAIN of a statement that changes rows; any other is handed back.
pub(crate) async fn run(
    engine: &Engine,
    mut explain: ExplainStatement,
) -> Result<Result<Output, Statement>, Error> {
    let Some((with, statement)) = explained(&mut explain) else {
        return Ok(Err(Statement::Explain(explain)));
    };
    let deadline = engine.deadline();
    let plan = dml::query_of(engine, statement, with, &deadline).await?;
    // What the options mean is read from the EXPLAIN of another query.
    let other = SqlStatement::Query(Box::new(parse_query("SELECT 1")?));
    *explain.statement = Statement::Statement(Box::new(other));
    let state = engine.context().state();
    let explained = engine
        .plan_in(&state, Statement::Explain(explain), &deadline)
        .await?;
    let explained = match explained {
        LogicalPlan::Explain(mut explained) => {
            explained.stringified_plans = vec![plan.to_stringified(PlanType::InitialLogicalPlan)];
            explained.plan = Arc::new(plan);
            LogicalPlan::Explain(explained)
        }
        LogicalPlan::Analyze(mut analyzed) => {
            analyzed.input = Arc::new(plan);
            LogicalPlan::Analyze(analyzed)
        }
        _ => return Err(invalid("this statement cannot be explained")),
    };
    query::run(engine, &explained, deadline).await.map(Ok)
}

/// The statement that is explained, if it changes rows.
fn explained(explain: &mut ExplainStatement) -> Option<(Option<With>, SqlStatement)> {
    match explain.statement.as_mut() {
        Statement::Statement(inner) => match inner.as_mut() {
            SqlStatement::Query(query) => dml::change_of(query),
            inner if dml::has_query(inner) => Some((None, inner.clone())),
            _ => None,
        },
        _ => None,
    }
}
