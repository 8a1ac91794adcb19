//! The shape of a statement: its text with the literals taken out.
//!
//! Idea: `… WHERE id = 7` and `… WHERE id = 8` are one shape, which is parsed once. Invariant: the shape
//! with the literals put back is the same statement as the text, for the tokenizer of the session's
//! parser; whatever could be read in another way (comments, escapes, prefixed strings, numbers with
//! exponents) has no shape. Non-goal: knowing SQL.

use std::borrow::Cow;

use datafusion::common::ScalarValue;

use crate::exact;

/// The longest text that is looked at, in bytes.
const MAX_TEXT_BYTES: usize = 4096;
/// The most literals of a shape.
const MAX_LITERALS: usize = 256;
/// What a statement with a shape begins with.
const FIRST_WORDS: [&str; 4] = ["select", "insert", "update", "delete"];

/// A literal that was taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Literal<'a> {
    /// Digits, perhaps with a point among them.
    Number(&'a str),
    Text(Cow<'a, str>),
}

impl Literal<'_> {
    /// The value that DataFusion's planner makes of it.
    pub(crate) fn to_scalar(&self) -> Option<ScalarValue> {
        match self {
            Self::Text(text) => Some(ScalarValue::Utf8(Some(text.as_ref().to_owned()))),
            Self::Number(digits) => number(digits),
        }
    }
}

/// The value of a number without a sign: as DataFusion's planner reads it, but for one that a DOUBLE may not
/// keep, which is a DECIMAL.
pub(crate) fn number(digits: &str) -> Option<ScalarValue> {
    if let Ok(value) = digits.parse::<i64>() {
        return Some(ScalarValue::Int64(Some(value)));
    }
    if let Ok(value) = digits.parse::<u64>() {
        return Some(ScalarValue::UInt64(Some(value)));
    }
    if let Some(value) = exact::decimal(digits) {
        return Some(value);
    }
    digits
        .parse::<f64>()
        .ok()
        .map(|value| ScalarValue::Float64(Some(value)))
}

/// A text with `$1`, `$2` … in the place of its literals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape<'a> {
    pub(crate) text: String,
    pub(crate) literals: Vec<Literal<'a>>,
}

impl<'a> Shape<'a> {
    /// `None` if the text has none.
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_suffix(';').unwrap_or(text).trim_end();
        let first = text.get(..FIRST_WORDS[0].len())?;
        let known = |word: &str| first.eq_ignore_ascii_case(word);
        if text.len() > MAX_TEXT_BYTES || !FIRST_WORDS.iter().any(|word| known(word)) {
            return None;
        }
        let mut reader = Reader {
            rest: text,
            shape: Shape {
                text: String::with_capacity(text.len() + 8),
                literals: Vec::new(),
            },
        };
        while !reader.rest.is_empty() {
            reader.step()?;
        }
        Some(reader.shape)
    }
}

struct Reader<'a> {
    rest: &'a str,
    shape: Shape<'a>,
}

impl<'a> Reader<'a> {
    /// Reads a word, a literal, or one other character.
    fn step(&mut self) -> Option<()> {
        let next = self.rest.chars().next()?;
        match next {
            'a'..='z' | 'A'..='Z' | '_' => self.word(),
            '0'..='9' => self.number(),
            '\'' => self.string(),
            '"' => self.quoted_name(),
            // Two of these may be one operator, or begin a comment.
            '-' if self.rest.starts_with("--") => None,
            ' ' | '\n' | '\t' | '\r' | ',' | '.' | '(' | ')' | '=' | '*' | '+' | '-' => {
                self.copy(next.len_utf8())
            }
            _ => None,
        }
    }

    /// Moves so many bytes to the shape.
    fn copy(&mut self, bytes: usize) -> Option<()> {
        let (copied, rest) = self.rest.split_at_checked(bytes)?;
        self.shape.text.push_str(copied);
        self.rest = rest;
        Some(())
    }

    /// A string behind it may be of another kind.
    fn word(&mut self) -> Option<()> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        self.copy(end)?;
        match self.rest.chars().next() {
            None => Some(()),
            Some('\'') => None,
            Some(next) if next.is_ascii() => Some(()),
            Some(_) => None,
        }
    }

    fn number(&mut self) -> Option<()> {
        let after_digits = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_digit());
            end.unwrap_or(text.len())
        };
        // `t.5` and `.5` are read as one, or in yet another way.
        if self.shape.text.ends_with('.') {
            return None;
        }
        let mut end = after_digits(self.rest);
        if let Some(fraction) = self.rest.get(end..)?.strip_prefix('.') {
            let digits = after_digits(fraction);
            if digits == 0 {
                return None;
            }
            end += 1 + digits;
        }
        let (digits, rest) = self.rest.split_at_checked(end)?;
        let next = rest.chars().next();
        let ends = next.is_none_or(|c| matches!(c, ' ' | '\n' | '\t' | '\r' | ',' | ')' | '='));
        if !ends {
            return None;
        }
        self.rest = rest;
        self.put(Literal::Number(digits))
    }

    fn string(&mut self) -> Option<()> {
        let (text, rest) = quoted(self.rest, '\'')?;
        // Another tokenizer might take a backslash for an escape, and a second string for more of
        // the first one.
        if text.contains('\\') || rest.trim_start().starts_with('\'') {
            return None;
        }
        self.rest = rest;
        self.put(Literal::Text(text))
    }

    fn quoted_name(&mut self) -> Option<()> {
        let (name, rest) = quoted(self.rest, '"')?;
        if name.contains(['\\', '"']) {
            return None;
        }
        let bytes = self.rest.len() - rest.len();
        self.copy(bytes)
    }

    fn put(&mut self, literal: Literal<'a>) -> Option<()> {
        if self.shape.literals.len() >= MAX_LITERALS {
            return None;
        }
        self.shape.literals.push(literal);
        self.shape.text.push('$');
        self.shape
            .text
            .push_str(&self.shape.literals.len().to_string());
        Some(())
    }
}

