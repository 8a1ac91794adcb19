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
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use netabase_store::Error;

use super::CopyOptions;
use super::words::Options;
use crate::blame::{Blame, Place};
use crate::error::{error_from_datafusion, invalid};
use crate::statement::{ident_of, is_keyword};
use crate::syntax::mend_query;

/// The options there are.
pub(super) const KNOWN: &str = "FORMAT, COMPRESSION, HEADER, DELIMITER, NULL, QUOTE, ESCAPE, \
                                FORCE_QUOTE, ARRAY, ROW_GROUP_SIZE and ENCODING";

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

pub(super) fn syntax(error: ParserError) -> Error {
    error_from_datafusion(DataFusionError::from(error))
}

/// An error that a word is blamed for.
pub(super) fn at(token: &TokenWithSpan, error: Error) -> Error {
    Blame::here(error, Place::of(token.span.start))
}

/// Something else than what is expected.
pub(super) fn expected(what: &str, found: &TokenWithSpan) -> Error {
    let error = match found.token {
        Token::EOF => format!("syntax error: expected {what}, but the text ends here"),
        _ => format!("syntax error: expected {what}, found \"{found}\""),
    };
    at(found, invalid(error))
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
        let next = parser.peek_token();
        if parser.parse_keyword(Keyword::FROM) {
            return Err(at(
                &next,
                invalid("COPY … FROM loads into a table: COPY table FROM 'file'"),
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
    if !parser.parse_keyword(Keyword::FROM) {
        return Err(expected("FROM 'file' or TO 'file'", &parser.peek_token()));
    }
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
    let mut read = Options::new(options);
    let with = parser.parse_keyword(Keyword::WITH);
    if parser.consume_token(&Token::LParen) {
        read.list(parser)?;
    } else {
        read.words(parser)?;
        if with && read.is_empty() {
            let error = format!("WITH is followed by options in parentheses; there are {KNOWN}");
            return Err(at(&parser.peek_token(), invalid(error)));
        }
    }
    Ok(CopyStatement {
        rows,
        file,
        options: read.finish(),
    })
}

/// The file, or why there is none.
fn file(parser: &mut Parser<'_>) -> Result<String, Error> {
    let next = parser.next_token();
    let refused = |what: &str, way_out: &str| {
        let error = format!("COPY with {what} is not supported: {way_out}");
        Err(at(&next, invalid(error)))
    };
    match &next.token {
        Token::SingleQuotedString(file) | Token::EscapedStringLiteral(file) if !file.is_empty() => {
            Ok(file.clone())
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
            _ => Err(expected("the name of a file in single quotes", &next)),
        },
        _ => Err(expected("the name of a file in single quotes", &next)),
    }
}

/// A statement ends behind its options.
pub(super) fn end(parser: &mut Parser<'_>) -> Result<(), Error> {
    let next = parser.peek_token();
    if is_keyword(&next.token, Keyword::WHERE) {
        return Err(at(
            &next,
            invalid(
                "COPY … WHERE is not supported: write COPY (SELECT … WHERE …) TO 'file', or load the \
                 file and DELETE the rows you do not want",
            ),
        ));
    }
    Ok(())
}
