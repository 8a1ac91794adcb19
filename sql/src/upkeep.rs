//! `CHECKPOINT` and `COMPACT TABLE t`: upkeep of this peer's own store, on demand; and other statements
//! that are not in SQL's grammar.
//!
//! No SQL parser knows them, so that they are recognised by their first words. Invariant: what
//! follows them is an error, as behind any statement.

use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::keywords::Keyword;
use netabase_store::Error;

use crate::copy::CopyStatement;
use crate::engine::Engine;
use crate::error::syntax_error;
use crate::local::blocking;
use crate::output::Output;
use crate::running::beginning;
use crate::show::{self, Show};
use crate::statement::is_word;

/// A statement of any kind.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// One that DataFusion's parser knows.
    Sql(Statement),
    /// `COPY`, of which it knows a part.
    Copy(Box<CopyStatement>),
    /// `CHECKPOINT`.
    Checkpoint,
    /// `COMPACT TABLE t`.
    Compact(ObjectName),
    /// `REFRESH MATERIALIZED VIEW v`.
    Refresh(ObjectName),
    /// `CANCEL QUERY n`.
    Cancel(u64),
    /// `SHOW …` or `DESCRIBE …`.
    Show(Show),
}

impl Parsed {
    /// The beginning of its text.
    pub(crate) fn short(&self) -> String {
        match self {
            Self::Sql(statement) => beginning(statement),
            Self::Copy(copy) => beginning(copy),
            Self::Checkpoint => "CHECKPOINT".to_owned(),
            Self::Compact(table) => format!("COMPACT TABLE {table}"),
            Self::Refresh(view) => format!("REFRESH MATERIALIZED VIEW {view}"),
            Self::Cancel(id) => format!("CANCEL QUERY {id}"),
            Self::Show(show) => format!("SHOW … ({show:?})"),
        }
    }
}

/// Reads one of ours, if the next words are that.
pub(crate) fn parse(parser: &mut DFParser<'_>) -> Result<Option<Parsed>, Error> {
    if let Some(show) = show::parse(parser)? {
        return Ok(Some(Parsed::Show(show)));
    }
    let parser = &mut parser.parser;
    let first = parser.peek_token().token;
    if is_word(&first, "cancel") {
        parser.next_token();
        let id = parser
            .expect_keyword(Keyword::QUERY)
            .and_then(|_| parser.parse_literal_uint())
            .map_err(|error| syntax_error(&error))?;
        return Ok(Some(Parsed::Cancel(id)));
    }
    if is_word(&first, "checkpoint") {
        parser.next_token();
        return Ok(Some(Parsed::Checkpoint));
    }
    let (keywords, made): (&[Keyword], fn(ObjectName) -> Parsed) = match &first {
        first if is_word(first, "compact") => (&[Keyword::TABLE], Parsed::Compact),
        first if is_word(first, "refresh") => {
            (&[Keyword::MATERIALIZED, Keyword::VIEW], Parsed::Refresh)
        }
        _ => return Ok(None),
    };
    parser.next_token();
    let name = keywords
        .iter()
        .try_for_each(|keyword| parser.expect_keyword(*keyword).map(|_| ()))
        .and_then(|()| parser.parse_object_name(false))
        .map_err(|error| syntax_error(&error))?;
    Ok(Some(made(name)))
}

/// Makes a checkpoint of this peer's store.
pub(crate) async fn checkpoint(engine: &Engine) -> Result<Output, Error> {
    let store = engine.store().clone();
    blocking(move || store.checkpoint()).await?;
    Ok(Output::empty())
}

/// Compacts a table's segments on this peer.
pub(crate) async fn compact(engine: &Engine, name: &ObjectName) -> Result<Output, Error> {
    let def = crate::ddl::known_table(engine, name)?;
    let store = engine.store().clone();
    blocking(move || store.compact(def.id)).await?;
    Ok(Output::empty())
}
