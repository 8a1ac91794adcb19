//! Calls that are written with words in them: `CAST(x AS INT)`, `SUBSTRING(x FROM 2)`.
//!
//! Purpose: the parser reads such a call in a second way when the first one fails, and what stands in it
//! along with it, so that an error inside of n of them is found 2ⁿ times. Here each is read in one way.
//! Invariant: what the parser takes is taken. Non-goal: words without parentheses, which may be names.

use datafusion::sql::sqlparser::ast::{CastKind, Expr, TrimWhereField};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::dialect::PATTERN;
use crate::statement::is_keyword;

type Parsed = Result<Expr, ParserError>;

/// Reads such a call, if one comes next.
pub(super) fn parse(parser: &mut Parser<'_>) -> Option<Parsed> {
    let Token::Word(word) = &parser.peek_token_ref().token else {
        return None;
    };
    let (keyword, name) = match word.quote_style {
        None => (word.keyword, word.value.clone()),
        Some(_) => return None,
    };
    let next = &parser.peek_nth_token_ref(1).token;
    let (call, list) = (*next == Token::LParen, *next == Token::LBracket);
    match keyword {
        Keyword::SUBSTR | Keyword::SUBSTRING if call => return Some(parser.parse_substring()),
        Keyword::TRIM if call => return trim_from(parser),
        Keyword::ARRAY if list => {}
        Keyword::NOT => {}
        Keyword::CAST
        | Keyword::TRY_CAST
        | Keyword::SAFE_CAST
        | Keyword::CEIL
        | Keyword::FLOOR
        | Keyword::POSITION
        | Keyword::OVERLAY
            if call => {}
        _ => return None,
    }
    parser.advance_token();
    Some(match keyword {
        Keyword::NOT => parser.parse_not(),
        Keyword::CAST => parser.parse_cast_expr(CastKind::Cast),
        Keyword::TRY_CAST => parser.parse_cast_expr(CastKind::TryCast),
        Keyword::SAFE_CAST => parser.parse_cast_expr(CastKind::SafeCast),
        Keyword::CEIL => parser.parse_ceil_floor_expr(true),
        Keyword::FLOOR => parser.parse_ceil_floor_expr(false),
        Keyword::POSITION => position(parser, name),
        Keyword::OVERLAY => overlay(parser, name),
        _ => {
            parser.advance_token();
            parser.parse_array_expr(true)
        }
    })
}

/// `TRIM(LEADING FROM x)`, which says nothing of what is trimmed.
fn trim_from(parser: &mut Parser<'_>) -> Option<Parsed> {
    let from = &parser.peek_nth_token_ref(3).token;
    let trim_where = match &parser.peek_nth_token_ref(2).token {
        _ if !is_keyword(from, Keyword::FROM) => return None,
        token if is_keyword(token, Keyword::BOTH) => TrimWhereField::Both,
        token if is_keyword(token, Keyword::LEADING) => TrimWhereField::Leading,
        token if is_keyword(token, Keyword::TRAILING) => TrimWhereField::Trailing,
        _ => return None,
    };
    (0..4).for_each(|_| parser.advance_token());
    let trimmed = parser.parse_expr().and_then(|expr| {
        parser.expect_token(&Token::RParen)?;
        Ok(Expr::Trim {
            expr: Box::new(expr),
            trim_where: Some(trim_where),
            trim_what: None,
            trim_characters: None,
        })
    });
    Some(trimmed)
}

/// `POSITION(x IN y)` or `position(y, x)`.
fn position(parser: &mut Parser<'_>, name: String) -> Parsed {
    parser.expect_token(&Token::LParen)?;
    let first = parser.parse_subexpr(PATTERN)?;
    if !parser.parse_keyword(Keyword::IN) {
        return call(parser, name, first);
    }
    let within = parser.parse_expr()?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Position {
        expr: Box::new(first),
        r#in: Box::new(within),
    })
}

/// `OVERLAY(x PLACING y FROM n FOR m)` or `overlay(x, y, n, m)`.
fn overlay(parser: &mut Parser<'_>, name: String) -> Parsed {
    parser.expect_token(&Token::LParen)?;
    let first = parser.parse_expr()?;
    if !parser.parse_keyword(Keyword::PLACING) {
        return call(parser, name, first);
    }
    let what = parser.parse_expr()?;
    parser.expect_keyword_is(Keyword::FROM)?;
    let from = parser.parse_expr()?;
    let length = match parser.parse_keyword(Keyword::FOR) {
        true => Some(Box::new(parser.parse_expr()?)),
        false => None,
    };
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Overlay {
        expr: Box::new(first),
        overlay_what: Box::new(what),
        overlay_from: Box::new(from),
        overlay_for: length,
    })
}

/// The rest of a call with a list of arguments.
fn call(parser: &mut Parser<'_>, name: String, first: Expr) -> Parsed {
    let mut args = vec![first];
    while parser.consume_token(&Token::Comma) {
        args.push(parser.parse_expr()?);
    }
    parser.expect_token(&Token::RParen)?;
    Ok(super::aggregates::call(&name, args))
}

#[cfg(test)]
mod tests {
    use super::super::NetabaseDialect;
    use super::*;

    /// Were each level read in two ways, this would not end.
    #[test]
    fn a_mistake_inside_of_many_calls_is_found() {
        let calls = [
            ("CAST(", " AS INT)"),
            ("TRY_CAST(", " AS INT)"),
            ("SUBSTRING(", ", 1)"),
            ("POSITION(", ", 'a')"),
            ("POSITION('a' IN ", ")"),
            ("OVERLAY(", ", 'a', 1)"),
            ("CEIL(", ")"),
            ("FLOOR(", ")"),
            ("ARRAY[", "]"),
            ("NOT (", ")"),
        ];
        for (open, close) in calls {
            let read = |inner: &str| {
                let text = format!("{}{inner}{}", open.repeat(22), close.repeat(22));
                let parser = Parser::new(&NetabaseDialect).try_with_sql(&text);
                parser.unwrap().parse_expr()
            };
            assert!(read("1 + ").is_err(), "{open}");
            assert!(read("x").is_ok(), "{open}");
        }
    }
}
