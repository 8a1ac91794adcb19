//! The engine: one session over one store.
//!
//! Purpose: [`Engine`] takes text and gives [`Output`]; it decides which part of this crate runs a
//! statement.
//!
//! Non-goals: several sessions with settings of their own; access rules.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlan, Statement as PlanStatement};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{ResetStatement, Statement};
use datafusion::sql::sqlparser::ast::{ColumnDef, Statement as SqlStatement};
use netabase_store::{Error, Store, TableDef};
use parking_lot::RwLock;

use crate::apply::Apply;
use crate::cast_names::CastNames;
use crate::catalog::{CATALOG, StoreCatalog};
use crate::checked::CheckedArithmetic;
use crate::cluster::{BulkSink, Cluster, WriteReceipt};
use crate::colocate::CoLocate;
use crate::copy::{self, CopyOptions};
use crate::deadline::Deadline;
use crate::dml::Gathered;
use crate::doubled;
use crate::error::{error_from_datafusion, invalid};
use crate::functions::{KnownKinds, LongLists, TextCasts, register_functions};
use crate::instants::ExactInstants;
use crate::memory::QueryPool;
use crate::mended;
use crate::not_in::NotIn;
use crate::open::{self, Look};
use crate::output::Output;
use crate::own_settings::{self, Defaults, OwnSettings};
use crate::point::PointCache;
use crate::prepare::PreparedStatements;
use crate::running::{Running, beginning};
use crate::same_names;
use crate::sample::Sampler;
use crate::set_all::SetAll;
use crate::settings::EngineSettings;
use crate::syntax::{HiddenLists, is_deep};
use crate::system::Sources;
use crate::table_checker::check_tables as check_statement;
use crate::transaction::{self, Transaction};
use crate::types::Types;
use crate::uniqueness::Uniqueness;
use crate::upkeep::{self, Parsed};
use crate::views::Views;
use crate::writes::Writes;
use crate::{
    ddl, dml, explain, explain_changes, panics, path, prepare, provenance, query, runtime, show,
    statement, types,
};

/// A SQL engine over a store and a cluster. Clones share everything. A store has one: what a second one
/// is in the middle of, the first would take for something left over.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    /// What stands for the parameters of statements that this handle runs.
    parameters: Option<Arc<[ScalarValue]>>,
    /// Whether this handle leaves everything to the planner.
    general: bool,
    /// What the parts of a statement change, until all of it is written.
    gathered: Option<Arc<Gathered>>,
}

struct Inner {
    context: SessionContext,
    store: Store,
    cluster: Arc<dyn Cluster>,
    settings: EngineSettings,
    defaults: Defaults,
    running: Arc<Running>,
    unique: Arc<Uniqueness>,
    writes: Writes,
    in_work: ddl::InWork,
    transaction: Transaction,
    points: PointCache,
    /// The session that the catalog belongs to, which plans its views for the others as well.
    origin: Arc<RwLock<SessionState>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("cluster", &self.inner.cluster)
            .field("settings", &self.inner.settings)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens an engine. `customize` sees the session last, before it is built: a planner, an
    /// optimizer rule or a setting that it installs stays.
    ///
    /// # Errors
    /// `InvalidInput` when a setting is out of range; whatever `customize` returns.
    pub fn new(
        store: Store,
        cluster: Arc<dyn Cluster>,
        settings: EngineSettings,
        customize: impl FnOnce(SessionStateBuilder) -> Result<SessionStateBuilder, DataFusionError>,
    ) -> Result<Engine, Error> {
        settings.validate()?;
        let pool = Arc::new(QueryPool::new(settings.memory_limit));
        let runtime = runtime::closed_runtime_with(Arc::clone(&pool) as _, settings.spill_limit)
            .map_err(error_from_datafusion)?;
        let own_settings = OwnSettings::new(Arc::clone(&pool), &settings);
        let mut config = runtime::session_config(&settings);
        config.options_mut().extensions.insert(own_settings);
        let types = Types::in_queries(config.options());
        let builder = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_type_planner(Arc::new(types));
        let builder = customize(with_rules(builder)).map_err(error_from_datafusion)?;
        let mut state = builder.build();
        extend(&mut state).map_err(error_from_datafusion)?;
        let context = SessionContext::new_with_state(state);
        let views = Arc::new(Views::default());
        views.set_session(context.state_weak_ref(), store.clone());
        let defaults = Defaults::new(context.state_ref().read().config_options(), &settings);
        let running = Arc::default();
        let sources = Sources {
            store: store.clone(),
            running: Arc::clone(&running),
            pool,
            defaults: defaults.clone(),
            session: context.state_weak_ref(),
            views,
            planned: HashMap::new(),
        };
        let catalog = StoreCatalog::new(Arc::clone(&cluster), sources);
        context.register_catalog(CATALOG, Arc::new(catalog));
        Ok(Engine {
            inner: Arc::new(Inner {
                origin: context.state_ref(),
                context,
                store,
                cluster,
                settings,
                defaults,
                running,
                unique: Arc::default(),
                writes: Writes::default(),
                in_work: ddl::InWork::default(),
                transaction: Transaction::default(),
                points: PointCache::default(),
            }),
            parameters: None,
            general: false,
            gathered: None,
        })
    }

