//! From text to statements, and who runs each of them.
//!
//! Purpose: parse, refuse what would not do what it says, and name the way out.
//!
//! Invariant: a statement that is not known here is refused; nothing is passed on by default.

use datafusion::common::config::{ConfigOptions, Dialect};
use datafusion::sql::parser::{DFParser, DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    Delete, FromTable, Ident, Insert, ObjectName, Query, SetExpr, Statement as SqlStatement,
    TableAlias, TableFactor, TableObject,
};
use datafusion::sql::sqlparser::dialect::dialect_from_str;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use netabase_store::{Error, ErrorKind};

use crate::blame::{Blame, Place, What};
use crate::catalog::{CATALOG, INFORMATION_SCHEMA, SCHEMA};
use crate::chain;
use crate::copy;
use crate::ddl;
use crate::error::{error_from_datafusion, invalid};
use crate::path;
use crate::syntax::{self, NetabaseDialect};
use crate::system::SYSTEM_SCHEMA;
use crate::upkeep::{self, Parsed};

/// The longest text that is parsed: 16 MiB.
const MAX_TEXT_BYTES: usize = 16 << 20;
/// How deep the text of a view may be nested.
const VIEW_RECURSION: usize = 50;
/// Settings that a statement may not change, and why.
const PROTECTED_SETTINGS: [(&str, &str); 9] = [
    (
        "datafusion.runtime.",
        "use netabase.memory_limit for the memory of queries; the disk they may use is set when the engine \
         is opened",
    ),
    ("datafusion.catalog.", "the catalog is fixed"),
    (
        "datafusion.execution.time_zone",
        "all peers compute in UTC; convert with AT TIME ZONE where another zone is wanted",
    ),
    (
        "datafusion.sql_parser.dialect",
        "definitions are read by everybody, and so in one dialect",
    ),
    (
        "datafusion.sql_parser.recursion_limit",
        "how deep a statement may nest is fixed",
    ),
    (
        "datafusion.sql_parser.enable_ident_normalization",
        "names are lower case unless quoted",
    ),
    ("distributed.", "how queries are spread over peers is fixed"),
    (
        "netabase.spill_limit",
        "it is set when the engine is opened",
    ),
    (
        "netabase.max_insert_bytes",
        "it is set when the engine is opened",
    ),
];
/// What DataFusion's settings begin with.
const FOREIGN_SETTINGS: &str = "datafusion.";
/// Those of DataFusion's settings that a statement may change: how fast something is, or what EXPLAIN shows.
/// With others, rules of the planner can be switched on that give wrong rows, or off that answers depend on.
const FREE_SETTINGS: [&str; 27] = [
    "datafusion.execution.batch_size",
    "datafusion.execution.coalesce_batches",
    "datafusion.execution.perfect_hash_join_min_key_density",
    "datafusion.execution.perfect_hash_join_small_build_threshold",
    "datafusion.execution.skip_partial_aggregation_probe_ratio_threshold",
    "datafusion.execution.skip_partial_aggregation_probe_rows_threshold",
    "datafusion.execution.sort_in_place_threshold_bytes",
    "datafusion.execution.spill_compression",
    "datafusion.execution.target_partitions",
    "datafusion.explain.",
    "datafusion.optimizer.default_filter_selectivity",
    "datafusion.optimizer.enable_distinct_aggregation_soft_limit",
    "datafusion.optimizer.enable_join_dynamic_filter_pushdown",
    "datafusion.optimizer.enable_round_robin_repartition",
    "datafusion.optimizer.enable_topk_dynamic_filter_pushdown",
    "datafusion.optimizer.filter_null_join_keys",
    "datafusion.optimizer.hash_join_single_partition_threshold",
    "datafusion.optimizer.hash_join_single_partition_threshold_rows",
    "datafusion.optimizer.join_reordering",
    "datafusion.optimizer.prefer_existing_sort",
    "datafusion.optimizer.prefer_existing_union",
    "datafusion.optimizer.prefer_hash_join",
    "datafusion.optimizer.repartition_aggregations",
    "datafusion.optimizer.repartition_joins",
    "datafusion.optimizer.repartition_sorts",
    "datafusion.optimizer.repartition_windows",
    "datafusion.optimizer.top_down_join_key_reordering",
];

/// A table that a statement names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TableName {
    /// A table of a user's, by the name under which the store knows it.
    Table(String),
    /// Something in `information_schema` or `netabase`, which describe the others.
    Described,
}

