//! Settings that statements read and change: `SET`, `RESET` and `SHOW`.
//!
//! Purpose: the settings `netabase.…`, the names that other databases have for some of them, and the
//! rules for those of DataFusion: what a statement may change, within which bounds, and what RESET
//! goes back to.
//!
//! Invariant: a value that is refused changes nothing. RESET gives what the engine was opened with.
//!
//! Non-goals: settings that outlive the engine.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    LogicalPlan, ResetVariable, SetVariable, Statement as PlanStatement,
};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{
    ContextModifier, Expr as SqlExpr, ObjectName, Set, UnaryOperator, Value,
};
use netabase_store::Error;

use crate::engine::Engine;
use crate::error::{error_from_datafusion, error_to_datafusion, invalid};
use crate::memory::QueryPool;
use crate::near::did_you_mean;
use crate::path::{self, SearchPath};
use crate::prepare::PreparedStatements;
use crate::quantity::{millis, millis_text, size, size_text};
use crate::settings::{EngineSettings, MAX_BATCH_SIZE, MAX_TARGET_PARTITIONS};
use crate::statement::{fixedness, ident_of, protection};

/// What settings of netabase begin with.
const PREFIX: &str = "netabase";
const MEMORY_LIMIT: &str = "memory_limit";
const STATEMENT_TIMEOUT: &str = "statement_timeout";
const SEARCH_PATH: &str = "search_path";

const SEARCH_PATH_SETTING: &str = "netabase.search_path";
const BATCH_SIZE: &str = "datafusion.execution.batch_size";
const TARGET_PARTITIONS: &str = "datafusion.execution.target_partitions";
const TIME_ZONE: &str = "datafusion.execution.time_zone";
/// What UTC is called, and the words for the zone that there is.
const UTC_NAMES: [&str; 14] = [
    "utc",
    "etc/utc",
    "gmt",
    "etc/gmt",
    "uct",
    "universal",
    "zulu",
    "z",
    "0",
    "+0",
    "+00",
    "+00:00",
    "local",
    "default",
];

/// Other names of settings.
const ALIASES: [(&str, &str); 7] = [
    ("search_path", "netabase.search_path"),
    ("schema", "netabase.search_path"),
    ("statement_timeout", "netabase.statement_timeout"),
    ("netabase.batch_size", BATCH_SIZE),
    ("netabase.target_partitions", TARGET_PARTITIONS),
    ("timezone", TIME_ZONE),
    ("time.zone", TIME_ZONE),
];

/// The settings `netabase.…` of a session. The limit of the memory is the engine's, so that copies
/// of a session share it; the others are the session's own.
#[derive(Debug, Clone)]
pub(crate) struct OwnSettings {
    pool: Arc<QueryPool>,
    /// In milliseconds; zero means none.
    statement_timeout: u64,
    path: SearchPath,
    prepared: Arc<PreparedStatements>,
}

impl OwnSettings {
    pub(crate) fn new(pool: Arc<QueryPool>, settings: &EngineSettings) -> Self {
        let timeout = settings.statement_timeout.as_millis();
        Self {
            pool,
            // Less than a millisecond is still a timeout.
            statement_timeout: u64::try_from(timeout).unwrap_or(u64::MAX).max(1),
            path: None,
            prepared: Arc::default(),
        }
    }

    /// Where a session looks for names without a schema.
    pub(crate) fn path_of(context: &SessionContext) -> SearchPath {
        let state = context.state_ref();
        let state = state.read();
        Self::path_in(state.config_options())
    }

    /// The same, of some settings.
    pub(crate) fn path_in(options: &ConfigOptions) -> SearchPath {
        let own = options.extensions.get::<Self>();
        own.and_then(|own| own.path.clone())
    }

    /// The prepared statements of a session.
    pub(crate) fn prepared_in(options: &ConfigOptions) -> Arc<PreparedStatements> {
        let own = options.extensions.get::<Self>();
        own.map(|own| Arc::clone(&own.prepared)).unwrap_or_default()
    }

    /// Lets a copy of a session's settings be those of another session.
    pub(crate) fn begin_session(options: &mut ConfigOptions) {
        if let Some(own) = options.extensions.get_mut::<Self>() {
            own.prepared = Arc::default();
        }
    }

