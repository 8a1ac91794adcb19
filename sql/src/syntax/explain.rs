//! `EXPLAIN … FORMAT json` and `FORMAT text`.
//!
//! Idea: DataFusion calls the formats that PostgreSQL calls `json` and `text` `pgjson` and `indent`, and its
//! parser refuses every other name; so the name is changed before the parser sees it.
//! Invariant: nothing is changed but a word between EXPLAIN and the query that it explains.

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use netabase_store::Error;

use crate::error::error_from_datafusion;

/// The tokens of a text that asks for the format `json` or `text`; `None` if none does.
pub(crate) fn tokens(
    text: &str,
    dialect: &dyn Dialect,
) -> Result<Option<Vec<TokenWithSpan>>, Error> {
    let lower = text.to_ascii_lowercase();
    let renamed = lower.contains("json") || lower.contains("text");
    if !(lower.contains("explain") && lower.contains("format") && renamed) {
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
            Token::Word(word) if format => {
                if let Some(name) = name_of(&word.value) {
                    token.token = Token::make_word(name, None);
                }
            }
            Token::SingleQuotedString(word) if format => {
                if let Some(name) = name_of(word) {
                    *word = name.to_owned();
                }
            }
            _ => {}
        }
        format = false;
    }
    Ok(Some(tokens))
}

/// DataFusion's name of a format of PostgreSQL's.
fn name_of(format: &str) -> Option<&'static str> {
    match format.to_ascii_lowercase().as_str() {
        "json" => Some("pgjson"),
        "text" => Some("indent"),
        _ => None,
    }
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
            | Keyword::MERGE
    )
}