/// How something in FROM is called.
pub(crate) fn label_of(source: &TableFactor) -> Option<&Ident> {
    match source {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        }
        | TableFactor::UNNEST {
            alias: Some(alias), ..
        } => Some(&alias.name),
        TableFactor::Table { name, .. } => name.0.last()?.as_ident(),
        _ => None,
    }
}

/// `AS name`.
pub(crate) fn table_alias(name: Ident) -> TableAlias {
    TableAlias {
        explicit: true,
        name,
        columns: Vec::new(),
        at: None,
    }
}

/// Whether the first table in a statement is what it changes. That of an INSERT is a mere name.
pub(crate) fn changes_first(statement: &SqlStatement) -> bool {
    matches!(
        statement,
        SqlStatement::Update(_) | SqlStatement::Delete(_) | SqlStatement::Merge(_)
    )
}

/// An identifier as SQL compares it: lower case unless quoted.
pub(crate) fn ident_of(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        // As DataFusion does it: letters beyond ASCII stay as they are.
        None => ident.value.to_ascii_lowercase(),
    }
}

/// The same for a token; `None` unless it is a word.
pub(crate) fn ident_of_word(token: &Token) -> Option<String> {
    match token {
        Token::Word(word) if word.quote_style.is_some() => Some(word.value.clone()),
        Token::Word(word) => Some(word.value.to_ascii_lowercase()),
        _ => None,
    }
}

/// Resolves `table`, `schema.table` and `netabase.schema.table`; without a schema it is in `public`.
pub(crate) fn table_name(name: &ObjectName) -> Result<TableName, Error> {
    let wrong = || invalid(format!("{name} is not the name of a table"));
    let idents = name.0.iter().map(|part| part.as_ident().map(ident_of));
    let parts: Vec<String> = idents.collect::<Option<_>>().ok_or_else(wrong)?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        [table] | [SCHEMA, table] | [CATALOG, SCHEMA, table] => {
            Ok(TableName::Table(path::name_in(SCHEMA, table)))
        }
        [INFORMATION_SCHEMA | SYSTEM_SCHEMA, _]
        | [CATALOG, INFORMATION_SCHEMA | SYSTEM_SCHEMA, _] => Ok(TableName::Described),
        [schema, table] | [CATALOG, schema, table] => {
            Ok(TableName::Table(path::name_in(schema, table)))
        }
        _ => Err(invalid(format!(
            "{name}: the name of a table is table, schema.table or {CATALOG}.schema.table"
        ))),
    }
}

/// Parses a script.
pub(crate) fn parse(text: &str, config: &ConfigOptions) -> Result<Vec<Parsed>, Error> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(invalid(format!(
            "a text of {} bytes is too long for SQL (at most {MAX_TEXT_BYTES}); load rows with COPY",
            text.len()
        )));
    }
    parse_all(
        text,
        config.sql_parser.dialect,
        config.sql_parser.recursion_limit.get(),
    )
}

