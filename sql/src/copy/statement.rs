//! `COPY` as it is written.
//!
//! Purpose: one grammar for what PostgreSQL and DuckDB write, because the parser of SQL knows only a
//! part of either: `COPY t (a, b) FROM 'file' WITH (FORMAT csv, HEADER)`, `COPY (SELECT …) TO 'file'
//! (FORMAT parquet)`, `COPY t FROM 'file' CSV HEADER`.
//!
//! Invariant: every word has its meaning or is refused, with the words there are.

use std::fmt;

use datafusion::error::DataFusionError;
use datafusion::sql::parser::DFParser;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Query};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{IsOptional, Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use netabase_store::Error;

use super::{CopyCompression, CopyFormat, CopyOptions, ForceQuote};
use crate::error::{error_from_datafusion, invalid};
use crate::statement::{ident_of, is_keyword};
use crate::syntax::mend_query;

/// The options there are.
const KNOWN: &str = "FORMAT, COMPRESSION, HEADER, DELIMITER, NULL, QUOTE, ESCAPE, FORCE_QUOTE, \
                     ARRAY, ROW_GROUP_SIZE and ENCODING";
/// Words behind a file that mean FORMAT.
const FORMAT_WORDS: [&str; 6] = ["csv", "json", "parquet", "arrow", "text", "binary"];

/// A parsed COPY.
#[derive(Debug)]
pub(crate) struct CopyStatement {
    pub(super) rows: Rows,
    pub(super) file: String,
    pub(super) options: CopyOptions,
}

impl fmt::Display for CopyStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rows {
            Rows::Into(table) => write!(f, "COPY {table} FROM '{}'", self.file),
            Rows::Of(table, _) => write!(f, "COPY {table} TO '{}'", self.file),
            Rows::OfQuery(query) => write!(f, "COPY ({query}) TO '{}'", self.file),
        }
    }
}

/// Which rows are copied, and whereto.
#[derive(Debug)]
pub(super) enum Rows {
    /// `COPY t FROM`; its columns are in the options.
    Into(ObjectName),
    /// `COPY t (columns) TO`.
    Of(ObjectName, Vec<Ident>),
    /// `COPY (SELECT …) TO`.
    OfQuery(Box<Query>),
}

/// The value of an option.
#[derive(Debug)]
enum Value {
    Missing,
    Word(String),
    Text(String),
    Number(String),
    Columns(Vec<Ident>),
    Star,
}

fn syntax(error: ParserError) -> Error {
    error_from_datafusion(DataFusionError::from(error))
}

/// Reads a COPY, if the next word is that.
pub(crate) fn parse(parser: &mut DFParser<'_>) -> Result<Option<CopyStatement>, Error> {
    let parser = &mut parser.parser;
    let ours = is_keyword(&parser.peek_token().token, Keyword::COPY)
        && !is_keyword(&parser.peek_nth_token(1).token, Keyword::INTO);
    if !ours {
        return Ok(None);
    }
    parser.next_token();
    if parser.consume_token(&Token::LParen) {
        let mut query = parser.parse_query().map_err(syntax)?;
        mend_query(&mut query)?;
        parser.expect_token(&Token::RParen).map_err(syntax)?;
        if parser.parse_keyword(Keyword::FROM) {
            return Err(invalid(
                "COPY … FROM loads into a table: COPY table FROM 'file'",
            ));
        }
        parser.expect_keyword(Keyword::TO).map_err(syntax)?;
        return finish(parser, Rows::OfQuery(query), CopyOptions::default()).map(Some);
    }
    let name = parser.parse_object_name(false).map_err(syntax)?;
    let columns = parser
        .parse_parenthesized_column_list(IsOptional::Optional, false)
        .map_err(syntax)?;
    if parser.parse_keyword(Keyword::TO) {
        return finish(parser, Rows::Of(name, columns), CopyOptions::default()).map(Some);
    }
    parser.expect_keyword(Keyword::FROM).map_err(|_| {
        let found = parser.peek_token();
        invalid(format!(
            "syntax error: expected FROM 'file' or TO 'file', found {found}"
        ))
    })?;
    let options = CopyOptions {
        columns: columns.iter().map(ident_of).collect(),
        ..CopyOptions::default()
    };
    finish(parser, Rows::Into(name), options).map(Some)
}

fn finish(
    parser: &mut Parser<'_>,
    rows: Rows,
    options: CopyOptions,
) -> Result<CopyStatement, Error> {
    let file = file(parser)?;
    let mut read = Options {
        options,
        given: Vec::new(),
    };
    let with = parser.parse_keyword(Keyword::WITH);
    if parser.consume_token(&Token::LParen) {
        read.list(parser)?;
    } else {
        read.words(parser)?;
        if with && read.given.is_empty() {
            return Err(invalid(format!(
                "WITH is followed by options in parentheses; there are {KNOWN}"
            )));
        }
    }
    Ok(CopyStatement {
        rows,
        file,
        options: read.options,
    })
}

