//! What the planner would pass over in silence.
//!
//! Invariant: a clause behind a table, wherever it is in a statement, is obeyed or refused.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Statement, TableFactor, TableSampleKind, Visit, Visitor};
use netabase_store::Error;

use crate::statement::refuse_given;

/// Refuses what the planner would pass over in silence, anywhere in a statement.
pub(crate) fn check_tables(statement: &Statement) -> Result<(), Error> {
    let changes = matches!(
        statement,
        Statement::Update(_) | Statement::Delete(_) | Statement::Merge(_)
    );
    match statement.visit(&mut TableChecker { samples: !changes }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct TableChecker {
    /// Whether a part of a table may be read. Not where a statement changes one: which of the two
    /// tables is meant would be left to the reader.
    samples: bool,
}

impl Visitor for TableChecker {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<Error> {
        const WAY_OUT: &str = "choose rows with WHERE";
        let sampled = |sample: &Option<TableSampleKind>| sample.is_some() && !self.samples;
        let checked = match table {
            TableFactor::Table {
                args,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                ..
            } => refuse_given(
                "",
                &[
                    ("TABLESAMPLE", sampled(sample), WAY_OUT),
                    ("FOR … AS OF", version.is_some(), WAY_OUT),
                    ("PARTITION", !partitions.is_empty(), WAY_OUT),
                    ("a path behind a table", json_path.is_some(), WAY_OUT),
                    (
                        "WITH ORDINALITY",
                        *with_ordinality && args.is_none(),
                        WAY_OUT,
                    ),
                ],
            ),
            TableFactor::Derived { sample, .. } => {
                refuse_given("", &[("TABLESAMPLE", sampled(sample), WAY_OUT)])
            }
            _ => Ok(()),
        };
        match checked {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}