/// Parses the query of a view.
pub(crate) fn parse_query(text: &str) -> Result<Query, Error> {
    let wrong = || invalid("this is not a query: a view is made of a SELECT");
    let mut statements = parse_all(text, Dialect::Generic, VIEW_RECURSION)?;
    match (statements.pop(), statements.len()) {
        (Some(Parsed::Sql(Statement::Statement(statement))), 0) => match *statement {
            SqlStatement::Query(query) => Ok(*query),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

fn parse_all(text: &str, dialect: Dialect, recursion: usize) -> Result<Vec<Parsed>, Error> {
    let dialect = match dialect {
        Dialect::Generic => Some(Box::new(NetabaseDialect) as Box<_>),
        other => dialect_from_str(other),
    }
    .ok_or_else(|| invalid(format!("the SQL dialect {dialect} is not known")))?;
    let builder = DFParserBuilder::new(text).with_dialect(dialect.as_ref());
    let mut parser = builder
        .with_recursion_limit(recursion)
        .build()
        .map_err(error_from_datafusion)?;
    let tokens = syntax::explain_tokens(text, dialect.as_ref())?;
    let tokens = match syntax::known_words(text, tokens, dialect.as_ref())? {
        Some(tokens) => tokens,
        None => {
            let none = Parser::new(dialect.as_ref());
            std::mem::replace(&mut parser.parser, none).into_tokens()
        }
    };
    chain::check(text, &tokens)?;
    let plain = Parser::new(dialect.as_ref()).with_recursion_limit(recursion);
    parser.parser = plain.with_tokens_with_locations(tokens);
    let mut statements = Vec::new();
    let mut separated = true;
    loop {
        while parser.parser.consume_token(&Token::SemiColon) {
            separated = true;
        }
        let next = parser.parser.peek_token();
        if next.token == Token::EOF {
            return Ok(statements);
        }
        if !separated {
            return Err(Blame::syntax(
                Place::of(next.span.start),
                format!("syntax error: expected the end of the statement, found \"{next}\""),
            ));
        }
        statements.push(parse_one(&mut parser)?);
        separated = false;
    }
}

/// What DataFusion's parser does not know, or only in part, is read first.
fn parse_one(parser: &mut DFParser<'_>) -> Result<Parsed, Error> {
    if let Some(ours) = upkeep::parse(parser)? {
        return Ok(ours);
    }
    if let Some(mut create) = ddl::parse_create_table(parser)? {
        syntax::mend_source(&mut create)?;
        return Ok(Parsed::Sql(create));
    }
    if let Some(reset) = ddl::parse_reset(parser)? {
        return Ok(Parsed::Sql(reset));
    }
    if let Some(copy) = copy::parse(parser)? {
        return Ok(Parsed::Copy(Box::new(copy)));
    }
    let mut statement = parser.parse_statement().map_err(error_from_datafusion)?;
    syntax::mend(&mut statement)?;
    Ok(Parsed::Sql(statement))
}

/// Whether a token is this word, without quotes.
pub(crate) fn is_word(token: &Token, wanted: &str) -> bool {
    matches!(token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

/// Whether a token is this word, and not a name in quotes.
pub(crate) fn is_keyword(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.keyword == keyword && word.quote_style.is_none())
}

/// Fails for the first of some clauses, with whether they were given and a way out, that was given;
/// `prefix` goes before its name.
pub(crate) fn refuse_given(prefix: &str, clauses: &[(&str, bool, &str)]) -> Result<(), Error> {
    match clauses.iter().find(|(_, given, _)| *given) {
        Some((clause, _, way_out)) => Err(refused(&format!("{prefix}{clause}"), way_out)),
        None => Ok(()),
    }
}

fn refused(what: &str, way_out: &str) -> Error {
    let text = format!("{what} is not supported: {way_out}");
    Blame::error(What::Refused, "", (ErrorKind::InvalidInput, text))
}

/// Refuses clauses of INSERT that change its meaning.
pub(crate) fn check_insert(insert: &Insert) -> Result<(), Error> {
    let clauses = [
        (
            "INSERT IGNORE",
            insert.ignore,
            "write INSERT … ON CONFLICT DO NOTHING",
        ),
        (
            "REPLACE INTO",
            insert.replace_into,
            "use INSERT INTO, which replaces rows by primary key",
        ),
        (
            "INSERT OVERWRITE",
            insert.overwrite,
            "DELETE the rows first",
        ),
        (
            "INSERT … OUTPUT",
            insert.output.is_some(),
            "write RETURNING at the end",
        ),
        (
            "INSERT … SET",
            !insert.assignments.is_empty(),
            "write INSERT INTO t (columns) VALUES (…)",
        ),
        (
            "INSERT … PARTITION",
            insert.partitioned.is_some(),
            "leave it out",
        ),
        (
            "INSERT … VALUES … AS",
            insert.insert_alias.is_some(),
            "write ON CONFLICT, where the new values are called excluded",
        ),
    ];
    refuse_given("", &clauses)?;
    match &insert.table {
        TableObject::TableName(name) => check_target(name),
        _ => Err(refused(
            "INSERT into anything but a table",
            "name the table",
        )),
    }
}

/// Refuses clauses of DELETE that DataFusion would drop, and so delete too much.
pub(crate) fn check_delete(delete: &Delete) -> Result<(), Error> {
    let subquery = "choose the rows with WHERE key IN (SELECT …)";
    let clauses = [
        ("DELETE … LIMIT", delete.limit.is_some(), subquery),
        ("DELETE … ORDER BY", !delete.order_by.is_empty(), subquery),
        (
            "DELETE of several tables",
            !delete.tables.is_empty(),
            "write one DELETE for each",
        ),
        (
            "DELETE … OUTPUT",
            delete.output.is_some(),
            "write RETURNING at the end",
        ),
    ];
    refuse_given("", &clauses)?;
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
    match tables.as_slice() {
        [table] if table.joins.is_empty() => match &table.relation {
            TableFactor::Table {
                name, args: None, ..
            } => check_target(name),
            other => Err(refused(&format!("DELETE FROM {other}"), "name the table")),
        },
        [_] => Err(refused("DELETE with a join", "write DELETE FROM t USING …")),
        _ => Err(refused(
            "DELETE of several tables",
            "write one DELETE for each",
        )),
    }
}

fn check_target(name: &ObjectName) -> Result<(), Error> {
    match table_name(name)? {
        TableName::Table(_) => Ok(()),
        TableName::Described => Err(crate::ddl::read_only()),
    }
}

/// Why a statement may not change a setting, if so. Not each is a setting that there is.
pub(crate) fn protection(name: &str) -> Option<&'static str> {
    let protected = PROTECTED_SETTINGS.iter();
    let mut protected = protected.filter(|(prefix, _)| name.starts_with(prefix));
    protected.next().map(|(_, why)| *why)
}

/// The same for the settings of DataFusion that there are.
pub(crate) fn fixedness(name: &str) -> Option<&'static str> {
    let begins = |prefix: &&str| name.starts_with(prefix);
    let fixed = begins(&FOREIGN_SETTINGS) && !FREE_SETTINGS.iter().any(begins);
    fixed.then_some(
        "answers are checked with the value that it has; SELECT name FROM netabase.settings WHERE changeable \
         lists what a statement may change",
    )
}

/// The refusal of a statement that nobody runs.
pub(crate) fn unsupported(statement: &SqlStatement) -> Error {
    let (what, way_out) = match statement {
        SqlStatement::CreateFunction(_) => ("CREATE FUNCTION", "write the expression in the query"),
        SqlStatement::CreateDatabase { .. } => (
            "CREATE DATABASE",
            "a network is one database; use CREATE SCHEMA, or another network",
        ),
        SqlStatement::CreateSequence { .. } => (
            "CREATE SEQUENCE",
            "peers that write at the same time cannot count together; give keys DEFAULT uuid(), or leave \
             PRIMARY KEY out, so that rows have a hidden one",
        ),
        SqlStatement::AlterSchema(_) => (
            "ALTER SCHEMA",
            "create another schema, and CREATE TABLE … AS for each table",
        ),
        SqlStatement::CreateVirtualTable { .. } => ("CREATE VIRTUAL TABLE", "use CREATE TABLE"),
        SqlStatement::CopyIntoSnowflake { .. } => ("COPY INTO", "use COPY table FROM 'file'"),
        SqlStatement::Drop { .. } => (
            "this DROP",
            "tables, views, indexes and schemas can be dropped: DROP TABLE name, DROP VIEW name, DROP INDEX \
             name, DROP SCHEMA name",
        ),
        other => {
            let text = other.to_string();
            let first: Vec<&str> = text.split_whitespace().take(2).collect();
            return refused(&first.join(" "), "see the list of supported statements");
        }
    };
    refused(what, way_out)
}

/// Refuses what cannot be taken back.
pub(crate) fn check_in_transaction(statement: &SqlStatement) -> Result<(), Error> {
    match statement {
        SqlStatement::CreateTable(_)
        | SqlStatement::CreateSchema { .. }
        | SqlStatement::CreateView(_)
        | SqlStatement::CreateIndex(_)
        | SqlStatement::AlterTable(_)
        | SqlStatement::Comment { .. }
        | SqlStatement::Drop { .. } => Err(definition_in_transaction()),
        _ => Ok(()),
    }
}

pub(crate) fn definition_in_transaction() -> Error {
    invalid(
        "definitions cannot be changed inside a transaction, because they take effect at once on every \
         peer: COMMIT or ROLLBACK first",
    )
}

/// The refusal of CREATE EXTERNAL TABLE.
pub(crate) fn external_table() -> Error {
    refused(
        "CREATE EXTERNAL TABLE",
        "create a table, then COPY table FROM 'file'",
    )
}

/// Refuses to explain what changes something, whatever the planner would say to it.
pub(crate) fn check_explained(statement: &SqlStatement) -> Result<(), Error> {
    match statement {
        SqlStatement::Insert(_)
        | SqlStatement::Update(_)
        | SqlStatement::Delete(_)
        | SqlStatement::Merge(_) => Err(nested_write()),
        SqlStatement::Query(query) => match query.body.as_ref() {
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Err(nested_write())
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The refusal of a write inside EXPLAIN, a prepared query or a subquery.
pub(crate) fn nested_write() -> Error {
    refused(
        "a statement that changes something inside EXPLAIN or a query",
        "EXPLAIN the SELECT that finds the rows, and run the statement on its own",
    )
}
