//! `EXPLAIN … FORMAT json`.
//!
//! Idea: DataFusion calls the format that PostgreSQL calls `json` `pgjson`, and its parser refuses every
//! other name; so the name is changed before the parser sees it.
//! Invariant: nothing is changed but a word between EXPLAIN and the query that it explains.

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use netabase_store::Error;

use crate::error::error_from_datafusion;

/// The tokens of a text that asks for the format `json`; `None` if none does.
pub(crate) fn tokens(
    text: &str,
    dialect: &dyn Dialect,
) -> Result<Option<Vec<TokenWithSpan>>, Error> {
    let lower = text.to_ascii_lowercase();
    if !(lower.contains("explain") && lower.contains("format") && lower.contains("json")) {
        return Ok(None);
    }
    let mut tokens = Tokenizer::new(dialect, text)
        .tokenize_with_location()
        .map_err(|error| error_from_datafusion(DataFusionError::from(ParserError::from(error))))?;
    let (mut explains, mut format) = (false, false);
    for token in &mut tokens {
        match &mut token.token {
            Token::Whitespace(_) | Token::Eq => continue,
            Token::Word(word) if word.keyword == Keyword::EXPLAIN => explains = true,
            Token::Word(word) if explains && word.keyword == Keyword::FORMAT => {
                format = true;
                continue;
            }
            Token::Word(word) if is_query(word.keyword) => explains = false,
            Token::Word(word) if format && word.value.eq_ignore_ascii_case("json") => {
                token.token = Token::make_word("pgjson", None);
            }
            Token::SingleQuotedString(word) if format && word.eq_ignore_ascii_case("json") => {
                *word = "pgjson".to_owned();
            }
            _ => {}
        }
        format = false;
    }
    Ok(Some(tokens))
}

fn is_query(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::SELECT
            | Keyword::WITH
            | Keyword::VALUES
            | Keyword::FROM
            | Keyword::INSERT
            | Keyword::UPDATE
            | Keyword::DELETE
    )
}