    /// How long a statement of this session may run; `None` if it may run for ever.
    pub(crate) fn timeout_of(context: &SessionContext) -> Option<Duration> {
        let state = context.state_ref();
        let state = state.read();
        let own = state.config_options().extensions.get::<Self>()?;
        (own.statement_timeout > 0).then(|| Duration::from_millis(own.statement_timeout))
    }
}

impl ConfigExtension for OwnSettings {
    const PREFIX: &'static str = PREFIX;
}

impl ExtensionOptions for OwnSettings {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> DataFusionResult<()> {
        let name = format!("{PREFIX}.{key}");
        let set = match key {
            MEMORY_LIMIT => size(&name, value).and_then(|bytes| self.pool.set_limit(bytes)),
            STATEMENT_TIMEOUT => millis(&name, value).map(|time| self.statement_timeout = time),
            SEARCH_PATH => path::parse(value).map(|path| self.path = path),
            _ => Err(invalid(format!("there is no setting \"{name}\""))),
        };
        set.map_err(error_to_datafusion)
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |key: &str, value, description| ConfigEntry {
            key: format!("{PREFIX}.{key}"),
            value: Some(value),
            description,
        };
        vec![
            entry(
                MEMORY_LIMIT,
                size_text(self.pool.limit()),
                "Memory that all queries asked of this peer together use before they spill: \
                 bytes, or a number with kB, MB, GB or TB (of 1024)",
            ),
            entry(
                SEARCH_PATH,
                path::text_of(&self.path),
                "Schemas in which tables are looked for whose names say none, in order; new ones \
                 are made in the first",
            ),
            entry(
                STATEMENT_TIMEOUT,
                millis_text(self.statement_timeout),
                "How long a statement may run before it is ended: milliseconds, or a number with \
                 ms, s, min, h or d; 0 for ever",
            ),
        ]
    }
}

/// One setting, as `netabase.settings` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) default: Option<String>,
    pub(crate) unit: Option<&'static str>,
    pub(crate) description: String,
    pub(crate) changeable: bool,
}

/// What a session began with, and what is fixed.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    opened: Arc<Vec<ConfigEntry>>,
    settings: EngineSettings,
}

impl Defaults {
    pub(crate) fn new(options: &ConfigOptions, settings: &EngineSettings) -> Self {
        Self {
            opened: Arc::new(options.entries()),
            settings: settings.clone(),
        }
    }

    /// The value that a setting began with.
    fn of(&self, name: &str) -> Option<&str> {
        let entry = self.opened.iter().find(|entry| entry.key == name)?;
        entry.value.as_deref()
    }

    /// All settings by name, with their values of now.
    pub(crate) fn all(&self, options: &ConfigOptions) -> Vec<Shown> {
        let entries = options.entries();
        let mut all: Vec<Shown> = entries
            .iter()
            .map(|entry| self.shown(entry, &entry.key))
            .collect();
        for (alias, name) in ALIASES
            .iter()
            .filter(|(alias, _)| alias.starts_with(PREFIX))
        {
            let entry = entries.iter().find(|entry| entry.key == *name);
            all.extend(entry.map(|entry| self.shown(entry, alias)));
        }
        all.extend(self.fixed());
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn shown(&self, entry: &ConfigEntry, name: &str) -> Shown {
        Shown {
            name: name.to_owned(),
            value: entry.value.clone(),
            default: self.of(&entry.key).map(str::to_owned),
            unit: unit_of(name),
            description: entry.description.to_owned(),
            changeable: is_changeable(&entry.key),
        }
    }

    /// What an engine is opened with.
    fn fixed(&self) -> [Shown; 2] {
        let shown = |name: &str, bytes: u64, description: &str| {
            let value = Some(size_text(usize::try_from(bytes).unwrap_or(usize::MAX)));
            Shown {
                name: format!("{PREFIX}.{name}"),
                default: value.clone(),
                value,
                unit: Some("bytes"),
                description: description.to_owned(),
                changeable: false,
            }
        };
        [
            shown(
                "spill_limit",
                self.settings.spill_limit,
                "Disk that all queries together may use when memory is short; set when the \
                 database is opened",
            ),
            shown(
                "max_insert_bytes",
                self.settings.max_insert_bytes as u64,
                "Memory that the rows of one INSERT, DELETE or COPY may take; set when the \
                 database is opened",
            ),
        ]
    }
}

fn unit_of(name: &str) -> Option<&'static str> {
    match name {
        "netabase.memory_limit" => Some("bytes"),
        "netabase.statement_timeout" => Some("ms"),
        "netabase.batch_size" | BATCH_SIZE => Some("rows"),
        "netabase.target_partitions" | TARGET_PARTITIONS => Some("partitions"),
        name if name.ends_with("_bytes") || name.ends_with("_size_bytes") => Some("bytes"),
        _ => None,
    }
}

