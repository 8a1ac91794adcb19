//! `SHOW …` and `DESCRIBE`: short ways to ask the system tables.
//!
//! Purpose: every form is recognised by its first words and becomes a query of `netabase.…` or
//! `information_schema.…`; what those hold is described there.
//!
//! Invariant: names are compared as in any statement, and a name that does not exist is an error,
//! never an empty answer.

use datafusion::common::DataFusionError;
use datafusion::sql::parser::DFParser;
use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use netabase_store::Error;

use crate::catalog::{CATALOG, SCHEMA};
use crate::ddl;
use crate::engine::Engine;
use crate::error::{error_from_datafusion, invalid, not_found};
use crate::near::did_you_mean;
use crate::output::Output;
use crate::own_settings::{canonical, unknown_setting};
use crate::path;
use crate::statement::ident_of;
use crate::system::{self, SYSTEM_SCHEMA};

/// Something to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Show {
    /// `SHOW TABLES [FROM schema]`.
    Tables(Option<String>, Like),
    /// `SHOW COLUMNS FROM t`, `DESCRIBE t`.
    Columns(Table, Like),
    /// `SHOW CREATE TABLE t`.
    Create(Table),
    /// `SHOW INDEXES [FROM t]`.
    Indexes(Option<Table>),
    /// `SHOW FUNCTIONS`.
    Functions(Like),
    /// `SHOW SETTINGS`, `SHOW ALL`.
    Settings(Like),
    /// `SHOW name`, with its description if verbose.
    Setting { name: String, verbose: bool },
    /// `SHOW QUERIES`.
    Queries,
    /// `SHOW SCHEMAS`.
    Schemas(Like),
}

/// A schema and a table.
pub(crate) type Table = (Option<String>, String);

/// Which names are wanted: the operator with its pattern, or all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Like(Option<(&'static str, String)>);

impl Like {
    /// A condition on a column that holds for the names that are wanted.
    fn on(&self, column: &str) -> String {
        match &self.0 {
            Some((operator, pattern)) => format!("{column} {operator} {}", quoted(pattern)),
            None => "true".to_owned(),
        }
    }
}

/// Text in a statement.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Reads one of these statements, if the next words are that.
pub(crate) fn parse(parser: &mut DFParser<'_>) -> Result<Option<Show>, Error> {
    let parser = &mut parser.parser;
    match parser.peek_token().token {
        Token::Word(word) if word.keyword == Keyword::SHOW => {
            parser.next_token();
            parse_show(parser).map(Some)
        }
        Token::Word(word) if matches!(word.keyword, Keyword::DESC | Keyword::DESCRIBE) => {
            let next = parser.peek_nth_token(1).token;
            if !names_a_table(&next) {
                return Ok(None);
            }
            parser.next_token();
            let _ = parser.parse_keyword(Keyword::TABLE);
            let table = parse_table(parser)?;
            Ok(Some(Show::Columns(table, Like::default())))
        }
        _ => Ok(None),
    }
}

/// Whether DESCRIBE is followed by a table, and not by a query or the options of EXPLAIN.
fn names_a_table(next: &Token) -> bool {
    let Token::Word(word) = next else {
        return false;
    };
    !matches!(
        word.keyword,
        Keyword::SELECT
            | Keyword::WITH
            | Keyword::VALUES
            | Keyword::INSERT
            | Keyword::UPDATE
            | Keyword::DELETE
            | Keyword::ANALYZE
            | Keyword::VERBOSE
            | Keyword::FORMAT
    )
}

fn parse_show(parser: &mut Parser<'_>) -> Result<Show, Error> {
    let first = match parser.peek_token().token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase(),
        _ => String::new(),
    };
    let known = [
        "all",
        "columns",
        "create",
        "extended",
        "fields",
        "full",
        "functions",
        "index",
        "indexes",
        "queries",
        "schemas",
        "settings",
        "tables",
    ];
    // Settings of other databases may have one of these names as their first part.
    let dotted = parser.peek_nth_token(1).token == Token::Period;
    if dotted || !known.contains(&first.as_str()) {
        return parse_setting(parser);
    }
    parser.next_token();
    Ok(match first.as_str() {
        "tables" => {
            let schema = match is_from(parser) {
                true => Some(ident_of(&parser.parse_identifier().map_err(wrong)?)),
                false => None,
            };
            Show::Tables(schema, parse_like(parser)?)
        }
        "full" | "extended" => {
            let columns = [Keyword::COLUMNS, Keyword::FIELDS];
            parser.expect_one_of_keywords(&columns).map_err(wrong)?;
            parse_columns(parser)?
        }
        "columns" | "fields" => parse_columns(parser)?,
        "create" => {
            parser.expect_keyword(Keyword::TABLE).map_err(wrong)?;
            Show::Create(parse_table(parser)?)
        }
        "index" | "indexes" => Show::Indexes(match is_from(parser) {
            true => Some(parse_table(parser)?),
            false => None,
        }),
        "functions" => Show::Functions(parse_like(parser)?),
        "schemas" => Show::Schemas(parse_like(parser)?),
        "queries" => Show::Queries,
        _ => Show::Settings(parse_like(parser)?),
    })
}

