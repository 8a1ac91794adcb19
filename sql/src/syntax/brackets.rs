//! Types within types: `STRUCT<a STRUCT<b INT>>[]`.
//!
//! Idea: the parser takes `>>` for the end of both types, and what follows for a part of the inner one; so it gets
//! two `>` instead. Invariant: a `>>` that shifts a number stays what it is.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Whether a text may have types within types.
pub(super) fn may_close(lower: &str) -> bool {
    lower.contains(">>") && lower.contains("struct") && lower.contains('<')
}

/// Tokens in which each type ends by itself.
pub(super) fn closed(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut closed = Vec::with_capacity(tokens.len());
    // The types that are open, and whether the token before may open one.
    let (mut depth, mut is_type) = (0_usize, false);
    for token in tokens {
        let before = is_type;
        is_type = false;
        match &token.token {
            Token::Whitespace(_) => is_type = before,
            Token::Word(word) => {
                is_type = matches!(word.keyword, Keyword::STRUCT | Keyword::ARRAY);
            }
            Token::Lt if before => depth += 1,
            Token::Gt => depth = depth.saturating_sub(1),
            Token::ShiftRight if depth > 1 => {
                depth -= 2;
                let span = token.span;
                let token = Token::Gt;
                closed.extend([token.clone(), token].map(|token| TokenWithSpan { token, span }));
                continue;
            }
            Token::Comma
            | Token::Colon
            | Token::LParen
            | Token::RParen
            | Token::LBracket
            | Token::RBracket
            | Token::Number(..) => {}
            // No type has it.
            _ => depth = 0,
        }
        closed.push(token);
    }
    closed
}