/// The name under which a setting is kept.
pub(crate) fn canonical(name: &str) -> String {
    let name = name.replace('"', "").to_lowercase();
    match ALIASES.iter().find(|(alias, _)| *alias == name) {
        Some((_, name)) => (*name).to_owned(),
        None => name,
    }
}

/// `SET name = value`.
///
/// # Errors
/// `InvalidInput` when there is no such setting, it may not be changed, or the value does not fit.
pub(crate) async fn set_statement(engine: &Engine, set: &Set) -> Result<(), Error> {
    if let Set::SetTimeZone { value, .. } = set {
        let value = text_of(value).unwrap_or_else(|| value.to_string());
        return change(engine, TIME_ZONE, value).await;
    }
    let how = "settings are written SET netabase.statement_timeout = '30s'";
    let Set::SingleAssignment {
        scope,
        hivevar: false,
        variable,
        values,
    } = set
    else {
        return Err(invalid(format!("{set} is not supported: {how}")));
    };
    if !matches!(scope, None | Some(ContextModifier::Session)) {
        return Err(invalid(format!(
            "{set} is not supported: leave LOCAL and GLOBAL out; a setting holds until it is set \
             again"
        )));
    }
    let name = variable.to_string();
    if canonical(&name) == SEARCH_PATH_SETTING && !values.is_empty() {
        return set_path(engine, values).await;
    }
    let value = match values.as_slice() {
        [SqlExpr::Identifier(word)]
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default") =>
        {
            return reset(engine, &name).await;
        }
        [value] => text_of(value),
        _ => None,
    };
    match value {
        Some(value) => change(engine, &name, value).await,
        None => Err(invalid(format!("{set} has no single value: {how}"))),
    }
}

/// `SET search_path TO s, public`, whose schemas there must be.
async fn set_path(engine: &Engine, values: &[SqlExpr]) -> Result<(), Error> {
    let mut names = Vec::with_capacity(values.len());
    for value in values {
        let name = match value {
            SqlExpr::Identifier(word)
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default") =>
            {
                return reset(engine, SEARCH_PATH_SETTING).await;
            }
            SqlExpr::Identifier(word) => ident_of(word),
            other => text_of(other).unwrap_or_else(|| other.to_string()),
        };
        // A text may be a list by itself.
        names.push(match name.contains(['"', ',']) {
            true => name,
            false => format!("\"{name}\""),
        });
    }
    let text = names.join(", ");
    for schema in path::parse(&text)?.as_deref().unwrap_or_default() {
        if !path::exists(engine.store(), schema) {
            return Err(path::missing_schema(engine.store(), schema));
        }
    }
    change(engine, SEARCH_PATH_SETTING, text).await
}

/// The text of a value in SET.
fn text_of(value: &SqlExpr) -> Option<String> {
    match value {
        SqlExpr::Identifier(word) => Some(word.value.clone()),
        SqlExpr::Value(value) => match &value.value {
            Value::SingleQuotedString(text)
            | Value::DoubleQuotedString(text)
            | Value::Number(text, _) => Some(text.clone()),
            Value::Boolean(value) => Some(value.to_string()),
            _ => None,
        },
        SqlExpr::UnaryOp { op, expr } => match op {
            UnaryOperator::Plus => text_of(expr),
            UnaryOperator::Minus => text_of(expr).map(|text| format!("-{text}")),
            _ => None,
        },
        _ => None,
    }
}

/// Changes a setting.
///
/// # Errors
/// Those of [`set_statement`].
pub(crate) async fn change(engine: &Engine, name: &str, value: String) -> Result<(), Error> {
    let variable = canonical(name);
    if variable == TIME_ZONE {
        return check_zone(&value);
    }
    check_changeable(engine, name, &variable)?;
    check_range(&variable, &value)?;
    let set = SetVariable { variable, value };
    run(engine, PlanStatement::SetVariable(set)).await
}