    /// The DataFusion session. Statements run through it directly bypass this crate's checks; its
    /// tables take no writes that way.
    pub fn context(&self) -> &SessionContext {
        &self.inner.context
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Who owns the rows.
    pub fn cluster(&self) -> &Arc<dyn Cluster> {
        &self.inner.cluster
    }

    /// The limits that the engine was opened with.
    pub fn settings(&self) -> &EngineSettings {
        &self.inner.settings
    }

    /// Runs exactly one statement.
    ///
    /// # Errors
    /// `InvalidInput` for wrong SQL and statements that are not supported; `NotFound` for unknown
    /// tables and files; `Conflict` for names and keys that exist twice; `Capacity` when a limit is
    /// reached; `Unavailable` when rows cannot be reached or the time is up.
    pub async fn sql(&self, text: &str) -> Result<Output, Error> {
        if let Some(call) = self.point(text)
            && let Some(output) = call.run(false).await?
        {
            return Ok(output);
        }
        self.general(text).await
    }

    /// Like [`sql`](Self::sql), and leaves everything to the planner.
    pub(crate) async fn general(&self, text: &str) -> Result<Output, Error> {
        let mut statements = self.parse(text)?;
        match (statements.pop(), statements.len()) {
            (Some(statement), 0) => {
                let work = panics::caught(self.execute(statement));
                let ran = self.inner.running.track(text, work).await;
                ran.map_err(|error| self.explain(error, text, Some(0)))
            }
            (None, _) => Err(invalid("there is no statement to run")),
            (Some(_), more) => Err(invalid(format!(
                "one statement was expected, but there are {}: run several with run_script",
                more + 1
            ))),
        }
    }

    /// A handle that leaves every statement to the planner, to compare with.
    #[doc(hidden)]
    #[must_use]
    pub fn without_point_path(&self) -> Engine {
        Engine {
            general: true,
            ..self.clone()
        }
    }

    /// A handle whose statements have these values in the place of their parameters.
    pub(crate) fn with_parameters(&self, values: Vec<ScalarValue>) -> Engine {
        Engine {
            parameters: Some(values.into()),
            ..self.clone()
        }
    }

    /// A handle that writes nothing, and keeps what is to be written.
    pub(crate) fn gathering(&self, gathered: &Arc<Gathered>) -> Engine {
        Engine {
            gathered: Some(Arc::clone(gathered)),
            ..self.clone()
        }
    }

    pub(crate) fn gathered(&self) -> Option<&Gathered> {
        self.gathered.as_deref()
    }

    /// What a statement is planned with.
    pub(crate) fn state(&self) -> Result<SessionState, Error> {
        let mut state = self.context().state();
        if let Some(gathered) = &self.gathered {
            gathered.enter(&mut state)?;
        }
        Ok(state)
    }

    pub(crate) fn is_general(&self) -> bool {
        self.general
    }

    pub(crate) fn points(&self) -> &PointCache {
        &self.inner.points
    }

    /// Runs statements in order, each to its end. The first failure stops the script; what ran
    /// before it stays.
    ///
    /// # Errors
    /// Those of [`Engine::sql`], preceded by the number of the statement when there are several.
    pub async fn script(&self, text: &str) -> Result<Vec<Output>, Error> {
        let statements = self.parse(text)?;
        let several = statements.len() > 1;
        let running = &self.inner.running;
        let mut outputs = Vec::with_capacity(statements.len());
        for (index, statement) in statements.into_iter().enumerate() {
            let own = if several {
                statement.short()
            } else {
                String::new()
            };
            let named = if several { own.as_str() } else { text };
            let work = panics::caught(self.execute(statement));
            let ran = match running.track(named, work).await {
                Ok(output) => output.buffered().await,
                Err(error) => Err(error),
            };
            outputs.push(ran.map_err(|error| {
                let error = self.explain(error, text, Some(index));
                if several {
                    Error::new(error.kind(), format!("statement {}: {error}", index + 1))
                } else {
                    error
                }
            })?);
        }
        Ok(outputs)
    }

    /// Runs a logical plan, with the same rules as for text.
    ///
    /// # Errors
    /// Those of [`Engine::sql`].
    pub async fn query_plan(&self, logical: LogicalPlan) -> Result<Output, Error> {
        let text = beginning(logical.display());
        let run = panics::caught(async { self.run_plan(logical, self.deadline()).await });
        self.inner.running.track(text, run).await
    }

    /// Ends a statement that runs: its work stops, and what it holds is freed. A statement that has
    /// begun to write its rows goes on to its end. `CANCEL QUERY id` is the same; the ids are in
    /// `netabase.queries`.
    ///
    /// # Errors
    /// `NotFound` when no statement with this id is running, `Conflict` when it is writing its rows.
    pub fn cancel(&self, id: u64) -> Result<(), Error> {
        self.inner.running.cancel(id)
    }

    /// Loads a file into a table, or all files that match a pattern like `folder/*.csv`. Everything
    /// is checked before the first row is visible; should a replica be lost while rows are written,
    /// earlier ones stay, and loading again is safe. `progress` hears how many rows of how many are
    /// written; of large files, about how many. `COPY table FROM 'file'` is the same.
    ///
    /// # Errors
    /// `NotFound` when there is no such table or file, `InvalidInput` when a row, a column or an
    /// option does not fit (naming line or column) or a file is damaged, `Conflict` when a key appears
    /// twice, `Capacity` when the rows take more than `max_insert_bytes` and cannot be loaded in
    /// bounded memory.
    pub async fn copy_from(
        &self,
        table: &str,
        path: impl AsRef<Path>,
        options: CopyOptions,
        mut progress: impl FnMut(u64, u64) + Send,
    ) -> Result<WriteReceipt, Error> {
        let name = path::object_name(table);
        let def = ddl::table_to_write(self, &name)?;
        let path = path.as_ref();
        let text = format!("COPY {table} FROM '{}'", path.display());
        let copy = copy::copy_from(self, def, (path, options), &mut progress);
        let running = &self.inner.running;
        let receipt = running.track(text, copy).await?;
        running.counts().add_written(receipt.rows);
        Ok(receipt)
    }

    /// Writes the rows of a query (`SELECT * FROM t`) to a file, and tells how many there were. A file
    /// of that name is replaced when all of the new one is on disk, and not touched before.
    /// `progress` hears how many rows the file has so far. `COPY (query) TO 'file'` is the same.
    ///
    /// # Errors
    /// Those of [`Engine::sql`] for the query; `NotFound` when the folder does not exist,
    /// `InvalidInput` when an option or a column does not fit the format, `Io` when the file cannot be
    /// written.
    pub async fn copy_to(
        &self,
        query: &str,
        path: impl AsRef<Path>,
        options: CopyOptions,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<u64, Error> {
        let path = path.as_ref();
        let text = format!("COPY ({query}) TO '{}'", path.display());
        let query = copy::query_of(self.parse(query)?)?;
        let copy = copy::copy_to(self, query, (path, options), &mut progress);
        Ok(self.inner.running.track(text, copy).await?.0)
    }

    pub(crate) fn schema_of_columns(
        &self,
        columns: Vec<ColumnDef>,
    ) -> Result<Schema, DataFusionError> {
        types::schema_of_columns(self.context().state().config_options(), columns)
    }

    /// A way to load many rows of a table at once, where there is one.
    pub(crate) fn bulk_sink(
        &self,
        def: &Arc<TableDef>,
    ) -> Result<Option<Box<dyn BulkSink>>, Error> {
        // Whether rows are unique is found out with all of them in hand, and a transaction keeps them.
        let keeps = self.transaction().is_open() || self.gathered.is_some();
        if !def.options.rules.unique.is_empty() || keeps {
            return Ok(None);
        }
        let sink = self.cluster().bulk_sink(def)?;
        Ok(sink.map(|sink| Uniqueness::guarded(self, def, sink)))
    }

    /// Who writes rows that must have values that no other has.
    pub(crate) fn unique(&self) -> &Arc<Uniqueness> {
        &self.inner.unique
    }

    pub(crate) fn writes(&self) -> &Writes {
        &self.inner.writes
    }

    /// The tables that statements are making or copying.
    pub(crate) fn in_work(&self) -> &ddl::InWork {
        &self.inner.in_work
    }

    /// The statements that run.
    pub(crate) fn running(&self) -> &Arc<Running> {
        &self.inner.running
    }

    /// Removes what statements that were never finished have left behind, so that names and rows are
    /// free again. To be called when the engine is opened.
    pub async fn discard_unfinished(&self) {
        ddl::discard_unfinished(self).await;
    }

    /// The session's prepared statements.
    pub(crate) fn prepared(&self) -> Arc<PreparedStatements> {
        OwnSettings::prepared_in(self.context().state_ref().read().config_options())
    }

    /// The session's transaction.
    pub(crate) fn transaction(&self) -> &Transaction {
        &self.inner.transaction
    }

    /// Another session over the same tables: with settings, prepared statements and a transaction of
    /// its own. Memory of queries is shared.
    #[must_use]
    pub fn session(&self) -> Engine {
        let inner = &self.inner;
        let mut state = SessionStateBuilder::new_from_existing(inner.context.state())
            .with_session_id(inner.store.clock().now().to_string())
            .build();
        OwnSettings::begin_session(state.config_mut().options_mut());
        Engine {
            inner: Arc::new(Inner {
                context: SessionContext::new_with_state(state),
                origin: Arc::clone(&inner.origin),
                store: inner.store.clone(),
                cluster: Arc::clone(&inner.cluster),
                settings: inner.settings.clone(),
                defaults: inner.defaults.clone(),
                running: Arc::clone(&inner.running),
                unique: Arc::clone(&inner.unique),
                writes: inner.writes.clone(),
                in_work: inner.in_work.clone(),
                transaction: Transaction::default(),
                points: PointCache::default(),
            }),
            parameters: None,
            general: self.general,
            gathered: None,
        }
    }

    /// What settings began with.
    pub(crate) fn defaults(&self) -> &Defaults {
        &self.inner.defaults
    }

    /// Runs a query of this crate's own.
    pub(crate) async fn ask(&self, query: &str) -> Result<Output, Error> {
        match self.parse(query)?.pop() {
            Some(Parsed::Sql(query)) => self.plan_and_run(query).await,
            _ => Err(invalid(format!("{query} is not a query"))),
        }
    }

    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(OwnSettings::timeout_of(self.context()))
    }

    pub(crate) fn parse(&self, text: &str) -> Result<Vec<Parsed>, Error> {
        let state = self.context().state_ref();
        // A copy, because long texts take their time.
        let options = Arc::clone(state.read().config_options());
        let parsed = statement::parse(text, &options);
        parsed.map_err(|error| self.explain(error, text, None))
    }

    /// Adds the place in the text, near names and the page to read, where they are known.
    fn explain(&self, error: Error, text: &str, statement: Option<usize>) -> Error {
        explain::explain(error, (text, statement), (self.context(), self.store()))
    }

    /// Runs one parsed statement.
    pub(crate) async fn execute(&self, parsed: Parsed) -> Result<Output, Error> {
        let mut parsed = match parsed {
            Parsed::Sql(parsed) => parsed,
            Parsed::Copy(copy) => return copy::run(self, *copy).await,
            Parsed::Checkpoint => return upkeep::checkpoint(self).await,
            Parsed::Compact(table) => return upkeep::compact(self, &table).await,
            Parsed::Refresh(view) => return ddl::refresh(self, &view).await,
            Parsed::Cancel(id) => return self.cancel(id).map(|()| Output::empty()),
            Parsed::Show(show) => return Box::pin(show::run(self, show)).await,
        };
        check_tables(&mut parsed)?;
        match parsed {
            Statement::Statement(inner) => Box::pin(self.execute_sql(*inner)).await,
            Statement::CreateExternalTable(_) => Err(statement::external_table()),
            Statement::CopyTo(_) => Err(statement::nested_write()),
            Statement::Reset(ResetStatement::Variable(name)) => {
                own_settings::reset_statement(self, &name).await?;
                Ok(Output::empty())
            }
            Statement::Explain(explain) => {
                match Box::pin(explain_changes::run(self, explain)).await? {
                    Ok(output) => Ok(output),
                    Err(query) => self.plan_and_run(query).await,
                }
            }
        }
    }

    async fn execute_sql(&self, mut inner: SqlStatement) -> Result<Output, Error> {
        let mut with = None;
        if let SqlStatement::Query(query) = &inner
            && dml::changes_in_with(query)
        {
            let SqlStatement::Query(query) = inner else {
                return Err(statement::nested_write());
            };
            return Box::pin(dml::run_with_changes(self, *query)).await;
        }
        if let SqlStatement::Query(query) = &mut inner
            && let Some(change) = dml::change_of(query)
        {
            (with, inner) = change;
            check_statement(&inner)?;
        }
        if self.transaction().is_open() {
            statement::check_in_transaction(&inner)?;
        }
        match inner {
            SqlStatement::CreateTable(_)
            | SqlStatement::CreateIndex(_)
            | SqlStatement::CreateView(_)
            | SqlStatement::CreateSchema { .. }
            | SqlStatement::AlterTable(_)
            | SqlStatement::Comment { .. }
            | SqlStatement::Drop { .. } => ddl::run(self, inner).await,
            SqlStatement::Insert(_)
            | SqlStatement::Update(_)
            | SqlStatement::Delete(_)
            | SqlStatement::Merge(_)
            | SqlStatement::Truncate(_) => dml::run(self, inner, with).await,
            SqlStatement::StartTransaction { .. }
            | SqlStatement::Commit { .. }
            | SqlStatement::Rollback { .. }
            | SqlStatement::Savepoint { .. }
            | SqlStatement::ReleaseSavepoint { .. } => transaction::run(self, inner).await,
            SqlStatement::Set(set) => {
                own_settings::set_statement(self, &set).await?;
                Ok(Output::empty())
            }
            SqlStatement::Prepare {
                name,
                data_types,
                statement,
            } => prepare::prepare(self, (&name, data_types), *statement).await,
            execute @ SqlStatement::Execute { .. } => prepare::execute(self, execute).await,
            SqlStatement::Deallocate { name, .. } => prepare::deallocate(self, &name),
            SqlStatement::Query(_)
            | SqlStatement::Explain { .. }
            | SqlStatement::ExplainTable { .. } => {
                let statement = Statement::Statement(Box::new(inner));
                self.plan_and_run(statement).await
            }
            other => Err(statement::unsupported(&other)),
        }
    }

    async fn plan_and_run(&self, parsed: Statement) -> Result<Output, Error> {
        let deadline = self.deadline();
        let state = self.state()?;
        let logical = self.plan_in(&state, parsed, &deadline).await?;
        self.run_plan(logical, deadline).await
    }

    /// Plans a query that changes nothing, and says until when it may run.
    pub(crate) async fn plan_query(
        &self,
        query: SqlStatement,
    ) -> Result<(LogicalPlan, Deadline), Error> {
        let deadline = self.deadline();
        let mut query = Statement::Statement(Box::new(query));
        check_tables(&mut query)?;
        let state = self.state()?;
        let plan = self.plan_in(&state, query, &deadline).await?;
        refuse_writes(&plan)?;
        Ok((plan, deadline))
    }

    /// Plans a statement with what a state knows.
    pub(crate) async fn plan_in(
        &self,
        state: &SessionState,
        parsed: Statement,
        deadline: &Deadline,
    ) -> Result<LogicalPlan, Error> {
        let mut parsed = parsed;
        let look = Look {
            engine: self,
            state,
            deadline,
        };
        let lists = HiddenLists::taken_from(&mut parsed);
        if let Some(statement) = provenance::sql_of(&mut parsed) {
            dml::refuse_changes_inside(statement)?;
            path::qualify(statement, &self.search_path(), self.store());
            Box::pin(open::settle(&look, statement)).await?;
        }
        let mut shown = None;
        if provenance::prepare(&mut parsed, self.store())? {
            provenance::serve(shown.insert(state.clone()));
        }
        let state = shown.as_ref().unwrap_or(state);
        let look = Look { state, ..look };
        let planning = async {
            let plan = Box::pin(planned(&look, parsed, lists)).await?;
            let plan = plan.and_then(|plan| match &self.parameters {
                Some(values) => plan.with_param_values(values.to_vec()),
                None => Ok(plan),
            });
            plan.map_err(error_from_datafusion)
        };
        deadline.bound(planning).await
    }

    async fn run_plan(&self, logical: LogicalPlan, deadline: Deadline) -> Result<Output, Error> {
        match logical {
            LogicalPlan::Dml(write) => dml::execute(self, write, deadline).await,
            LogicalPlan::Statement(inner) => self.run_session_statement(inner).await,
            LogicalPlan::Ddl(_) | LogicalPlan::Copy(_) => Err(invalid(
                "a plan may query, insert or delete; definitions and files are handled as SQL text",
            )),
            query => {
                refuse_writes(&query)?;
                query::run(self, &query, deadline).await
            }
        }
    }

    /// SET and RESET change the session.
    async fn run_session_statement(&self, inner: PlanStatement) -> Result<Output, Error> {
        match &inner {
            PlanStatement::SetVariable(set) => {
                own_settings::change(self, &set.variable, set.value.clone()).await?;
                Ok(Output::empty())
            }
            PlanStatement::ResetVariable(reset) => {
                own_settings::reset(self, &reset.variable).await?;
                Ok(Output::empty())
            }
            other => Err(invalid(format!(
                "{} is not supported in a plan: hand it over as SQL text",
                other.name()
            ))),
        }
    }
}

/// Plans a statement, in which the names of tables may stand for their rows, and which gets its lists back.
async fn planned(
    look: &Look<'_>,
    mut parsed: Statement,
    lists: HiddenLists,
) -> Result<Result<LogicalPlan, DataFusionError>, Error> {
    let names_rows =
        provenance::sql_of(&mut parsed).is_some_and(|it| open::may_name_rows(it) && !is_deep(it));
    if !names_rows {
        return Ok(doubled::plan(look.state, parsed, lists).await);
    }
    loop {
        let error = match doubled::plan(look.state, parsed.clone(), lists.clone()).await {
            Ok(plan) => return Ok(Ok(plan)),
            Err(error) => error,
        };
        let Some(statement) = provenance::sql_of(&mut parsed) else {
            return Ok(Err(error));
        };
        // Each time one name less is left.
        if !open::settle_rows(look, statement, &error).await? {
            return Ok(Err(error));
        }
    }
}

/// The rules of this crate among DataFusion's, in their order.
fn with_rules(builder: SessionStateBuilder) -> SessionStateBuilder {
    let builder = builder
        .with_optimizer_rules(mended::optimizer_rules())
        .with_analyzer_rules(mended::analysis())
        .with_analyzer_rule(Arc::new(SetAll))
        .with_analyzer_rule(Arc::new(Apply))
        .with_analyzer_rule(Arc::new(NotIn))
        .with_analyzer_rule(Arc::new(TextCasts))
        .with_analyzer_rule(Arc::new(KnownKinds))
        .with_analyzer_rule(Arc::new(ExactInstants))
        .with_analyzer_rule(Arc::new(LongLists))
        .with_analyzer_rule(Arc::new(CheckedArithmetic))
        .with_physical_optimizer_rules(CoLocate::among_defaults());
    let rules = mended::analyzer_rules().into_iter();
    rules.fold(builder, SessionStateBuilder::with_analyzer_rule)
}

/// What SQL has here besides DataFusion's.
fn extend(state: &mut SessionState) -> Result<(), DataFusionError> {
    register_functions(state)?;
    state.register_expr_planner(Arc::new(CastNames))?;
    state.register_relation_planner(Arc::new(Sampler))
}

/// Fails for names that are there twice, and for tables that are read or written in a way that is refused.
pub(crate) fn check_tables(parsed: &mut Statement) -> Result<(), Error> {
    let lists = HiddenLists::taken_from(parsed);
    let checked = check_names(parsed);
    lists.put_back(parsed).map_err(error_from_datafusion)?;
    checked
}

fn check_names(parsed: &Statement) -> Result<(), Error> {
    match parsed {
        Statement::Statement(inner) => {
            if let SqlStatement::Explain { statement, .. } = inner.as_ref() {
                statement::check_explained(statement)?;
            }
            same_names::check(inner)?;
            check_statement(inner)
        }
        Statement::Explain(explain) => check_names(&explain.statement),
        _ => Ok(()),
    }
}

/// Fails when a plan changes something anywhere below its root.
pub(crate) fn refuse_writes(plan: &LogicalPlan) -> Result<(), Error> {
    let mut writes = false;
    plan.apply_with_subqueries(|node| {
        writes |= matches!(
            node,
            LogicalPlan::Dml(_)
                | LogicalPlan::Ddl(_)
                | LogicalPlan::Copy(_)
                | LogicalPlan::Statement(_)
        );
        Ok(if writes {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    })
    .map_err(error_from_datafusion)?;
    if writes {
        Err(statement::nested_write())
    } else {
        Ok(())
    }
}