/// What stands between two quotes, of which two are one inside, and what follows.
fn quoted(text: &str, quote: char) -> Option<(Cow<'_, str>, &str)> {
    let inner = text.strip_prefix(quote)?;
    let mut end = 0;
    let mut doubled = false;
    loop {
        end += inner.get(end..)?.find(quote)?;
        match inner.get(end + 1..)?.starts_with(quote) {
            true => {
                doubled = true;
                end += 2;
            }
            false => break,
        }
    }
    let (value, rest) = (inner.get(..end)?, inner.get(end + 1..)?);
    let value = match doubled {
        true => {
            let (two, one) = (String::from_iter([quote, quote]), String::from(quote));
            Cow::Owned(value.replace(&two, &one))
        }
        false => Cow::Borrowed(value),
    };
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> (String, Vec<Literal<'_>>) {
        let shape = Shape::of(text).unwrap_or_else(|| panic!("{text} has no shape"));
        (shape.text, shape.literals)
    }

    #[test]
    fn literals_are_taken_out() {
        let (text, literals) = shape(" SELECT a, \"b c\" FROM t WHERE id = 17 AND s='it''s' ; ");
        assert_eq!(text, "SELECT a, \"b c\" FROM t WHERE id = $1 AND s=$2");
        let expected = [Literal::Number("17"), Literal::Text("it's".into())];
        assert_eq!(literals, expected);
        let (text, literals) = shape("insert into t values (-1, 2.50, NULL, '', true)");
        assert_eq!(text, "insert into t values (-$1, $2, NULL, $3, true)");
        assert_eq!(literals.len(), 3);
        assert_eq!(
            shape("DELETE FROM t1 WHERE a2 = 3").0,
            "DELETE FROM t1 WHERE a2 = $1"
        );
    }

    #[test]
    fn letters_beyond_ascii_stay_in_strings() {
        let (_, literals) = shape("SELECT a FROM t WHERE b = 'größe – 名'");
        assert_eq!(literals, [Literal::Text("größe – 名".into())]);
    }

    #[test]
    fn what_may_be_read_in_another_way_has_no_shape() {
        for text in [
            "SELECT a FROM t WHERE b = 'x' -- c",
            "SELECT a FROM t WHERE b = /* c */ 1",
            "SELECT a FROM t WHERE b = 'a\\'",
            "SELECT a FROM t WHERE b = E'a'",
            "SELECT a FROM t WHERE b = X'ab'",
            "SELECT a FROM t WHERE b = 'a' 'b'",
            "SELECT a FROM t WHERE b = 'a",
            "SELECT a FROM t WHERE b = 1e5",
            "SELECT a FROM t WHERE b = 1_000",
            "SELECT a FROM t WHERE b = 0x1F",
            "SELECT a FROM t WHERE b = .5",
            "SELECT a FROM t WHERE b = 1.",
            "SELECT a FROM t WHERE b = 1.5.2",
            "SELECT a FROM t WHERE b = $1",
            "SELECT a FROM t WHERE b = ?",
            "SELECT a FROM t WHERE b = $$x$$",
            "SELECT 1; SELECT 2",
            "SELECT a FROM t WHERE \"b",
            "EXPLAIN SELECT 1",
            "größe",
            "",
        ] {
            assert_eq!(Shape::of(text), None, "{text}");
        }
        assert_eq!(Shape::of(&format!("SELECT {}", "a".repeat(5000))), None);
    }

    #[test]
    fn numbers_are_what_the_planner_makes_of_them() {
        assert_eq!(number("007"), Some(ScalarValue::Int64(Some(7))));
        let large = "9223372036854775808";
        assert_eq!(number(large), Some(ScalarValue::UInt64(Some(1 << 63))));
        assert_eq!(number("1.50"), Some(ScalarValue::Float64(Some(1.5))));
        let huge = number("99999999999999999999");
        let kept = ScalarValue::Decimal128(Some(10_i128.pow(20) - 1), 20, 0);
        assert_eq!(huge, Some(kept));
        let huge = number(&"9".repeat(40));
        assert_eq!(huge, Some(ScalarValue::Float64(Some(1e40))));
    }
}
