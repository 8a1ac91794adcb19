//! How long a row of operators may be, and how deep parentheses.
//!
//! Idea: parentheses and CASEs in one another are counted, and `1 + 1 + 1 + …` nests by itself, one
//! level for each operator, and whoever walks such a tree needs as much stack as it is deep. The
//! tokens tell how deep it will be before it is built. Whatever may stand between two operands counts.
//!
//! Invariant: no statement that passes here overflows the stack of a query's thread.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use netabase_store::Error;

use crate::blame::{Blame, Place};

/// Operators such as `+`, `||`, `::` and LIKE in a row.
const MAX_OPERATORS: usize = 250;
/// Comparisons in a row, without AND, OR or a comma between them.
const MAX_COMPARISONS: usize = 250;
/// `AND` and `OR` in a row.
const MAX_CONDITIONS: usize = 3000;
/// `UNION`, `EXCEPT`, `INTERSECT` and `JOIN` in a row.
const MAX_TABLES: usize = 1000;
/// Parentheses in one another. The parser's own limit is higher, and when it is reached inside of CAST and
/// the like, each level is tried in a second way, which takes for ever.
const MAX_DEPTH: usize = 40;
/// Texts below this length cannot hold as many.
const MIN_TEXT: usize = MAX_DEPTH;

/// What has been seen within a pair of parentheses, or between CASE and END.
#[derive(Default)]
struct Level {
    is_case: bool,
    operators: usize,
    comparisons: usize,
    conditions: usize,
    tables: usize,
}

impl Level {
    /// Counts a token; what is too long, with the way out.
    fn count(&mut self, token: &Token) -> Option<String> {
        match token {
            Token::Comma => self.begin_expression(),
            Token::SemiColon => *self = Self::default(),
            Token::Word(word) if word.quote_style.is_none() => self.count_word(word.keyword),
            token if is_comparison(token) => {
                self.operators = 0;
                self.comparisons += 1;
            }
            token if is_operator(token) => self.operators += 1,
            _ => {}
        }
        self.too_much()
    }

    fn count_word(&mut self, keyword: Keyword) {
        match keyword {
            Keyword::AND | Keyword::OR => {
                (self.operators, self.comparisons) = (0, 0);
                self.conditions += 1;
            }
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::JOIN => {
                self.begin_expression();
                self.tables += 1;
            }
            Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::ON => {
                self.begin_expression();
            }
            Keyword::WHEN | Keyword::THEN | Keyword::ELSE if self.is_case => {
                self.begin_expression();
            }
            keyword if joins_operands(keyword) => self.operators += 1,
            _ => {}
        }
    }

    fn begin_expression(&mut self) {
        (self.operators, self.comparisons, self.conditions) = (0, 0, 0);
    }

    fn too_much(&self) -> Option<String> {
        const PARTS: &str = "compute parts of it in a subquery";
        let limits = [
            (self.operators, MAX_OPERATORS, "operators", PARTS),
            (self.comparisons, MAX_COMPARISONS, "comparisons", PARTS),
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

fn is_comparison(token: &Token) -> bool {
    matches!(
        token,
        Token::Eq
            | Token::DoubleEq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::Spaceship
    )
}

/// Any sign that is no operand, bracket or separator.
fn is_operator(token: &Token) -> bool {
    !matches!(
        token,
        Token::EOF
            | Token::Word(_)
            | Token::Number(..)
            | Token::Char(_)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::NationalStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::Placeholder(_)
            | Token::Whitespace(_)
            | Token::LParen
            | Token::RParen
            | Token::LBrace
            | Token::RBrace
            | Token::RBracket
            | Token::Period
    )
}

/// Words that stand between two operands, or behind one.
fn joins_operands(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::IS
            | Keyword::NOTNULL
            | Keyword::IN
            | Keyword::BETWEEN
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::SIMILAR
            | Keyword::RLIKE
            | Keyword::REGEXP
            | Keyword::MATCH
            | Keyword::XOR
            | Keyword::DIV
            | Keyword::MEMBER
            | Keyword::OVERLAPS
            | Keyword::OPERATOR
            | Keyword::AT
            | Keyword::COLLATE
    )
}

/// A number that goes on in letters, which would be the name of a column with that number.
fn check_numbers(tokens: &[TokenWithSpan]) -> Result<(), Error> {
    let mut number = None;
    for TokenWithSpan { token, span } in tokens {
        match (token, number) {
            (Token::Word(word), Some(end)) if end == span.start => {
                let text =
                    format!("\"{word}\" stands right behind a number: write a space between them");
                return Err(Blame::syntax(Place::of(span.start), &text));
            }
            (Token::Number(..), _) => number = Some(span.end),
            _ => number = None,
        }
    }
    Ok(())
}

/// Fails for a text whose trees would be too deep, or that has a number which is none.
pub(crate) fn check(text: &str, tokens: &[TokenWithSpan]) -> Result<(), Error> {
    check_numbers(tokens)?;
    if text.len() < MIN_TEXT {
        return Ok(());
    }
    let mut levels = vec![Level::default()];
    // Words that the parser goes down into without parentheses: EXPLAIN EXPLAIN …, ARRAY<ARRAY<….
    let mut words = 0;
    for TokenWithSpan { token, span } in tokens {
        match token {
            Token::LParen | Token::LBrace => levels.push(Level::default()),
            Token::RParen | Token::RBrace => leave_parentheses(&mut levels),
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                Keyword::CASE => levels.push(Level {
                    is_case: true,
                    ..Level::default()
                }),
                Keyword::END if levels.last().is_some_and(|level| level.is_case) => {
                    levels.pop();
                }
                _ => {}
            },
            _ => {}
        }
        match token {
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
            && let Some(text) = level.count(token)
        {
            return Err(Blame::syntax(Place::of(span.start), text));
        }
    }
    Ok(())
}

/// Leaves a pair of parentheses, and the CASEs in it that never end.
fn leave_parentheses(levels: &mut Vec<Level>) {
    while levels.len() > 1 && levels.pop().is_some_and(|level| level.is_case) {}
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn fails(text: &str) -> Option<String> {
        let dialect = GenericDialect {};
        let tokens = Tokenizer::new(&dialect, text).tokenize_with_location();
        check(text, &tokens.unwrap())
            .err()
            .map(|error| error.to_string())
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
        for operator in [
            "=", "<=>", "<>", "LIKE", "NOT IN", "~*", "!~", "#", "@>", "^", "XOR", ":",
        ] {
            let row = vec!["a"; 300].join(&format!(" {operator} "));
            assert!(fails(&format!("SELECT {row}")).is_some(), "{operator}");
        }
    }

    #[test]
    fn the_parts_of_a_case_are_apart() {
        let whens = "WHEN a = 1 THEN b + 1 ".repeat(2000);
        assert_eq!(fails(&format!("SELECT CASE {whens} ELSE 2 END")), None);
        let case = "CASE WHEN a = 1 THEN b END";
        for operator in [" + ", " = "] {
            let row = vec![case; 300].join(operator);
            assert!(fails(&format!("SELECT {row}")).is_some(), "{operator}");
        }
        let text = format!("SELECT {}", vec!["(CASE a)"; 300].join(", "));
        assert_eq!(fails(&text), None);
    }
}