/// The file, or why there is none.
fn file(parser: &mut Parser<'_>) -> Result<String, Error> {
    let next = parser.next_token();
    let refused = |what: &str, way_out: &str| {
        Err(invalid(format!(
            "COPY with {what} is not supported: {way_out}"
        )))
    };
    match next.token {
        Token::SingleQuotedString(file) | Token::EscapedStringLiteral(file) if !file.is_empty() => {
            Ok(file)
        }
        Token::Word(word) if word.quote_style.is_none() => match word.keyword {
            Keyword::STDIN => refused(
                "STDIN",
                "write the rows to a file and name it: COPY table FROM 'file'",
            ),
            Keyword::STDOUT => refused(
                "STDOUT",
                "run the SELECT, whose rows are its answer, or name a file: COPY table TO 'file'",
            ),
            Keyword::PROGRAM => refused(
                "PROGRAM",
                "run the program yourself, and let it write or read a file",
            ),
            _ => Err(no_file(&word)),
        },
        other => Err(no_file(&other)),
    }
}

fn no_file(found: &impl std::fmt::Display) -> Error {
    invalid(format!(
        "syntax error: expected the name of a file in single quotes, found {found}"
    ))
}

/// Options as they are read.
struct Options {
    options: CopyOptions,
    /// Names of those that were given.
    given: Vec<String>,
}

impl Options {
    /// `FORMAT csv, HEADER)`.
    fn list(&mut self, parser: &mut Parser<'_>) -> Result<(), Error> {
        loop {
            let Token::Word(word) = parser.next_token().token else {
                return Err(invalid(format!(
                    "COPY expects the name of an option here; there are {KNOWN}"
                )));
            };
            let value = match parser.peek_token().token {
                Token::Comma | Token::RParen => Value::Missing,
                _ => value(parser)?,
            };
            self.set(&word.value, value)?;
            if parser.consume_token(&Token::RParen) {
                return end(parser);
            }
            parser.expect_token(&Token::Comma).map_err(syntax)?;
        }
    }

    /// `CSV HEADER DELIMITER AS ';'`, as PostgreSQL wrote it before version 9.
    fn words(&mut self, parser: &mut Parser<'_>) -> Result<(), Error> {
        loop {
            let word = match parser.peek_token().token {
                Token::Word(word) => word,
                _ => return end(parser),
            };
            if is_keyword(&Token::Word(word.clone()), Keyword::WHERE) {
                return end(parser);
            }
            parser.next_token();
            let name = word.value.to_ascii_lowercase();
            match name.as_str() {
                "force" => self.force(parser)?,
                "stored" | "partitioned" | "options" => return Err(unknown(&word.value)),
                name if FORMAT_WORDS.contains(&name) => {
                    self.set("format", Value::Word(name.to_owned()))?;
                }
                "format" => {
                    let format = value(parser)?;
                    self.set("format", format)?;
                }
                name => {
                    // AS may stand there, and means nothing.
                    let _ = parser.parse_keyword(Keyword::AS);
                    let value = match parser.peek_token().token {
                        Token::SingleQuotedString(_)
                        | Token::EscapedStringLiteral(_)
                        | Token::Number(..) => value(parser)?,
                        token if is_switch(&token) => value(parser)?,
                        _ => Value::Missing,
                    };
                    self.set(name, value)?;
                }
            }
        }
    }

    /// `FORCE QUOTE a, b`, behind its first word.
    fn force(&mut self, parser: &mut Parser<'_>) -> Result<(), Error> {
        if !parser.parse_keyword(Keyword::QUOTE) {
            return Err(unknown("FORCE NULL"));
        }
        if parser.consume_token(&Token::Mul) {
            return self.set("force_quote", Value::Star);
        }
        let columns = parser
            .parse_comma_separated(Parser::parse_identifier)
            .map_err(syntax)?;
        self.set("force_quote", Value::Columns(columns))
    }

    fn set(&mut self, name: &str, value: Value) -> Result<(), Error> {
        let name = match name.to_ascii_lowercase().as_str() {
            "delim" | "sep" => "delimiter".to_owned(),
            "nullstr" => "null".to_owned(),
            other => other.to_owned(),
        };
        if self.given.contains(&name) {
            return Err(invalid(format!(
                "COPY option {} is given twice",
                name.to_uppercase()
            )));
        }
        let options = &mut self.options;
        match name.as_str() {
            "format" => options.format = Some(format(&value)?),
            "compression" => options.compression = Some(compression(&value)?),
            "header" => options.header = Some(switch("HEADER", &value)?),
            "delimiter" => options.delimiter = Some(character("DELIMITER", &value)?),
            "quote" => options.quote = Some(character("QUOTE", &value)?),
            "escape" => options.escape = Some(character("ESCAPE", &value)?),
            "null" => options.null = Some(text("NULL", &value)?),
            "force_quote" => options.force_quote = Some(force_quote(value)?),
            "array" => options.array = Some(switch("ARRAY", &value)?),
            "row_group_size" => options.row_group_size = Some(number("ROW_GROUP_SIZE", &value)?),
            "encoding" => utf8(&value)?,
            other => return Err(unknown(other)),
        }
        self.given.push(name);
        Ok(())
    }
}

