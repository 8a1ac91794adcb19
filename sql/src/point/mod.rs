//! The point path: statements about one key, or one value of an index, without general planning.
//!
//! One statement goes through here like this: its text is cut into a shape and literals (`shape`), the
//! shape is parsed and recognised once (`syntax`) and kept (`cache`), its names are looked up once per
//! definition of the table (`plan`), and then every call binds values (`fit`) and reads or writes
//! (`read`, `search`, `write`).
//!
//! Invariant: an answer is the one that the planner would give: columns, rows, receipt, shards, errors.
//! Whatever is not certain to be so is left to the planner, before anything was written.
//!
//! Non-goals: anything with an expression, a join, a range or an order; EXPLAIN, which shows what the
//! planner does.

mod cache;
mod fit;
mod plan;
mod read;
mod search;
mod shape;
mod syntax;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::ScalarValue;
use datafusion::common::config::Dialect;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use netabase_store::{Error, ErrorKind};

use crate::engine::Engine;
use crate::output::Output;
use crate::panics;
use crate::path;
use crate::running::Statement as Running;
use crate::statement;
use crate::upkeep::Parsed;

pub(crate) use self::cache::{Known, PointCache};
pub(crate) use self::fit::{assignable, lossless};
use self::plan::{Action, Plan};
use self::shape::Shape;
pub(crate) use self::shape::number as literal_number;
pub(crate) use self::syntax::{negated, place};

/// A statement that takes the point path, with its values.
#[derive(Debug)]
#[must_use = "it does nothing until it is run"]
pub struct PointCall {
    engine: Engine,
    plan: Arc<Plan>,
    values: Vec<ScalarValue>,
    /// The statement, if it writes.
    text: Option<Arc<str>>,
    /// Whether it was among the statements that run, and so counted already.
    tracked: AtomicBool,
    /// Whether it is a part of a statement that runs.
    inside: bool,
}

impl PointCall {
    /// Whether it changes rows.
    pub fn writes(&self) -> bool {
        self.plan.action.writes()
    }

    /// Whether it looks for rows by a value that is no key.
    pub fn searches(&self) -> bool {
        matches!(self.plan.action, Action::Search(_))
    }

    /// Runs it; `None` if it is better left to the planner, in which case nothing was done. With
    /// `anywhere`, no runtime is needed: then only rows of this peer are read and written, and only few
    /// are searched for.
    ///
    /// # Errors
    /// Those of [`Engine::sql`].
    pub async fn run(self, anywhere: bool) -> Result<Option<Output>, Error> {
        match panics::caught(self.work(anywhere)).await {
            // The table was dropped a moment ago: the planner says so in its own words.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            ran => {
                self.count(&ran);
                ran
            }
        }
    }

    /// The same as a part of the statement that this task works on, which is counted already.
    pub(crate) async fn run_inside(mut self) -> Result<Option<Output>, Error> {
        self.inside = true;
        match self.work(false).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Ok(Some(output)) => {
                // Rows that were written are counted by their receipt.
                if output.receipt().is_none() {
                    Running::current().add_rows(output.ready_rows());
                }
                Ok(Some(output))
            }
            ran => ran,
        }
    }

    async fn work(&self, anywhere: bool) -> Result<Option<Output>, Error> {
        match &self.plan.action {
            Action::Read(read) => self.read(read),
            Action::Search(search) => self.search(search, anywhere),
            Action::Insert(insert) => self.insert(insert, anywhere).await,
            Action::Update(update) => self.update(update, anywhere).await,
            Action::Delete(delete) => self.delete(delete, anywhere).await,
        }
    }

    /// Counts what was done, unless it was left to the planner.
    fn count(&self, ran: &Result<Option<Output>, Error>) {
        let counts = self.engine.running().counts();
        let tracked = self.tracked.load(Ordering::Relaxed);
        match ran {
            Ok(None) => {}
            Ok(Some(output)) => counts.add_done(!tracked, output),
            Err(_) if tracked => {}
            Err(_) => counts.add_failed(),
        }
    }
}

impl Engine {
    /// The call that a text amounts to, if it is one statement that takes the point path.
    pub fn point(&self, text: &str) -> Option<PointCall> {
        if !self.takes_points() {
            return None;
        }
        let shape = Shape::of(text)?;
        let known = match self.points().get(&shape.text) {
            Some(known) => known,
            None => {
                let known = Arc::new(self.recognise(&shape.text, true));
                self.points().put(&shape.text, &known);
                known
            }
        };
        let plan = self.plan_of(&known)?;
        let values = shape.literals.iter().map(|literal| literal.to_scalar());
        let values = values.collect::<Option<_>>()?;
        Some(self.call(plan, values, || text.into()))
    }

    /// What there is to know about the syntax of a text; `shape` as in `syntax`.
    pub(crate) fn recognise(&self, text: &str, shape: bool) -> Known {
        let state = self.context().state_ref();
        let options = Arc::clone(state.read().config_options());
        let parsed = statement::parse(text, &options);
        let statement = match parsed.ok().as_deref() {
            Some([Parsed::Sql(Statement::Statement(statement))]) => {
                syntax::recognise(statement, shape)
            }
            _ => None,
        };
        Known::new(statement)
    }

    /// The same for a statement that is parsed already.
    pub(crate) fn recognise_statement(&self, statement: &SqlStatement) -> Known {
        Known::new(syntax::recognise(statement, false))
    }

    /// The call of something known, whose text is this, with these values.
    pub(crate) fn point_call(
        &self,
        known: &Known,
        (text, values): (&Arc<str>, &[ScalarValue]),
    ) -> Option<PointCall> {
        if !self.takes_points() {
            return None;
        }
        let plan = self.plan_of(known)?;
        Some(self.call(plan, values.to_vec(), || Arc::clone(text)))
    }

    fn call(
        &self,
        plan: Arc<Plan>,
        values: Vec<ScalarValue>,
        text: impl FnOnce() -> Arc<str>,
    ) -> PointCall {
        PointCall {
            engine: self.clone(),
            text: plan.action.writes().then(text),
            plan,
            values,
            tracked: AtomicBool::new(false),
            inside: false,
        }
    }

    fn plan_of(&self, known: &Known) -> Option<Arc<Plan>> {
        let statement = known.statement()?;
        let table = &statement.table;
        let found = match (&table.bare, self.search_path()) {
            (Some(bare), Some(path)) => {
                let schema = path::find(&path, self.store(), bare);
                schema.map(|schema| path::name_in(&schema, bare))
            }
            _ => None,
        };
        let name = found.as_ref().unwrap_or(&table.stored);
        let def = crate::catalog::live_table(self.store(), name)?;
        known.plan(&def, || Plan::of(statement, &def, self.store()))
    }

    /// Whether the session reads SQL as `shape` does, and rows as they are stored: a transaction has
    /// others.
    fn takes_points(&self) -> bool {
        if self.is_general() || self.transaction().is_open() {
            return false;
        }
        let state = self.context().state_ref();
        let state = state.read();
        let parser = &state.config_options().sql_parser;
        parser.dialect == Dialect::Generic && !parser.parse_float_as_decimal
    }
}
