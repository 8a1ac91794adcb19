//! Statements that are run many times with other values.
//!
//! Idea: a statement about one key is looked up and recognised when it is prepared (`point`); any other is
//! planned anew each time, with values in the place of its parameters, so that it sees the tables as they
//! are. Invariant: a value is turned into its parameter's type without loss, or refused; it is never put
//! into the text.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Statement as SqlStatement, Value, Visit, Visitor};
use netabase_store::Error;

use crate::engine::Engine;
use crate::error::{error_from_datafusion, invalid};
use crate::output::Output;
use crate::point::{self, Known, PointCall};
use crate::upkeep::Parsed;

/// The most parameters of a statement.
const MAX_PARAMETERS: usize = 4096;

/// A statement with parameters `$1`, `$2` and so on. It belongs to the engine that made it, and follows
/// changes of the tables.
pub struct Prepared {
    engine: Engine,
    text: String,
    types: Vec<Option<DataType>>,
    known: Known,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("text", &self.text)
            .field("types", &self.types)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Prepares a query, an INSERT, an UPDATE, a DELETE or a MERGE, in which `$1`, `$2` … stand for values.
    ///
    /// # Errors
    /// Those of [`Engine::sql`]; `InvalidInput` for other statements, for parameters that have names or
    /// leave numbers out, and for one whose type cannot be told from the statement's columns
    /// consistently.
    pub async fn prepare(&self, text: &str) -> Result<Prepared, Error> {
        let mut parsed = self.parse(text)?;
        let statement = match (parsed.pop(), parsed.len()) {
            (Some(Parsed::Sql(Statement::Statement(statement))), 0) => statement,
            _ => return Err(not_prepared()),
        };
        if !takes_parameters(&statement) {
            return Err(not_prepared());
        }
        let count = parameters_of(&statement)?;
        let types = self.types_of(*statement, count).await?;
        Ok(Prepared {
            engine: self.clone(),
            known: self.recognise(text, false),
            text: text.to_owned(),
            types,
        })
    }

    /// The types of a statement's parameters, as far as its plan tells.
    pub(crate) async fn types_of(
        &self,
        statement: SqlStatement,
        count: usize,
    ) -> Result<Vec<Option<DataType>>, Error> {
        let mut types = vec![None; count];
        let mut statement = statement;
        plain(&mut statement);
        let is_query = matches!(statement, SqlStatement::Query(_));
        let statement = Statement::Statement(Box::new(statement));
        let state = self.context().state();
        let plan = match self.plan_in(&state, statement, &self.deadline()).await {
            Ok(plan) => plan,
            Err(error) if is_query => return Err(error),
            // What only this crate can plan is checked when it is run.
            Err(error) if error.kind() == netabase_store::ErrorKind::NotFound => return Err(error),
            Err(_) => return Ok(types),
        };
        let found = plan.get_parameter_types().map_err(error_from_datafusion)?;
        for (name, data_type) in found {
            if let Some(slot) = point::place(&name).and_then(|place| types.get_mut(place)) {
                *slot = data_type;
            }
        }
        Ok(types)
    }
}

impl Prepared {
    /// The text that was prepared.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The types of the parameters in order; `None` where the statement takes any.
    pub fn types(&self) -> &[Option<DataType>] {
        &self.types
    }

    /// Runs the statement with these values, one for each parameter.
    ///
    /// # Errors
    /// `InvalidInput` if there are more or fewer, or one does not fit its parameter's type; and those of
    /// [`Engine::sql`].
    pub async fn run(&self, values: &[ScalarValue]) -> Result<Output, Error> {
        let values = self.bind(values)?;
        if let Some(call) = self.engine.point_call(&self.known, &values)
            && let Some(output) = call.run(false).await?
        {
            return Ok(output);
        }
        self.engine
            .with_parameters(values)
            .general(&self.text)
            .await
    }

    /// The call that the statement with these values amounts to, if it takes the point path.
    ///
    /// # Errors
    /// `InvalidInput` as for [`run`](Self::run).
    pub fn point(&self, values: &[ScalarValue]) -> Result<Option<PointCall>, Error> {
        let values = self.bind(values)?;
        Ok(self.engine.point_call(&self.known, &values))
    }

    /// The values in their parameters' types.
    fn bind(&self, values: &[ScalarValue]) -> Result<Vec<ScalarValue>, Error> {
        if values.len() != self.types.len() {
            return Err(invalid(format!(
                "the statement has {} parameters, but {} values are given",
                self.types.len(),
                values.len()
            )));
        }
        let typed = self.types.iter().zip(values).enumerate();
        let typed = typed.map(|(index, (wanted, value))| match wanted {
            None => Ok(value.clone()),
            Some(wanted) => point::assignable(value, wanted).ok_or_else(|| {
                invalid(format!(
                    "parameter ${} is {wanted}, but its value is {} {value}",
                    index + 1,
                    value.data_type()
                ))
            }),
        });
        typed.collect()
    }
}

fn not_prepared() -> Error {
    invalid("one query, INSERT, UPDATE, DELETE or MERGE can be prepared, and nothing else")
}

/// Whether a statement is one that can be prepared.
pub(crate) fn takes_parameters(statement: &SqlStatement) -> bool {
    matches!(
        statement,
        SqlStatement::Query(_)
            | SqlStatement::Insert(_)
            | SqlStatement::Update(_)
            | SqlStatement::Delete(_)
            | SqlStatement::Merge(_)
    )
}

/// Takes off what the planner of types does not know: it would not tell any.
fn plain(statement: &mut SqlStatement) {
    match statement {
        SqlStatement::Insert(insert) => {
            (insert.on, insert.or, insert.returning) = (None, None, None);
        }
        SqlStatement::Update(update) => update.returning = None,
        SqlStatement::Delete(delete) => delete.returning = None,
        _ => {}
    }
}

/// How many parameters a statement has. Fails unless they are `$1` to `$n`.
pub(crate) fn parameters_of(statement: &SqlStatement) -> Result<usize, Error> {
    let mut places = Places::default();
    if let ControlFlow::Break(error) = statement.visit(&mut places) {
        return Err(error);
    }
    let count = places.0.len();
    match places.0.last() {
        Some(last) if last + 1 != count => Err(invalid(format!(
            "there is a parameter ${}, but only {count} of them: number them from $1 on",
            last + 1
        ))),
        _ if count > MAX_PARAMETERS => Err(invalid(format!(
            "the statement has {count} parameters; at most {MAX_PARAMETERS} are taken"
        ))),
        _ => Ok(count),
    }
}

/// The numbers of the parameters, from 0.
#[derive(Default)]
struct Places(BTreeSet<usize>);

impl Visitor for Places {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(name) = &value.value
        {
            match point::place(name) {
                Some(place) => {
                    self.0.insert(place);
                }
                None => {
                    return ControlFlow::Break(invalid(format!(
                        "{name} is no parameter: they are $1, $2 and so on"
                    )));
                }
            }
        }
        ControlFlow::Continue(())
    }
}
