//! Names beside a `*` that one of its columns has, too.
//!
//! Idea: only the planner knows which columns a `*` has. When it refuses a name for being there twice, the
//! name gets a hidden ending, and the statement is planned again. Invariant: this ends, because a name
//! with an ending is never refused.

use datafusion::common::SchemaError;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;

use crate::syntax::{is_deep, may_double, tell_from_star};

/// The most names of one statement that are there twice.
const MAX_NAMES: usize = 64;

/// Plans a statement.
pub(crate) async fn plan(state: &SessionState, statement: Statement) -> Result<LogicalPlan> {
    let mut again = match &statement {
        Statement::Statement(inner) if may_double(inner) && !is_deep(inner) => inner.clone(),
        _ => return state.statement_to_plan(statement).await,
    };
    let mut planned = state.statement_to_plan(statement).await;
    for _ in 0..MAX_NAMES {
        let Err(error) = &planned else {
            return planned;
        };
        let Some(name) = doubled_name(error) else {
            return planned;
        };
        if !tell_from_star(&mut again, &name) {
            return planned;
        }
        planned = state
            .statement_to_plan(Statement::Statement(again.clone()))
            .await;
    }
    planned
}

/// The name that an error is about, if it is there twice.
fn doubled_name(error: &DataFusionError) -> Option<String> {
    match error.find_root() {
        DataFusionError::SchemaError(error, _) => match error.as_ref() {
            SchemaError::AmbiguousReference { field } => Some(field.name.clone()),
            SchemaError::DuplicateUnqualifiedField { name } => Some(name.clone()),
            _ => None,
        },
        _ => None,
    }
}