fn parse_columns(parser: &mut Parser<'_>) -> Result<Show, Error> {
    let from = [Keyword::FROM, Keyword::IN];
    parser.expect_one_of_keywords(&from).map_err(wrong)?;
    let table = parse_table(parser)?;
    Ok(Show::Columns(table, parse_like(parser)?))
}

fn parse_setting(parser: &mut Parser<'_>) -> Result<Show, Error> {
    let start = parser.peek_token();
    let mut parts: Vec<String> = Vec::new();
    loop {
        let part = parser.parse_identifier().map_err(wrong)?;
        parts.push(part.value);
        if !parser.consume_token(&Token::Period) {
            break;
        }
    }
    if parts.is_empty() {
        return Err(invalid(format!("SHOW {start} is not a setting")));
    }
    let verbose = parser.parse_keyword(Keyword::VERBOSE);
    // PostgreSQL writes this one as words.
    if parts == ["TIME"] || parts == ["time"] {
        let _ = parser.parse_keyword(Keyword::ZONE);
        parts = vec!["timezone".to_owned()];
    }
    let name = parts.join(".");
    Ok(Show::Setting { name, verbose })
}

fn is_from(parser: &mut Parser<'_>) -> bool {
    parser
        .parse_one_of_keywords(&[Keyword::FROM, Keyword::IN])
        .is_some()
}

fn parse_like(parser: &mut Parser<'_>) -> Result<Like, Error> {
    let operator = match parser.parse_one_of_keywords(&[Keyword::LIKE, Keyword::ILIKE]) {
        Some(Keyword::LIKE) => "LIKE",
        Some(_) => "ILIKE",
        None => return Ok(Like::default()),
    };
    let pattern = parser.parse_literal_string().map_err(wrong)?;
    Ok(Like(Some((operator, pattern))))
}

fn parse_table(parser: &mut Parser<'_>) -> Result<Table, Error> {
    let name = parser.parse_object_name(false).map_err(wrong)?;
    table_of(&name)
}

/// The schema and the name of a table, which may be one that describes others.
fn table_of(name: &ObjectName) -> Result<Table, Error> {
    let wrong = || invalid(format!("{name} is not the name of a table"));
    let parts = name.0.iter().map(|part| part.as_ident().map(ident_of));
    let parts: Vec<String> = parts.collect::<Option<_>>().ok_or_else(wrong)?;
    match parts.as_slice() {
        [table] => Ok((None, table.clone())),
        [schema, table] => Ok((Some(schema.clone()), table.clone())),
        [catalog, schema, table] if catalog == CATALOG => Ok((Some(schema.clone()), table.clone())),
        _ => Err(wrong()),
    }
}

fn wrong(error: ParserError) -> Error {
    error_from_datafusion(DataFusionError::from(error))
}

/// Runs the statement.
pub(crate) async fn run(engine: &Engine, mut show: Show) -> Result<Output, Error> {
    match &mut show {
        Show::Create(table) => {
            let schema = find_table(engine, table)?;
            return ddl::show_create(engine, (&schema, &table.1));
        }
        Show::Columns(table, _) | Show::Indexes(Some(table)) => {
            table.0 = Some(find_table(engine, table)?);
        }
        Show::Tables(Some(schema), _) => check_schema(engine, schema)?,
        Show::Tables(schema, _) => *schema = Some(engine.current_schema()),
        Show::Setting { name, .. } => check_setting(engine, name)?,
        _ => {}
    }
    engine.ask(&query_of(&show)).await
}

