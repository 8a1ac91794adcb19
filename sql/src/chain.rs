//! How long a row of operators may be, and how deep parentheses.
//!
//! Idea: parentheses in one another are counted, and `1 + 1 + 1 + …` nests by itself, one
//! level for each operator, and whoever walks such a tree needs as much stack as it is deep. The
//! tokens tell how deep it will be before it is built.
//!
//! Invariant: no statement that passes here overflows the stack of a query's thread.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use netabase_store::Error;

use crate::blame::{Blame, Place};

/// Operators such as `+`, `||` and `::` in a row.
const MAX_OPERATORS: usize = 250;
/// `AND` and `OR` in a row.
const MAX_CONDITIONS: usize = 3000;
/// `UNION`, `EXCEPT`, `INTERSECT` and `JOIN` in a row.
const MAX_TABLES: usize = 1000;
/// Parentheses in one another. The parser's own limit is higher, and when it is reached inside of CAST and
/// the like, each level is tried in a second way, which takes for ever.
const MAX_DEPTH: usize = 40;
/// Texts below this length cannot hold as many.
const MIN_TEXT: usize = MAX_DEPTH;

/// What has been seen within a pair of parentheses.
#[derive(Default)]
struct Level {
    operators: usize,
    conditions: usize,
    tables: usize,
}

impl Level {
    /// Counts a token; what is too long, with the way out.
    fn count(&mut self, token: &Token) -> Option<String> {
        match token {
            Token::Comma => (self.operators, self.conditions) = (0, 0),
            Token::SemiColon => *self = Self::default(),
            Token::Eq | Token::Neq | Token::Lt | Token::Gt | Token::LtEq | Token::GtEq => {
                self.operators = 0;
            }
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                Keyword::AND | Keyword::OR => {
                    self.operators = 0;
                    self.conditions += 1;
                }
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::JOIN => {
                    (self.operators, self.conditions) = (0, 0);
                    self.tables += 1;
                }
                Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::ON => {
                    (self.operators, self.conditions) = (0, 0);
                }
                Keyword::IS | Keyword::AT | Keyword::COLLATE => self.operators += 1,
                _ => {}
            },
            token if is_operator(token) => self.operators += 1,
            _ => {}
        }
        let limits = [
            (
                self.operators,
                MAX_OPERATORS,
                "operators",
                "compute parts of it in a subquery",
            ),
            (
                self.conditions,
                MAX_CONDITIONS,
                "ANDs and ORs",
                "use IN (…), or join a table",
            ),
            (
                self.tables,
                MAX_TABLES,
                "sets and joins",
                "write the rows into a table first",
            ),
        ];
        let broken = limits.iter().find(|(count, most, ..)| count > most)?;
        let (_, most, what, way_out) = broken;
        Some(format!(
            "there are more than {most} {what} in a row here: {way_out}"
        ))
    }
}

fn is_operator(token: &Token) -> bool {
    matches!(
        token,
        Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::Caret
            | Token::Pipe
            | Token::Ampersand
            | Token::StringConcat
            | Token::DoubleColon
            | Token::LBracket
            | Token::Arrow
            | Token::LongArrow
            | Token::ShiftLeft
            | Token::ShiftRight
            | Token::Tilde
    )
}

/// Fails for a text whose trees would be too deep.
pub(crate) fn check(text: &str, parser: &Parser<'_>) -> Result<(), Error> {
    if text.len() < MIN_TEXT {
        return Ok(());
    }
    let mut levels = vec![Level::default()];
    // Words that the parser goes down into without parentheses: EXPLAIN EXPLAIN …, ARRAY<ARRAY<….
    let mut words = 0;
    for at in 0.. {
        let TokenWithSpan { token, span } = parser.peek_nth_token_no_skip(at);
        match token {
            Token::EOF => break,
            Token::LParen | Token::LBrace => levels.push(Level::default()),
            Token::RParen | Token::RBrace if levels.len() > 1 => {
                levels.pop();
            }
            _ => {}
        }
        match &token {
            Token::Word(word) if matches!(word.keyword, Keyword::EXPLAIN | Keyword::ARRAY) => {
                words += 1;
            }
            Token::Whitespace(_) | Token::Lt => {}
            _ => words = 0,
        }
        if levels.len().max(words) > MAX_DEPTH {
            let text =
                "the statement is nested too deeply; take it apart, with WITH or with a table";
            return Err(Blame::syntax(Place::of(span.start), text));
        }
        if let Some(level) = levels.last_mut()
            && let Some(text) = level.count(&token)
        {
            return Err(Blame::syntax(Place::of(span.start), text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;

    use super::*;

    fn fails(text: &str) -> Option<String> {
        let dialect = GenericDialect {};
        let parser = Parser::new(&dialect).try_with_sql(text).unwrap();
        check(text, &parser).err().map(|error| error.to_string())
    }

    #[test]
    fn rows_of_operators_are_bounded_and_lists_are_not() {
        let sum = |n: usize| vec!["a"; n].join(" + ");
        assert_eq!(fails(&format!("SELECT {}", sum(251))), None);
        let said = fails(&format!("SELECT {}", sum(252))).unwrap();
        assert!(said.contains("more than 250 operators"), "{said}");
        let list = vec![sum(100); 100].join(", ");
        assert_eq!(
            fails(&format!("SELECT {list} WHERE f({list}) = {}", sum(100))),
            None
        );
        let rows = vec!["(1 + 1, 2 * 3)"; 5000].join(", ");
        assert_eq!(fails(&format!("INSERT INTO t VALUES {rows}")), None);
        assert!(fails(&vec!["SELECT 1"; 1002].join(" UNION ")).is_some());
        assert!(fails(&format!("SELECT {}", vec!["a = 1"; 3002].join(" OR "))).is_some());
        assert!(fails(&format!("SELECT 1{}", "::INT".repeat(300))).is_some());
    }
}
