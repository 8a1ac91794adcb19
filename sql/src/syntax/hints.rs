//! Words of PostgreSQL that the parser does not know, or takes wrongly.
//!
//! Idea: `AS [NOT] MATERIALIZED (…)` in a WITH says how a query is to be run, which the planner decides by
//! itself, and is taken out of the tokens; `TABLE name` is `SELECT * FROM name`, and is made that; the EXCLUDE NO
//! OTHERS of a frame is what it is without; a `>>` that ends two types is two tokens ([`brackets`]); and the DO NOTHING
//! of MERGE is a change ([`nothing`]). Invariant: nothing else is changed.

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};
use netabase_store::Error;

use super::{brackets, nothing};
use crate::blame::{Blame, Place};
use crate::error::error_from_datafusion;
use crate::statement::{is_keyword, is_word};

/// The tokens of a text, or those that it has already, in words that the parser knows; `None` if it knows
/// them as they are.
pub(crate) fn known(
    text: &str,
    tokens: Option<Vec<TokenWithSpan>>,
    dialect: &dyn Dialect,
) -> Result<Option<Vec<TokenWithSpan>>, Error> {
    let lower = text.to_ascii_lowercase();
    let hints = lower.contains("materialized");
    let tables = lower.trim_start().starts_with("table") || has_table(&lower);
    let frames = lower.contains("exclude") && lower.contains("over");
    let types = brackets::may_close(&lower);
    let idle = lower.contains("merge") && lower.contains("nothing");
    if !(hints || tables || frames || types || idle) {
        return Ok(tokens);
    }
    let tokens = match tokens {
        Some(tokens) => tokens,
        None => Tokenizer::new(dialect, text)
            .tokenize_with_location()
            .map_err(|error| {
                error_from_datafusion(DataFusionError::from(ParserError::from(error)))
            })?,
    };
    let tokens = match tables {
        true => selected(tokens),
        false => tokens,
    };
    let tokens = match types {
        true => brackets::closed(tokens),
        false => tokens,
    };
    let tokens = match idle {
        true => nothing::changed(tokens),
        false => tokens,
    };
    let tokens = match frames {
        true => framed(tokens)?,
        false => tokens,
    };
    Ok(Some(without_hints(tokens)))
}

/// Frames of windows without `EXCLUDE NO OTHERS`. Fails for those that exclude some.
fn framed(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, Error> {
    let is_space = |token: &Token| matches!(token, Token::Whitespace(_));
    let mut places = (0..tokens.len()).filter(|at| {
        let token = tokens.get(*at);
        token.is_some_and(|token| !is_space(&token.token))
    });
    let places: Vec<usize> = places.by_ref().collect();
    let word = |nth: usize| {
        let place = places.get(nth)?;
        tokens.get(*place).map(|token| &token.token)
    };
    let says = |nth: usize, wanted: &str| word(nth).is_some_and(|token| is_word(token, wanted));
    let mut left_out = Vec::new();
    for nth in 1..places.len() {
        let bounded = ["row", "preceding", "following"];
        if !says(nth, "exclude") || !bounded.iter().any(|bound| says(nth - 1, bound)) {
            continue;
        }
        let ends = |after: usize| word(nth + after) == Some(&Token::RParen);
        let what = match () {
            () if says(nth + 1, "no") && says(nth + 2, "others") && ends(3) => {
                left_out.extend(places.iter().skip(nth).take(3));
                continue;
            }
            () if says(nth + 1, "current") && says(nth + 2, "row") && ends(3) => "CURRENT ROW",
            () if says(nth + 1, "group") && ends(2) => "GROUP",
            () if says(nth + 1, "ties") && ends(2) => "TIES",
            () => continue,
        };
        let Some(token) = places.get(nth).and_then(|place| tokens.get(*place)) else {
            continue;
        };
        return Err(Blame::syntax(
            Place::of(token.span.start),
            format!(
                "EXCLUDE {what} of a window frame is not supported: compute the aggregate over the rows before \
                 (ROWS BETWEEN … AND 1 PRECEDING) and over those behind (ROWS BETWEEN 1 FOLLOWING AND …), and \
                 put the two together"
            ),
        ));
    }
    let kept = tokens.into_iter().enumerate();
    let kept = kept.filter(|(at, _)| !left_out.contains(at));
    Ok(kept.map(|(_, token)| token).collect())
}

/// Whether `TABLE name` may stand inside of a text.
fn has_table(lower: &str) -> bool {
    let before = ["(", ")", "union", "all", "except", "intersect", ";"];
    lower.match_indices("table").any(|(at, _)| {
        let earlier = lower.get(..at).unwrap_or_default().trim_end();
        before.iter().any(|word| earlier.ends_with(word))
    })
}

/// `TABLE name` as a SELECT.
fn selected(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut made = Vec::with_capacity(tokens.len() + 5);
    let mut begins = true;
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        if matches!(token.token, Token::Whitespace(_)) {
            made.push(token);
            continue;
        }
        let is_table = begins && is_keyword(&token.token, Keyword::TABLE);
        let spaced = rest
            .peek()
            .is_some_and(|next| matches!(next.token, Token::Whitespace(_)));
        begins = match &token.token {
            Token::LParen | Token::RParen | Token::SemiColon => true,
            Token::Word(word) => matches!(
                word.keyword,
                Keyword::UNION | Keyword::ALL | Keyword::EXCEPT | Keyword::INTERSECT
            ),
            _ => false,
        };
        if !(is_table && spaced) {
            made.push(token);
            continue;
        }
        let space = Token::Whitespace(Whitespace::Space);
        let words = [
            Token::make_keyword("SELECT"),
            space.clone(),
            Token::Mul,
            space,
            Token::make_keyword("FROM"),
        ];
        made.extend(words.map(|word| TokenWithSpan {
            token: word,
            span: token.span,
        }));
    }
    made
}

/// A WITH without words about how it is run.
fn without_hints(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut kept: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        let mut hint = Vec::new();
        if is_keyword(&token.token, Keyword::AS) {
            while let Some(next) = rest.next_if(|next| is_hint(&next.token)) {
                hint.push(next);
            }
        }
        kept.push(token);
        let named = hint
            .iter()
            .any(|token| is_keyword(&token.token, Keyword::MATERIALIZED));
        let opens = rest.peek().is_some_and(|next| next.token == Token::LParen);
        if !(named && opens) {
            kept.append(&mut hint);
        }
    }
    kept
}

fn is_hint(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
        || is_keyword(token, Keyword::NOT)
        || is_keyword(token, Keyword::MATERIALIZED)
}