/// The query that answers the statement.
fn query_of(show: &Show) -> String {
    match show {
        Show::Tables(schema, like) => {
            let schema = quoted(schema.as_deref().unwrap_or(SCHEMA));
            let like = like.on("table_name");
            format!(
                "SELECT table_schema, table_name, table_type FROM information_schema.tables \
                 WHERE table_schema = {schema} AND {like} ORDER BY table_name"
            )
        }
        Show::Columns((schema, table), like) => {
            let schema = quoted(schema.as_deref().unwrap_or(SCHEMA));
            let table = quoted(table);
            let like = like.on("column_name");
            format!(
                "SELECT column_name, type AS data_type, \
                 CASE WHEN nullable THEN 'YES' ELSE 'NO' END AS is_nullable, key_position, \
                 column_default, generation_expression, comment FROM netabase.columns \
                 WHERE schema_name = {schema} AND table_name = {table} AND {like} ORDER BY position"
            )
        }
        Show::Create((_, table)) => format!("SHOW CREATE TABLE {table}"),
        Show::Indexes(table) => {
            let only = match table {
                Some((schema, table)) => {
                    let schema = quoted(schema.as_deref().unwrap_or(SCHEMA));
                    format!("schema_name = {schema} AND table_name = {}", quoted(table))
                }
                None => "true".to_owned(),
            };
            format!(
                "SELECT schema_name, table_name, name, kind, columns, is_unique, segments = ready_segments AS \
                 ready FROM netabase.indexes WHERE {only} ORDER BY schema_name, table_name, kind, name"
            )
        }
        Show::Functions(like) => format!(
            "SELECT name, kind, syntax, description FROM netabase.functions WHERE {} \
             ORDER BY name, kind",
            like.on("name")
        ),
        Show::Settings(like) => format!(
            "SELECT name, value, default_value, description FROM netabase.settings WHERE {} \
             ORDER BY name",
            like.on("name")
        ),
        Show::Setting { name, verbose } => {
            let description = if *verbose { ", description" } else { "" };
            format!(
                "SELECT name, value{description} FROM netabase.settings WHERE name = {}",
                quoted(&shown_name(name))
            )
        }
        Show::Queries => "SELECT * FROM netabase.queries ORDER BY id".to_owned(),
        Show::Schemas(like) => format!(
            "SELECT schema_name FROM information_schema.schemata WHERE {} ORDER BY schema_name",
            like.on("schema_name")
        ),
    }
}

/// The name under which a setting is listed: names of netabase's own are kept.
fn shown_name(name: &str) -> String {
    let lower = name.to_lowercase();
    match lower.strip_prefix(SYSTEM_SCHEMA) {
        Some(rest) if rest.starts_with('.') => lower,
        _ => canonical(name),
    }
}

fn check_setting(engine: &Engine, name: &str) -> Result<(), Error> {
    let state = engine.context().state_ref();
    let all = engine.defaults().all(state.read().config_options());
    let shown = shown_name(name);
    if all.iter().any(|setting| setting.name == shown) {
        return Ok(());
    }
    Err(unknown_setting(name, all.iter().map(|s| s.name.as_str())))
}

fn check_schema(engine: &Engine, schema: &str) -> Result<(), Error> {
    match path::exists(engine.store(), schema) {
        true => Ok(()),
        false => Err(path::missing_schema(engine.store(), schema)),
    }
}

/// The schema of a table. Fails for one that does not exist, naming the nearest that does.
fn find_table(engine: &Engine, (schema, table): &Table) -> Result<String, Error> {
    let schema = match schema {
        Some(schema) => schema.clone(),
        None => {
            let path = engine.search_path();
            let found = path.and_then(|path| path::find(&path, engine.store(), table));
            found.unwrap_or_else(|| SCHEMA.to_owned())
        }
    };
    check_schema(engine, &schema)?;
    let users = engine.store().tables().into_iter();
    let users = users.filter_map(|def| {
        let name = def.qualified_name();
        (name.schema.as_deref().unwrap_or(SCHEMA) == schema).then_some(name.table)
    });
    let system = system::names().filter(|(of, _)| *of == schema);
    let names: Vec<String> = users
        .chain(system.map(|(_, name)| name.to_owned()))
        .collect();
    if names.contains(table) {
        return Ok(schema);
    }
    let hint = did_you_mean(table, names.iter().map(String::as_str));
    let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
    Err(not_found(format!("table \"{table}\" does not exist{hint}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::parser::DFParserBuilder;

    fn parsed(text: &str) -> Option<Show> {
        let mut parser = DFParserBuilder::new(text).build().unwrap();
        parse(&mut parser).unwrap()
    }

    #[test]
    fn queries_and_explanations_are_left_to_the_planner() {
        for text in [
            "DESCRIBE SELECT 1",
            "DESC ANALYZE SELECT 1",
            "EXPLAIN SELECT 1",
            "SELECT 1",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
        for (text, schema) in [
            ("DESCRIBE \"T x\"", None),
            ("desc public.\"T x\"", Some("public".to_owned())),
            ("SHOW FULL COLUMNS IN \"T x\"", None),
        ] {
            let table = (schema, "T x".to_owned());
            let shown = Some(Show::Columns(table, Like::default()));
            assert_eq!(parsed(text), shown, "{text}");
        }
    }

    #[test]
    fn patterns_are_text_and_nothing_else() {
        let show = parsed("SHOW TABLES LIKE 'a'' OR true --'").unwrap();
        assert!(query_of(&show).contains("table_name LIKE 'a'' OR true --' ORDER BY"));
    }
}
