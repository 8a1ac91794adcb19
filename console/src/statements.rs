//! Cuts a text into statements.
//!
//! Purpose: the console runs a script statement by statement, so that the answers before an error
//! are seen, and it knows when an interactive statement is complete.
//! Invariant: a `;` inside quotes, dollar quotes or comments never ends a statement.
//! Not here: what the statements mean; the engine parses them.

/// The complete statements of a text, each without its `;`, and what follows the last `;`.
pub(crate) fn split(text: &str) -> (Vec<&str>, &str) {
    let mut statements = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(next) = skip_token(text, at) {
        if text[at..next] == *";" {
            statements.push(&text[start..at]);
            start = next;
        }
        at = next;
    }
    statements.retain(|statement| !is_blank(statement));
    (statements, &text[start..])
}

/// Whether there is nothing to run: white space and comments.
pub(crate) fn is_blank(text: &str) -> bool {
    let mut at = 0;
    while let Some(next) = skip_token(text, at) {
        let token = &text[at..next];
        let comment = token.starts_with("--") || token.starts_with("/*");
        if !comment && !token.trim().is_empty() {
            return false;
        }
        at = next;
    }
    true
}

/// The end of the token that begins at `at`: a quoted text, a comment, or one character.
fn skip_token(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let first = rest.chars().next()?;
    let length = match first {
        '\'' | '"' => quoted(rest, first),
        '-' if rest.starts_with("--") => rest.find('\n').map_or(rest.len(), |end| end + 1),
        '/' if rest.starts_with("/*") => block_comment(rest),
        '$' => dollar_quoted(rest).unwrap_or(1),
        other => other.len_utf8(),
    };
    Some(at + length)
}

/// A quote ends at the next quote of its kind; a doubled one begins another, which amounts to the
/// same.
fn quoted(rest: &str, quote: char) -> usize {
    rest[1..].find(quote).map_or(rest.len(), |end| end + 2)
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let here = &rest[at..];
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// `$tag$ … $tag$`; `None` when this `$` begins no tag.
fn dollar_quoted(rest: &str) -> Option<usize> {
    let tag_end = rest[1..].find('$')? + 2;
    let tag = &rest[..tag_end];
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    if !tag[1..tag_end - 1].chars().all(is_name) {
        return None;
    }
    Some(
        rest[tag_end..]
            .find(tag)
            .map_or(rest.len(), |end| tag_end + end + tag_end),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_of_quotes() {
        let text = "SELECT ';', \"a;b\" -- c;\n; /* d; /* e; */ */ ;SELECT $x$;$x$, 'it''s;'; SELE";
        let (statements, rest) = split(text);
        assert_eq!(
            statements,
            ["SELECT ';', \"a;b\" -- c;\n", "SELECT $x$;$x$, 'it''s;'"]
        );
        assert_eq!(rest, " SELE");
    }

    #[test]
    fn open_quotes_and_comments_wait_for_their_end() {
        for open in ["SELECT 'a;", "SELECT /* ;", "SELECT $$;", "SELECT \"ü;"] {
            assert_eq!(split(open), (vec![], open));
        }
        assert_eq!(split("SELECT $1;").0, ["SELECT $1"]);
        assert_eq!(split("SELECT 'ü€';").0, ["SELECT 'ü€'"]);
    }

    #[test]
    fn comments_are_blank() {
        assert!(is_blank(" -- nothing\n /* at all */ "));
        assert!(!is_blank("-- something\n SELECT"));
    }
}
