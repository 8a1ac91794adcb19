//! Statements that are run many times with other values.
//!
//! Idea: a statement about one key is looked up and recognised when it is prepared (`point`); any other is
//! planned anew each time, with values in the place of its parameters, so that it sees the tables as they
//! are. What type a parameter has is found out anew when one of the tables is another one. Invariant: a
//! value is turned into its parameter's type without loss, or refused; it is never put into the text.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, ObjectName, Statement as SqlStatement, Value, Visit, Visitor,
};
use netabase_store::{Error, ErrorKind, TableDef};
use parking_lot::Mutex;

use crate::catalog::{KEYED_SCHEMA, SCHEMA, live_table};
use crate::dml;
use crate::engine::Engine;
use crate::error::{error_from_datafusion, invalid};
use crate::open;
use crate::output::Output;
use crate::path::{self, SearchPath};
use crate::point::{self, Known, PointCall};
use crate::statement::{TableName, ident_of, table_name};
use crate::upkeep::Parsed;

/// The most parameters of a statement.
const MAX_PARAMETERS: usize = 4096;

/// A statement with parameters `$1`, `$2` and so on. It belongs to the engine that made it, and follows
/// changes of the tables.
pub struct Prepared {
    engine: Engine,
    text: Arc<str>,
    typed: Mutex<Arc<Typed>>,
    known: Known,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("text", &self.text)
            .field("types", &self.types())
            .finish_non_exhaustive()
    }
}

/// The types of parameters, as far as a plan tells, and what they follow from.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) types: Arc<[Option<DataType>]>,
    tables: Vec<(String, Option<Arc<TableDef>>)>,
    path: SearchPath,
}

impl Typed {
    /// Whether the tables are still those.
    pub(crate) fn is_current(&self, engine: &Engine) -> bool {
        let same = |(name, seen): &(String, Option<Arc<TableDef>>)| match (
            live_table(engine.store(), name),
            seen,
        ) {
            (Some(now), Some(seen)) => Arc::ptr_eq(&now, seen),
            (now, seen) => now.is_none() && seen.is_none(),
        };
        self.path == engine.search_path() && self.tables.iter().all(same)
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
            Some(wanted) => point::lossless(value, wanted).ok_or_else(|| {
                invalid(format!(
                    "parameter ${} is {wanted}, which the {} {value} is not without loss",
                    index + 1,
                    value.data_type()
                ))
            }),
        });
        typed.collect()
    }
}

impl Engine {
    /// Prepares a query, an INSERT, an UPDATE, a DELETE or a MERGE, in which `$1`, `$2` … stand for values.
    ///
    /// # Errors
    /// Those of [`Engine::sql`]; `InvalidInput` for other statements, and for parameters that have names or
    /// leave numbers out.
    pub async fn prepare(&self, text: &str) -> Result<Prepared, Error> {
        Ok(Prepared {
            engine: self.clone(),
            known: self.recognise(text, false),
            typed: Mutex::new(Arc::new(self.typed(text).await?)),
            text: text.into(),
        })
    }

    /// Finds out the types of a statement's parameters.
    async fn typed(&self, text: &str) -> Result<Typed, Error> {
        let mut parsed = self.parse(text)?;
        let statement = match (parsed.pop(), parsed.len()) {
            (Some(Parsed::Sql(Statement::Statement(statement))), 0) => statement,
            _ => return Err(not_prepared()),
        };
        if !takes_parameters(&statement) {
            return Err(not_prepared());
        }
        self.typed_of(*statement).await
    }

    /// The same of a statement that was read already.
    pub(crate) async fn typed_of(&self, statement: SqlStatement) -> Result<Typed, Error> {
        let Named { count, tables } = Named::of(&statement)?;
        let path = self.search_path();
        let now = |name: String| {
            let def = live_table(self.store(), &name);
            (name, def)
        };
        let stored: BTreeSet<String> = tables
            .iter()
            .flat_map(|name| stored_names(name, &path))
            .collect();
        // Looked at before the plan is made: what changes in between is noticed the next time.
        let mut tables: Vec<_> = stored.into_iter().map(now).collect();
        let (types, behind) = self.types_of(statement, count).await?;
        let known = |name: &String| tables.iter().any(|(other, _)| other == name);
        let behind: Vec<String> = behind.into_iter().filter(|name| !known(name)).collect();
        tables.extend(behind.into_iter().map(now));
        Ok(Typed {
            types: types.into(),
            tables,
            path,
        })
    }

    /// The types of a statement's parameters, as far as its plan tells, and the tables that it scans.
    async fn types_of(
        &self,
        mut statement: SqlStatement,
        count: usize,
    ) -> Result<(Vec<Option<DataType>>, BTreeSet<String>), Error> {
        let (mut types, deadline) = (vec![Vec::new(); count], self.deadline());
        if let SqlStatement::Query(query) = &statement
            && dml::changes_in_with(query)
        {
            for (change, with) in dml::changes_of(query) {
                // What reads the rows of another change can be planned only when it is run.
                if let Ok(plan) = dml::query_of(self, change, with, &deadline).await {
                    find_types(&plan, &mut types)?;
                }
            }
            return Ok((settled(types), BTreeSet::new()));
        }
        plain(&mut statement);
        open::forget_limits(&mut statement);
        let change = match &mut statement {
            SqlStatement::Query(query) => dml::change_of(query),
            _ => None,
        };
        let is_query = change.is_none() && matches!(statement, SqlStatement::Query(_));
        let planned = match change {
            Some((with, change)) => dml::query_of(self, change, with, &deadline).await,
            None => {
                let statement = Statement::Statement(Box::new(statement));
                let state = self.context().state();
                self.plan_in(&state, statement, &deadline).await
            }
        };
        let plan = match planned {
            Ok(plan) => plan,
            Err(error) if is_query => return Err(error),
            // What only this crate can plan is checked when it is run.
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
            Err(_) => return Ok((settled(types), BTreeSet::new())),
        };
        find_types(&plan, &mut types)?;
        Ok((settled(types), scanned(&plan)?))
    }
}

