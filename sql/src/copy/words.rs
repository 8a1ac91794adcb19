//! The options of COPY, as PostgreSQL and DuckDB write them.
//!
//! Invariant: an option is known and given once, and an error points at the name or the value that is wrong.
//! Non-goal: whether options fit a format, which is known once there is one.

use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use netabase_store::Error;

use super::statement::{KNOWN, at, end, expected, syntax};
use super::{CopyCompression, CopyFormat, CopyOptions, ForceQuote};
use crate::error::invalid;
use crate::statement::{ident_of, is_keyword};

/// The names of options.
const NAMES: [&str; 11] = [
    "format",
    "compression",
    "header",
    "delimiter",
    "null",
    "quote",
    "escape",
    "force_quote",
    "array",
    "row_group_size",
    "encoding",
];
/// Words behind a file that mean FORMAT.
const FORMAT_WORDS: [&str; 6] = ["csv", "json", "parquet", "arrow", "text", "binary"];

/// Where the value of an option is, the option, and its value.
type Read = (Option<TokenWithSpan>, &'static str, Value);

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

/// Options as they are read.
pub(super) struct Options {
    options: CopyOptions,
    /// Names of those that were given.
    given: Vec<&'static str>,
}

impl Options {
    pub(super) fn new(options: CopyOptions) -> Self {
        Self {
            options,
            given: Vec::new(),
        }
    }

    /// Whether none was given.
    pub(super) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    pub(super) fn finish(self) -> CopyOptions {
        self.options
    }

    /// `FORMAT csv, HEADER)`.
    pub(super) fn list(&mut self, parser: &mut Parser<'_>) -> Result<(), Error> {
        loop {
            let next = parser.next_token();
            let Token::Word(word) = &next.token else {
                let error = format!("COPY expects the name of an option here; there are {KNOWN}");
                return Err(at(&next, invalid(error)));
            };
            let name = self.name(&word.value).map_err(|error| at(&next, error))?;
            let behind = parser.peek_token();
            let (blamed, value) = match behind.token {
                Token::Comma | Token::RParen | Token::EOF => (next, Value::Missing),
                _ => (behind, value(parser)?),
            };
            self.set(name, value).map_err(|error| at(&blamed, error))?;
            if parser.consume_token(&Token::RParen) {
                return end(parser);
            }
            parser.expect_token(&Token::Comma).map_err(syntax)?;
        }
    }

    /// `CSV HEADER DELIMITER AS ';'`, as PostgreSQL wrote it before version 9.
    pub(super) fn words(&mut self, parser: &mut Parser<'_>) -> Result<(), Error> {
        loop {
            let next = parser.peek_token();
            let Token::Word(word) = &next.token else {
                return end(parser);
            };
            if is_keyword(&next.token, Keyword::WHERE) {
                return end(parser);
            }
            parser.next_token();
            let (blamed, name, value) = self
                .word(parser, &word.value)
                .map_err(|error| at(&next, error))?;
            let blamed = blamed.unwrap_or(next);
            self.set(name, value).map_err(|error| at(&blamed, error))?;
        }
    }

    /// One such option: its value, if it has one, its name and the value.
    fn word(&self, parser: &mut Parser<'_>, word: &str) -> Result<Read, Error> {
        let lower = word.to_ascii_lowercase();
        Ok(match lower.as_str() {
            "force" => (None, self.name("force_quote")?, force(parser)?),
            "stored" | "partitioned" | "options" => return Err(unknown(word)),
            lower if FORMAT_WORDS.contains(&lower) => {
                let value = Value::Word(lower.to_owned());
                (None, self.name("format")?, value)
            }
            "format" => {
                let name = self.name("format")?;
                (Some(parser.peek_token()), name, value(parser)?)
            }
            lower => {
                let name = self.name(lower)?;
                // AS may stand there, and means nothing.
                let _ = parser.parse_keyword(Keyword::AS);
                let next = parser.peek_token();
                match is_value(&next.token) {
                    true => (Some(next), name, value(parser)?),
                    false => (None, name, Value::Missing),
                }
            }
        })
    }

    /// The option that a word means, if it was not given yet.
    fn name(&self, word: &str) -> Result<&'static str, Error> {
        let name = match word.to_ascii_lowercase().as_str() {
            "delim" | "sep" => "delimiter".to_owned(),
            "nullstr" => "null".to_owned(),
            other => other.to_owned(),
        };
        let known = NAMES.into_iter().find(|known| *known == name);
        let known = known.ok_or_else(|| unknown(word))?;
        match self.given.contains(&known) {
            false => Ok(known),
            true => Err(invalid(format!(
                "COPY option {} is given twice",
                name.to_uppercase()
            ))),
        }
    }

    fn set(&mut self, name: &'static str, value: Value) -> Result<(), Error> {
        let options = &mut self.options;
        match name {
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
            _ => utf8(&value)?,
        }
        self.given.push(name);
        Ok(())
    }
}

/// `FORCE QUOTE a, b`, behind its first word.
fn force(parser: &mut Parser<'_>) -> Result<Value, Error> {
    if !parser.parse_keyword(Keyword::QUOTE) {
        return Err(unknown("FORCE NULL"));
    }
    if parser.consume_token(&Token::Mul) {
        return Ok(Value::Star);
    }
    let columns = parser
        .parse_comma_separated(Parser::parse_identifier)
        .map_err(syntax)?;
    Ok(Value::Columns(columns))
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
    Ok(match &next.token {
        Token::Word(word) => Value::Word(word.value.clone()),
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => {
            Value::Text(text.clone())
        }
        Token::Number(number, _) => Value::Number(number.clone()),
        Token::Minus => {
            let behind = parser.next_token();
            match &behind.token {
                Token::Number(number, _) => Value::Number(format!("-{number}")),
                _ => return Err(expected("a number behind -", &behind)),
            }
        }
        Token::Mul => Value::Star,
        Token::LParen => {
            let columns = parser
                .parse_comma_separated(Parser::parse_identifier)
                .map_err(syntax)?;
            parser.expect_token(&Token::RParen).map_err(syntax)?;
            Value::Columns(columns)
        }
        _ => return Err(expected("the value of an option", &next)),
    })
}

/// Whether this is a value, where a word may be the next option.
fn is_value(token: &Token) -> bool {
    match token {
        Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) | Token::Number(..) => true,
        Token::Word(word) if word.quote_style.is_none() => {
            let word = word.value.to_ascii_lowercase();
            ["true", "false", "on", "off"].contains(&word.as_str())
        }
        _ => false,
    }
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
