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

use crate::syntax::{HiddenLists, is_deep, may_double, tell_from_star};

/// The most names of one statement that are there twice.
const MAX_NAMES: usize = 64;

/// Plans a statement, into which its long lists are put back.
pub(crate) async fn plan(
    state: &SessionState,
    mut statement: Statement,
    lists: HiddenLists,
) -> Result<LogicalPlan> {
    let mut again = match &statement {
        Statement::Statement(inner) if may_double(inner) && !is_deep(inner) => {
            (inner.clone(), lists.clone())
        }
        _ => {
            lists.put_back(&mut statement)?;
            return state.statement_to_plan(statement).await;
        }
    };
    lists.put_back(&mut statement)?;
    let mut planned = state.statement_to_plan(statement).await;
    for _ in 0..MAX_NAMES {
        let Err(error) = &planned else {
            return planned;
        };
        let Some(name) = doubled_name(error) else {
            return planned;
        };
        let (again, lists) = &mut again;
        if !tell_from_star(again, &name) {
            return planned;
        }
        let mut told = Statement::Statement(again.clone());
        lists.clone().put_back(&mut told)?;
        planned = state.statement_to_plan(told).await;
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
