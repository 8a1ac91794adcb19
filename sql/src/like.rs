//! Which range of texts `LIKE` can match.
//!
//! Idea: texts that begin alike lie next to each other in the order of their characters, which is
//! that of their bytes.
//!
//! Invariant: every text that matches lies in the range. Non-goal: patterns that ignore case.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::LikeExpr;

use crate::access::column_and_value;

/// The texts that can match a pattern.
pub(crate) struct LikePrefix {
    pub(crate) column: usize,
    /// The least of them.
    pub(crate) lower: ScalarValue,
    /// One that is greater than all of them, if there is one.
    pub(crate) upper: Option<ScalarValue>,
    /// Whether all texts in between do match.
    pub(crate) exact: bool,
}

/// What texts match `column LIKE 'text%'`.
pub(crate) fn like_prefix(operand: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<LikePrefix> {
    let like = operand.downcast_ref::<LikeExpr>()?;
    if like.negated() || like.case_insensitive() {
        return None;
    }
    let (column, pattern) = column_and_value(like.expr(), like.pattern(), schema)?;
    let pattern = pattern.try_as_str()??;
    let (prefix, rest) = text_before_wildcards(pattern);
    if prefix.is_empty() {
        return None;
    }
    let data_type = schema.fields().get(column)?.data_type();
    let text = |text: &str| ScalarValue::from(text).cast_to(data_type).ok();
    let upper = match next_text(&prefix) {
        Some(next) => Some(text(&next)?),
        None => None,
    };
    Some(LikePrefix {
        column,
        lower: text(&prefix)?,
        upper,
        exact: rest == "%",
    })
}

/// What every text begins with that matches a pattern, in which `\` makes the next character plain;
/// and the pattern from its first wildcard on.
fn text_before_wildcards(pattern: &str) -> (String, &str) {
    let mut prefix = String::new();
    let mut chars = pattern.chars();
    loop {
        let rest = chars.as_str();
        match chars.next() {
            None | Some('%' | '_') => return (prefix, rest),
            // A last `\` is matched by itself.
            Some('\\') => prefix.push(chars.next().unwrap_or('\\')),
            Some(other) => prefix.push(other),
        }
    }
}

/// The least text that is greater than all that begin with `prefix`.
fn next_text(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // Between these two there are no characters.
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            other => char::from_u32(other as u32 + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_cut_before_its_first_wildcard() {
        for (pattern, prefix, rest) in [
            ("abc%", "abc", "%"),
            ("a_c%", "a", "_c%"),
            ("abc", "abc", ""),
            ("a\\%b%", "a%b", "%"),
            ("a\\", "a\\", ""),
            ("%", "", "%"),
            ("", "", ""),
        ] {
            assert_eq!(text_before_wildcards(pattern), (prefix.to_owned(), rest));
        }
    }
}