/// A statement ends behind its options.
fn end(parser: &mut Parser<'_>) -> Result<(), Error> {
    if is_keyword(&parser.peek_token().token, Keyword::WHERE) {
        return Err(invalid(
            "COPY … WHERE is not supported: write COPY (SELECT … WHERE …) TO 'file', or load the \
             file and DELETE the rows you do not want",
        ));
    }
    Ok(())
}

fn unknown(name: &str) -> Error {
    invalid(format!(
        "COPY option {} is not supported; there are {KNOWN}",
        name.to_uppercase()
    ))
}

/// Reads a value.
fn value(parser: &mut Parser<'_>) -> Result<Value, Error> {
    let next = parser.next_token();
    Ok(match next.token {
        Token::Word(word) => Value::Word(word.value),
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => Value::Text(text),
        Token::Number(number, _) => Value::Number(number),
        Token::Minus => match parser.next_token().token {
            Token::Number(number, _) => Value::Number(format!("-{number}")),
            _ => return Err(invalid("syntax error: expected a number behind -")),
        },
        Token::Mul => Value::Star,
        Token::LParen => {
            let columns = parser
                .parse_comma_separated(Parser::parse_identifier)
                .map_err(syntax)?;
            parser.expect_token(&Token::RParen).map_err(syntax)?;
            Value::Columns(columns)
        }
        other => {
            return Err(invalid(format!(
                "syntax error: expected the value of an option, found {other}"
            )));
        }
    })
}

/// Whether this is the value of a switch.
fn is_switch(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none()
        && ["true", "false", "on", "off"].contains(&word.value.to_ascii_lowercase().as_str()))
}

fn switch(option: &str, value: &Value) -> Result<bool, Error> {
    let word = match value {
        Value::Missing => return Ok(true),
        Value::Word(word) | Value::Text(word) | Value::Number(word) => word.to_ascii_lowercase(),
        Value::Columns(_) | Value::Star => String::new(),
    };
    match word.as_str() {
        "true" | "on" | "1" => Ok(true),
        "false" | "off" | "0" => Ok(false),
        _ => Err(invalid(format!("{option} is either true or false"))),
    }
}

fn text(option: &str, value: &Value) -> Result<String, Error> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        _ => Err(invalid(format!("{option} takes a text in single quotes"))),
    }
}

/// One ASCII character; a tab may be written `\t`.
fn character(option: &str, value: &Value) -> Result<u8, Error> {
    let text = text(option, value)?;
    match text.as_bytes() {
        [byte] => Ok(*byte),
        b"\\t" => Ok(b'\t'),
        _ => Err(invalid(format!(
            "{option} {text:?} must be one ASCII character"
        ))),
    }
}

fn number(option: &str, value: &Value) -> Result<usize, Error> {
    let number = match value {
        Value::Number(number) | Value::Text(number) => number.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| invalid(format!("{option} takes a whole number of rows")))
}

/// A name: a word, or a text.
fn name(value: &Value) -> String {
    match value {
        Value::Word(name) | Value::Text(name) => name.to_ascii_lowercase(),
        _ => String::new(),
    }
}

fn format(value: &Value) -> Result<CopyFormat, Error> {
    match name(value).as_str() {
        "csv" => Ok(CopyFormat::Csv),
        "json" | "ndjson" | "jsonl" => Ok(CopyFormat::Json),
        "parquet" => Ok(CopyFormat::Parquet),
        "arrow" | "ipc" | "feather" => Ok(CopyFormat::Arrow),
        other => Err(invalid(format!(
            "COPY knows the formats csv, json, parquet and arrow, not \"{other}\""
        ))),
    }
}

fn compression(value: &Value) -> Result<CopyCompression, Error> {
    match name(value).as_str() {
        "none" | "uncompressed" => Ok(CopyCompression::None),
        "gzip" => Ok(CopyCompression::Gzip),
        "zstd" => Ok(CopyCompression::Zstd),
        "snappy" => Ok(CopyCompression::Snappy),
        "lz4" => Ok(CopyCompression::Lz4),
        "brotli" => Ok(CopyCompression::Brotli),
        other => Err(invalid(format!(
            "COMPRESSION \"{other}\" is not known; there are none, gzip, zstd, snappy, lz4 and \
             brotli"
        ))),
    }
}

fn force_quote(value: Value) -> Result<ForceQuote, Error> {
    match value {
        Value::Star => Ok(ForceQuote::All),
        Value::Columns(columns) => Ok(ForceQuote::Columns(columns.iter().map(ident_of).collect())),
        _ => Err(invalid("FORCE_QUOTE takes * or columns in parentheses")),
    }
}

fn utf8(value: &Value) -> Result<(), Error> {
    match name(value).as_str() {
        "utf8" | "utf-8" => Ok(()),
        other => Err(invalid(format!(
            "ENCODING \"{other}\" is not supported: files are UTF-8; convert the file first"
        ))),
    }
}
