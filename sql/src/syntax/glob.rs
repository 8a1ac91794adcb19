//! `x GLOB 'a*[b-d]?'` and `x NOT GLOB …`, as SQLite has them.
//!
//! Idea: GLOB is a call of the function `glob(pattern, x)`. Invariant: a name `glob` stays a name; it is an operator
//! only where a value follows it.

use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator};
use datafusion::sql::sqlparser::keywords::{Keyword, RESERVED_FOR_COLUMN_ALIAS};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::aggregates::call;
use super::dialect::PATTERN;
use crate::statement::{is_keyword, is_word};

/// Whether the operator comes next.
pub(super) fn is_next(parser: &Parser<'_>) -> bool {
    let first = &parser.peek_token_ref().token;
    // Nearly every expression ends here.
    if !matches!(first, Token::Word(_)) {
        return false;
    }
    match is_keyword(first, Keyword::NOT) {
        true => is_word(&parser.peek_nth_token_ref(1).token, "glob"),
        false => is_word(first, "glob") && is_value(&parser.peek_nth_token_ref(1).token),
    }
}

fn is_value(token: &Token) -> bool {
    match token {
        Token::SingleQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::Placeholder(_)
        | Token::LParen => true,
        Token::Word(word) => {
            word.quote_style.is_some() || !RESERVED_FOR_COLUMN_ALIAS.contains(&word.keyword)
        }
        _ => false,
    }
}

/// Reads the operator and its right side, if it comes next.
pub(super) fn parse(parser: &mut Parser<'_>, left: &Expr) -> Option<Result<Expr, ParserError>> {
    if !is_next(parser) {
        return None;
    }
    let negated = parser.parse_keyword(Keyword::NOT);
    parser.advance_token();
    let found = parser
        .parse_subexpr(PATTERN)
        .map(|pattern| call("glob", vec![pattern, left.clone()]));
    Some(found.map(|found| match negated {
        false => found,
        true => Expr::Nested(Box::new(Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(found),
        })),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::NetabaseDialect;
    use super::*;

    #[test]
    fn an_operator_is_told_from_a_name() {
        let read = |text: &str| {
            let parser = Parser::new(&NetabaseDialect).try_with_sql(text);
            parser.unwrap().parse_statements()
        };
        let shown = |text: &str| read(text).unwrap()[0].to_string();
        assert_eq!(
            shown("SELECT a GLOB 'x*' AND b"),
            "SELECT glob('x*', a) AND b"
        );
        assert_eq!(shown("SELECT a NOT GLOB b"), "SELECT (NOT glob(b, a))");
        assert_eq!(shown("SELECT a || b GLOB $1"), "SELECT glob($1, a || b)");
        for text in [
            "SELECT glob FROM t",
            "SELECT a glob FROM t",
            "SELECT a glob, b FROM t",
            "SELECT a AS glob FROM t AS glob ORDER BY glob DESC",
        ] {
            assert!(!shown(text).contains("glob("), "{text}");
        }
        assert!(read("SELECT a GLOB").is_ok(), "an alias");
        assert!(read("SELECT a NOT GLOB").is_err());
    }
}
