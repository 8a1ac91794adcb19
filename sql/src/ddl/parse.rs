//! What is ours in the grammar of CREATE TABLE: `LOCAL`, and `SHARD BY (column, …)`; and what the parser does
//! not know of ALTER TABLE: `RESET (option, …)`.
//!
//! Invariant: both become what the options `local` and `shard_by` say, and are refused with them if they
//! are given twice.

use datafusion::common::DataFusionError;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::{
    CreateTable, CreateTableOptions, Expr, Ident, SqlOption, Statement as SqlStatement, Value,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{IsOptional, Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use netabase_store::Error;

use crate::error::error_from_datafusion;
use crate::statement::{ident_of, is_word};
use crate::syntax::NetabaseDialect;

/// Reads CREATE [LOCAL] TABLE, if that comes next.
pub(crate) fn parse_create_table(parser: &mut DFParser<'_>) -> Result<Option<Statement>, Error> {
    let parser = &mut parser.parser;
    let is = |parser: &Parser<'_>, place: usize, word: &str| {
        is_word(&parser.peek_nth_token(place).token, word)
    };
    let local = is(parser, 1, "local");
    if !is(parser, 0, "create") || !is(parser, 1 + usize::from(local), "table") {
        return Ok(None);
    }
    for _ in 0..2 + usize::from(local) {
        parser.next_token();
    }
    let create =
        read(parser, local).map_err(|error| error_from_datafusion(DataFusionError::from(error)))?;
    let statement = SqlStatement::CreateTable(create);
    Ok(Some(Statement::Statement(Box::new(statement))))
}

/// Reads ALTER TABLE … RESET (option, …), if that comes next: the options are what they are when nobody
/// says anything, as after SET (option = NULL).
pub(crate) fn parse_reset(parser: &mut DFParser<'_>) -> Result<Option<Statement>, Error> {
    let parser = &mut parser.parser;
    if !is_word(&parser.peek_token().token, "alter") {
        return Ok(None);
    }
    let wrong = |error| error_from_datafusion(DataFusionError::from(error));
    let begins = parser.maybe_parse(|parser| {
        parser.expect_keywords(&[Keyword::ALTER, Keyword::TABLE])?;
        let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        let name = parser.parse_object_name(false)?;
        parser.expect_keyword(Keyword::RESET)?;
        Ok((if_exists, name))
    });
    let Some((if_exists, name)) = begins.map_err(wrong)? else {
        return Ok(None);
    };
    let options = parser
        .parse_parenthesized_column_list(IsOptional::Mandatory, false)
        .map_err(wrong)?;
    let options = options.iter().map(|option| format!("{option} = NULL"));
    let options = options.collect::<Vec<_>>().join(", ");
    let if_exists = if if_exists { "IF EXISTS " } else { "" };
    let text = format!("ALTER TABLE {if_exists}{name} SET ({options})");
    let statement = Parser::new(&NetabaseDialect)
        .try_with_sql(&text)
        .and_then(|mut parser| parser.parse_statement())
        .map_err(wrong)?;
    Ok(Some(Statement::Statement(Box::new(statement))))
}

fn read(parser: &mut Parser<'_>, local: bool) -> Result<CreateTable, ParserError> {
    let mut create = parser.parse_create_table(false, false, local.then_some(false), false)?;
    if !is_word(&parser.peek_token().token, "shard") {
        return Ok(create);
    }
    parser.next_token();
    parser.expect_keyword(Keyword::BY)?;
    let columns = parser.parse_parenthesized_column_list(IsOptional::Mandatory, false)?;
    let names: Vec<String> = columns.iter().map(ident_of).collect();
    let mut options = match create.table_options {
        CreateTableOptions::With(options) => options,
        CreateTableOptions::None => Vec::new(),
        other => {
            let text =
                format!("table options are written WITH (shards = 8, replicas = 2), not {other}");
            return Err(ParserError::ParserError(text));
        }
    };
    options.push(SqlOption::KeyValue {
        key: Ident::new("shard_by"),
        value: Expr::Value(Value::SingleQuotedString(names.join(", ")).with_empty_span()),
    });
    options.extend(parser.parse_options(Keyword::WITH)?);
    create.table_options = CreateTableOptions::With(options);
    if create.query.is_none() && parser.peek_token().token != Token::SemiColon {
        create.query = match parser.parse_keyword(Keyword::AS) {
            true => Some(parser.parse_query()?),
            false => None,
        };
    }
    Ok(create)
}
