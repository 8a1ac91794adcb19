//! Views as tables that the planner can read.
//!
//! Invariant: a view is planned by the session that the catalog belongs to, from its text, at every look;
//! a view that leads to itself is an error and not an endless planning.

use std::sync::{Arc, OnceLock, Weak};

use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use netabase_store::{Store, ViewDef};
use parking_lot::RwLock;

use crate::error::error_to_datafusion;
use crate::provenance;
use crate::statement::parse_query;

/// The most views that are behind one another.
const MAX_DEPTH: u32 = 32;

tokio::task_local! {
    /// How many views are being planned, one inside the other.
    static DEPTH: u32;
}

/// Plans views.
#[derive(Debug, Default)]
pub(crate) struct Views(OnceLock<(Weak<RwLock<SessionState>>, Store)>);

impl Views {
    /// Names the session that plans, which did not exist when the catalog was made.
    pub(crate) fn set_session(&self, state: Weak<RwLock<SessionState>>, store: Store) {
        // Only the first one counts; there is no other.
        let _ = self.0.set((state, store));
    }

    /// The table that a view looks like.
    pub(crate) async fn table(&self, name: &str, view: &ViewDef) -> Result<Arc<dyn TableProvider>> {
        let session = self.0.get();
        let session = session.and_then(|(state, store)| Some((state.upgrade()?, store)));
        let Some((state, store)) = session else {
            return exec_err!("view \"{name}\" cannot be planned: the database is closed");
        };
        let depth = DEPTH.try_with(|depth| *depth).unwrap_or(0);
        if depth >= MAX_DEPTH {
            return plan_err!(
                "view \"{name}\" leads to itself, or to more than {MAX_DEPTH} views: CREATE OR REPLACE \
                 VIEW with another query"
            );
        }
        let query = parse_query(&view.query).map_err(error_to_datafusion)?;
        let statement = SqlStatement::Query(Box::new(query));
        let mut statement = Statement::Statement(Box::new(statement));
        let mut state = state.read().clone();
        if provenance::prepare(&mut statement, store).map_err(error_to_datafusion)? {
            provenance::serve(&mut state);
        }
        let planning = state.statement_to_plan(statement);
        let plan = DEPTH.scope(depth + 1, Box::pin(planning)).await;
        let plan = plan.map_err(|error| error.context(format!("view \"{name}\"")))?;
        Ok(Arc::new(ViewTable::new(plan, Some(view.query.clone()))))
    }
}
