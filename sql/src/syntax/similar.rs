//! Patterns of `SIMILAR TO` as regular expressions.
//!
//! Invariant: as in the SQL standard, a pattern is about the whole text; `%` is any text, `_` any
//! character, and `| * + ? { } ( ) [ ]` are those of regular expressions. Everything else, `.` and `^`
//! and `$` among it, stands for itself.

use netabase_store::Error;

use crate::error::invalid;

/// The regular expression for a pattern.
pub(super) fn regex(pattern: &str, escape: Option<char>) -> Result<String, Error> {
    let mut regex = String::from("(?s)^(?:");
    let mut in_brackets = false;
    let mut chars = pattern.chars();
    while let Some(next) = chars.next() {
        if Some(next) == escape {
            let escaped = chars.next();
            literal(
                &mut regex,
                escaped.ok_or_else(|| wrong("its pattern ends with its ESCAPE"))?,
            );
            continue;
        }
        match next {
            '[' if !in_brackets => {
                in_brackets = true;
                regex.push('[');
            }
            ']' if in_brackets => {
                in_brackets = false;
                regex.push(']');
            }
            '^' | '-' if in_brackets => regex.push(next),
            '%' if !in_brackets => regex.push_str(".*"),
            '_' if !in_brackets => regex.push('.'),
            '|' | '*' | '+' | '?' | '{' | '}' | '(' | ')' if !in_brackets => regex.push(next),
            other => literal(&mut regex, other),
        }
    }
    regex.push_str(")$");
    Ok(regex)
}

/// A character that stands for itself, in brackets or not.
fn literal(regex: &mut String, character: char) {
    if character.is_ascii_punctuation() {
        regex.push('\\');
    }
    regex.push(character);
}

pub(super) fn wrong(why: &str) -> Error {
    invalid(format!(
        "SIMILAR TO: {why}; write a text, or use ~ with a regular expression"
    ))
}

#[cfg(test)]
mod tests {
    use super::regex;

    #[test]
    fn what_is_special_in_a_pattern_and_what_is_not() {
        let of = |pattern| regex(pattern, Some('\\')).unwrap();
        assert_eq!(of("(a|b)%"), "(?s)^(?:(a|b).*)$");
        assert_eq!(of("a.b_"), "(?s)^(?:a\\.b.)$");
        assert_eq!(of("[^a-c%]+"), "(?s)^(?:[^a-c\\%]+)$");
        assert_eq!(of("100\\%"), "(?s)^(?:100\\%)$");
        assert!(regex("a\\", Some('\\')).is_err());
        assert_eq!(regex("a#%", Some('#')).unwrap(), "(?s)^(?:a\\%)$");
    }
}
