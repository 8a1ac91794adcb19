//! How large a statement may become by what is written out of it.
//!
//! Idea: some calls are told in terms that name an argument several times, such as `mode(x)`, and such calls
//! within each other grow with a power of their depth. Invariant: what grows that way is refused before it takes
//! memory; a statement that is long as it is written is not.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Visit, visit_expressions};
use netabase_store::Error;

use crate::error::capacity;

/// What any statement may have.
const EXPRESSIONS: usize = 100_000;
/// How many expressions each one that was written may become.
const EACH: usize = 8;

/// The expressions that may still be met.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn of(statement: &impl Visit) -> Self {
        let mut written = 0_usize;
        let _: ControlFlow<()> = visit_expressions(statement, |_| {
            written += 1;
            ControlFlow::Continue(())
        });
        Self(EXPRESSIONS.saturating_add(written.saturating_mul(EACH)))
    }

    pub(super) fn spend(&mut self) -> Result<(), Error> {
        self.0 = self.0.checked_sub(1).ok_or_else(|| {
            capacity(
                "the statement becomes too large when its calls are written out: put the inner ones into \
                 subqueries",
            )
        })?;
        Ok(())
    }
}
