//! `glob(pattern, text)`, which is `text GLOB pattern`, and every place of a regular expression in a text.
//!
//! Invariant: a search takes time linear in the text, and an expression memory that is bounded. Non-goal: what
//! DataFusion has of regular expressions.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, ListBuilder, StringBuilder,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};
use regex::{Regex, RegexBuilder};

use super::plain::{Plain, Section, argument, is_text, whole, wrong};
use super::room::MAX_RESULT_BYTES;
use crate::error::{capacity, error_to_datafusion};

/// What an element of a list takes besides its bytes, roughly.
const ELEMENT_BYTES: usize = 16;

pub(super) const FUNCTIONS: [Plain; 3] = [
    Plain {
        name: "glob",
        aliases: &[],
        takes: |types| match types {
            [pattern, _] if is_text(pattern) => Some(vec![DataType::Utf8, DataType::Utf8]),
            _ => None,
        },
        gives: |_| DataType::Boolean,
        compute: glob_all,
        section: Section::Text,
        about: Some((
            "glob(pattern, text)",
            "Whether a text is as a pattern says, which is also written text GLOB pattern: * is any text, ? any \
             letter, [a-z] and [^a-z] one of some or of all others",
        )),
    },
    Plain {
        name: "regexp_all_matches",
        aliases: &[],
        takes: takes_texts,
        gives: |_| list_of(groups_type()),
        compute: match_all,
        section: Section::Text,
        about: Some((
            "regexp_all_matches(text, pattern, flags)",
            "What a regular expression and its groups find in a text, as a list for each place; with the flag g \
             everywhere, otherwise at the first place. regexp_matches gives them as rows",
        )),
    },
    // DataFusion's leaves out the groups that find nothing.
    Plain {
        name: "regexp_match",
        aliases: &[],
        takes: takes_texts,
        gives: |_| groups_type(),
        compute: match_first,
        section: Section::Text,
        about: Some((
            "regexp_match(text, pattern, flags)",
            "What the groups of a regular expression find at the first place in a text, NULL for one that finds \
             nothing; of an expression without groups, all that it finds",
        )),
    },
];

/// A text, an expression, and perhaps flags.
fn takes_texts(types: &[DataType]) -> Option<Vec<DataType>> {
    let is_meant = matches!(types.len(), 2 | 3) && types.iter().all(is_text);
    is_meant.then(|| vec![DataType::Utf8; types.len()])
}

fn groups_type() -> DataType {
    list_of(DataType::Utf8)
}

fn list_of(inner: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", inner, true)))
}

/// The expression that was used last.
#[derive(Default)]
struct Last(Option<(String, Option<Regex>)>);

impl Last {
    fn get(
        &mut self,
        pattern: &str,
        make: impl FnOnce(&str) -> Result<Option<Regex>>,
    ) -> Result<Option<&Regex>> {
        if self.0.as_ref().is_none_or(|(known, _)| known != pattern) {
            self.0 = Some((pattern.to_owned(), make(pattern)?));
        }
        Ok(self.0.as_ref().and_then(|(_, regex)| regex.as_ref()))
    }
}

/// An expression whose point is any letter, a newline too, unless its flags say otherwise.
fn compiled(regex: &str) -> Result<Regex> {
    match RegexBuilder::new(regex).dot_matches_new_line(true).build() {
        Ok(regex) => Ok(regex),
        Err(regex::Error::CompiledTooBig(_)) => wrong("the pattern is too large"),
        Err(error) => wrong(error),
    }
}

fn glob_all(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        let patterns = argument(arrays, 0)?.as_string::<i32>();
        let texts = argument(arrays, 1)?.as_string::<i32>();
        let mut last = Last::default();
        let found = (0..rows).map(|row| {
            if patterns.is_null(row) || texts.is_null(row) {
                return Ok(None);
            }
            let regex = last.get(patterns.value(row), |pattern| {
                regex_of(pattern).map(|regex| compiled(&regex)).transpose()
            })?;
            Ok(Some(
                regex.is_some_and(|regex| regex.is_match(texts.value(row))),
            ))
        });
        let found: BooleanArray = found.collect::<Result<_>>()?;
        Ok(Arc::new(found))
    })
}

/// A pattern of GLOB as a regular expression. `None` for one that nothing matches: as in SQLite, brackets that do
/// not end.
fn regex_of(pattern: &str) -> Option<String> {
    let mut regex = String::from("^");
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '*' => {
                // Several are as good as one, and slower.
                while letters.next_if_eq(&'*').is_some() {}
                regex.push_str(".*");
            }
            '?' => regex.push('.'),
            '[' => push_set(&mut regex, &mut letters)?,
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push('$');
    Some(regex)
}

fn push_set(
    regex: &mut String,
    letters: &mut std::iter::Peekable<std::str::Chars<'_>>,
) -> Option<()> {
    let negated = letters.next_if_eq(&'^').is_some();
    let mut set: Vec<(char, char)> = Vec::new();
    // The first letter may be a bracket, with which no range begins.
    if letters.next_if_eq(&']').is_some() {
        set.push((']', ']'));
    }
    let mut begun: Option<char> = None;
    loop {
        let next = letters.next()?;
        if next == ']' {
            break;
        }
        let ended = begun.filter(|_| next == '-').and_then(|first| {
            let last = letters.next_if(|letter| *letter != ']')?;
            Some((first, last))
        });
        set.push(ended.unwrap_or((next, next)));
        begun = ended.is_none().then_some(next);
    }
    regex.push_str(if negated { "[^" } else { "[" });
    // A range that ends before it begins has no letter but its first, which has been put in by itself.
    let full = set.iter().filter(|(first, last)| first <= last);
    regex.extend(full.map(|(first, last)| {
        let (first, last) = (*first as u32, *last as u32);
        format!("\\u{{{first:X}}}-\\u{{{last:X}}}")
    }));
    regex.push(']');
    Some(())
}