/// The types that parameters have in a plan.
fn find_types(plan: &LogicalPlan, types: &mut [Vec<DataType>]) -> Result<(), Error> {
    let mut add = |expr: &Expr| {
        if let Expr::Placeholder(Placeholder { id, field }) = expr
            && let Some(found) = field.as_ref().map(|field| field.data_type())
            && let Some(types) = point::place(id).and_then(|place| types.get_mut(place))
            && !types.contains(found)
        {
            types.push(found.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    };
    let visited =
        plan.apply_with_subqueries(|node| node.apply_expressions(|expr| expr.apply(&mut add)));
    visited.map_err(error_from_datafusion)?;
    Ok(())
}

/// The types of parameters: one that stands beside values of several types takes any.
fn settled(types: Vec<Vec<DataType>>) -> Vec<Option<DataType>> {
    let only = |types: Vec<DataType>| match <[DataType; 1]>::try_from(types) {
        Ok([only]) => Some(only),
        Err(_) => None,
    };
    types.into_iter().map(only).collect()
}

/// The names by which the store may know what a statement names.
fn stored_names(name: &ObjectName, path: &SearchPath) -> Vec<String> {
    let Ok(TableName::Table(stored)) = table_name(name) else {
        return Vec::new();
    };
    match (path, name.0.as_slice()) {
        (Some(path), [part]) => {
            let table = part.as_ident().map(ident_of).unwrap_or_default();
            let within = path.iter().map(|schema| path::name_in(schema, &table));
            within.chain([stored]).collect()
        }
        _ => vec![stored],
    }
}

/// The tables that a plan scans, those behind views included.
fn scanned(plan: &LogicalPlan) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    let visited = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let table = scan.table_name.table();
            names.insert(match scan.table_name.schema() {
                Some(KEYED_SCHEMA) => table.to_owned(),
                schema => path::name_in(schema.unwrap_or(SCHEMA), table),
            });
        }
        Ok(TreeNodeRecursion::Continue)
    });
    visited.map_err(error_from_datafusion)?;
    Ok(names)
}

impl Prepared {
    /// The text that was prepared.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The types of the parameters in order, as the tables were when they were last looked at; `None`
    /// where the statement takes any.
    pub fn types(&self) -> Arc<[Option<DataType>]> {
        Arc::clone(&self.seen().types)
    }

    /// Runs the statement with these values, one for each parameter.
    ///
    /// # Errors
    /// `InvalidInput` if there are more or fewer, or one does not fit its parameter's type; and those of
    /// [`Engine::sql`].
    pub async fn run(&self, values: &[ScalarValue]) -> Result<Output, Error> {
        let mut typed = self.seen();
        if !typed.is_current(&self.engine) {
            typed = Arc::new(self.engine.typed(&self.text).await?);
            *self.typed.lock() = Arc::clone(&typed);
        }
        let values = typed.bind(values)?;
        if let Some(call) = self.call(&values)
            && let Some(output) = call.run(false).await?
        {
            return Ok(output);
        }
        self.engine
            .with_parameters(values)
            .general(&self.text)
            .await
    }

    /// The call that the statement with these values amounts to, if it takes the point path, and if its
    /// tables are those that its parameters' types were taken from.
    ///
    /// # Errors
    /// `InvalidInput` as for [`run`](Self::run).
    pub fn point(&self, values: &[ScalarValue]) -> Result<Option<PointCall>, Error> {
        let typed = self.seen();
        if !typed.is_current(&self.engine) {
            return Ok(None);
        }
        Ok(self.call(&typed.bind(values)?))
    }

    fn call(&self, values: &[ScalarValue]) -> Option<PointCall> {
        self.engine.point_call(&self.known, (&self.text, values))
    }

    fn seen(&self) -> Arc<Typed> {
        Arc::clone(&self.typed.lock())
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
            insert.table_alias = None;
        }
        SqlStatement::Update(update) => update.returning = None,
        SqlStatement::Delete(delete) => delete.returning = None,
        _ => {}
    }
}

/// What a statement names.
#[derive(Default)]
struct Named {
    /// How many parameters it has.
    count: usize,
    /// What may be a table.
    tables: BTreeSet<ObjectName>,
}

impl Named {
    /// Fails unless the parameters are `$1` to `$n`.
    fn of(statement: &SqlStatement) -> Result<Self, Error> {
        let mut names = Names::default();
        if let ControlFlow::Break(error) = statement.visit(&mut names) {
            return Err(error);
        }
        let count = names.places.len();
        match names.places.last() {
            Some(last) if last + 1 != count => Err(invalid(format!(
                "there is a parameter ${}, but only {count} of them: number them from $1 on",
                last + 1
            ))),
            _ if count > MAX_PARAMETERS => Err(invalid(format!(
                "the statement has {count} parameters; at most {MAX_PARAMETERS} are taken"
            ))),
            _ => Ok(Self {
                count,
                tables: names.tables,
            }),
        }
    }
}

#[derive(Default)]
struct Names {
    /// The numbers of the parameters, from 0.
    places: BTreeSet<usize>,
    tables: BTreeSet<ObjectName>,
}

impl Visitor for Names {
    type Break = Error;

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Error> {
        self.tables.insert(relation.clone());
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<Error> {
        if let SqlExpr::Value(value) = expr
            && let Value::Placeholder(name) = &value.value
        {
            match point::place(name) {
                Some(place) => {
                    self.places.insert(place);
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