/// Fails for a time zone that is not UTC, under one of its names.
fn check_zone(value: &str) -> Result<(), Error> {
    let zone = value.trim().to_ascii_lowercase();
    if UTC_NAMES.contains(&zone.as_str()) {
        return Ok(());
    }
    Err(invalid(format!(
        "the time zone cannot be set to {value}: all peers compute in UTC; convert with AT TIME ZONE where \
         another zone is wanted, like seen AT TIME ZONE 'Europe/Berlin'"
    )))
}

/// `RESET name` and `RESET ALL`.
///
/// # Errors
/// `InvalidInput` when there is no such setting or it may not be changed.
pub(crate) async fn reset_statement(engine: &Engine, name: &ObjectName) -> Result<(), Error> {
    let name = name.to_string();
    if name.eq_ignore_ascii_case("all") {
        return reset_all(engine).await;
    }
    reset(engine, &name).await
}

/// Lets a setting have the value again that it began with.
pub(crate) async fn reset(engine: &Engine, name: &str) -> Result<(), Error> {
    let variable = canonical(name);
    if variable == TIME_ZONE {
        return Ok(());
    }
    check_changeable(engine, name, &variable)?;
    let statement = match engine.defaults().of(&variable) {
        Some(value) => PlanStatement::SetVariable(SetVariable {
            value: value.to_owned(),
            variable,
        }),
        None => PlanStatement::ResetVariable(ResetVariable { variable }),
    };
    run(engine, statement).await
}

async fn reset_all(engine: &Engine) -> Result<(), Error> {
    let now = engine
        .context()
        .state_ref()
        .read()
        .config_options()
        .entries();
    for entry in now {
        let began = engine.defaults().of(&entry.key);
        if entry.value.as_deref() != began && is_changeable(&entry.key) {
            reset(engine, &entry.key).await?;
        }
    }
    Ok(())
}

async fn run(engine: &Engine, statement: PlanStatement) -> Result<(), Error> {
    let plan = LogicalPlan::Statement(statement);
    let done = engine.context().execute_logical_plan(plan).await;
    done.map(|_| ()).map_err(error_from_datafusion)
}

fn is_changeable(name: &str) -> bool {
    protection(name).or_else(|| fixedness(name)).is_none()
}

/// Fails for a setting that does not exist, or that a statement may not change.
fn check_changeable(engine: &Engine, given: &str, variable: &str) -> Result<(), Error> {
    let refused = |why: &str| invalid(format!("\"{variable}\" cannot be changed here: {why}"));
    if let Some(why) = protection(variable) {
        return Err(refused(why));
    }
    check_known(engine, given, variable)?;
    fixedness(variable).map_or(Ok(()), |why| Err(refused(why)))
}

/// Fails for a setting that does not exist, naming the nearest that does.
fn check_known(engine: &Engine, given: &str, variable: &str) -> Result<(), Error> {
    let entries = engine
        .context()
        .state_ref()
        .read()
        .config_options()
        .entries();
    if entries.iter().any(|entry| entry.key == variable) {
        return Ok(());
    }
    Err(unknown_setting(
        given,
        entries.iter().map(|entry| entry.key.as_str()),
    ))
}

/// The error for a setting that does not exist.
pub(crate) fn unknown_setting<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let aliases = ALIASES.iter().map(|(alias, _)| *alias);
    let hint = did_you_mean(name, known.chain(aliases));
    let hint = hint.unwrap_or("SHOW SETTINGS lists those that there are".to_owned());
    invalid(format!("there is no setting \"{name}\"; {hint}"))
}

/// Fails for values that DataFusion would take and no query could run with.
fn check_range(variable: &str, value: &str) -> Result<(), Error> {
    let most = match variable {
        BATCH_SIZE => MAX_BATCH_SIZE,
        TARGET_PARTITIONS => MAX_TARGET_PARTITIONS,
        _ => return Ok(()),
    };
    let number: Option<usize> = value.trim().parse().ok();
    if number.is_some_and(|number| (1..=most).contains(&number)) {
        return Ok(());
    }
    Err(invalid(format!(
        "{variable} is a number from 1 to {most}, and not '{value}'"
    )))
}