fn match_all(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| Ok(Arc::new(matches(arrays, rows)?)))
}

fn match_first(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        if let Some(flags) = arrays.get(2) {
            let flags = flags.as_string::<i32>();
            if flags.iter().flatten().any(|flags| flags.contains('g')) {
                return wrong(
                    "regexp_match finds one place: leave the flag g out, or ask regexp_matches",
                );
            }
        }
        let found = matches(arrays, rows)?;
        let places = found.offsets().iter().zip(found.offsets().lengths());
        let first = places.map(|(place, length)| (length > 0).then_some(*place));
        let first: Int32Array = first.collect();
        Ok(take(found.values(), &first, None)?)
    })
}

/// What is found at each place, a list for each text.
fn matches(arrays: &[ArrayRef], rows: usize) -> Result<ListArray> {
    let texts = argument(arrays, 0)?.as_string::<i32>();
    let patterns = argument(arrays, 1)?.as_string::<i32>();
    let flags = arrays.get(2).map(|flags| flags.as_string::<i32>());
    let mut lists = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
    let (mut last, mut bytes) = (Last::default(), 0);
    for row in 0..rows {
        let no_flags = flags.is_some_and(|flags| flags.is_null(row));
        if texts.is_null(row) || patterns.is_null(row) || no_flags {
            lists.append_null();
            continue;
        }
        let flags = flags.map_or("", |flags| flags.value(row));
        let whole = with_flags(patterns.value(row), flags)?;
        let Some(regex) = last.get(&whole, |whole| compiled(whole).map(Some))? else {
            continue;
        };
        let most = if flags.contains('g') { usize::MAX } else { 1 };
        push_matches(&mut lists, (regex, most), texts.value(row), &mut bytes)?;
    }
    Ok(lists.finish())
}

/// PostgreSQL's flags that Rust's expressions have, too. With those for lines, the point is no newline.
fn with_flags(pattern: &str, flags: &str) -> Result<String> {
    let mut ours = String::new();
    for flag in flags.chars() {
        match flag {
            'g' | 'c' => {}
            'i' | 's' | 'x' => ours.push(flag),
            'm' | 'n' => ours.push('m'),
            other => {
                return wrong(format!(
                    "'{other}' is no flag of a regular expression here; there are g, i, c, s, m, n and x"
                ));
            }
        }
    }
    if flags.contains(['m', 'n']) && !flags.contains('s') {
        ours.push_str("-s");
    }
    Ok(match ours.is_empty() {
        true => pattern.to_owned(),
        false => format!("(?{ours}){pattern}"),
    })
}

fn push_matches(
    lists: &mut ListBuilder<ListBuilder<StringBuilder>>,
    (regex, most): (&Regex, usize),
    text: &str,
    bytes: &mut usize,
) -> Result<()> {
    for found in regex.captures_iter(text).take(most) {
        // Of an expression without groups, all that it finds is its only one.
        let first = usize::from(found.len() > 1);
        for group in found.iter().skip(first) {
            let group = group.map(|group| group.as_str());
            *bytes += ELEMENT_BYTES + group.map_or(0, str::len);
            lists.values().values().append_option(group);
        }
        lists.values().append(true);
        if *bytes > MAX_RESULT_BYTES {
            return Err(error_to_datafusion(capacity(format!(
                "the places of a regular expression would take more than {MAX_RESULT_BYTES} bytes at once: ask for \
                 fewer rows"
            ))));
        }
    }
    lists.append(true);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_sqlite() {
        let matches = |text: &str, pattern: &str| {
            let regex = regex_of(pattern);
            regex.is_some_and(|regex| compiled(&regex).unwrap().is_match(text))
        };
        for (text, pattern) in [
            ("abcx", "a*[b-d]?"),
            ("", "*"),
            ("a.b", "a.b"),
            ("a\nb", "a*b"),
            ("ü", "?"),
            ("]", "[]]"),
            ("-", "[a-]"),
            ("x", "[^a-c]"),
            ("^", "[a^]"),
            ("*", "[*]"),
            ("\\", "\\"),
            ("&", "[&&]"),
            ("c", "[c-a]"),
            ("-", "[]-a]"),
            ("a", "[]-a]"),
            ("-", "[a-c-e]"),
            ("b", "[^c-a]"),
        ] {
            assert!(matches(text, pattern), "{text} {pattern}");
        }
        for (text, pattern) in [
            ("ABC", "abc"),
            ("axb", "a.b"),
            ("abc", "ab"),
            ("a", "[a"),
            ("a", "["),
            ("b", "[c-a]"),
            ("a", "[^a-c]"),
            ("^", "[]-a]"),
            ("d", "[a-c-e]"),
            ("a", "[]"),
            ("", "?"),
        ] {
            assert!(!matches(text, pattern), "{text} {pattern}");
        }
    }
}
