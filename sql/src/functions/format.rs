//! `format(text, …)` and the quotes that it puts around names and values, as PostgreSQL has them.
//!
//! Invariant: how much is made is known before it is made. Non-goals: `VARIADIC`, and the letters of C, such as
//! `%d`, which are refused.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::plain::{Plain, Section, argument, is_text, whole, wrong};
use super::room::{MAX_RESULT_BYTES, Room, too_much};
use crate::sql_type::column_name;
use crate::values::texts_of;

pub(super) const FUNCTIONS: [Plain; 4] = [
    Plain {
        name: "format",
        aliases: &[],
        takes: |types| match types {
            [text, others @ ..] if is_text(text) => {
                let texts = std::iter::once(DataType::Utf8);
                Some(texts.chain(others.iter().cloned()).collect())
            }
            _ => None,
        },
        gives: |_| DataType::Utf8,
        compute: format_all,
        section: Section::Text,
        about: Some((
            "format(text, values…)",
            "The text with a value in the place of each %s, %I (as a name) or %L (as a literal): format('%s: %L', a, \
             b); %2$s is the second value, %-10s is filled up with spaces, %% is the sign itself",
        )),
    },
    quoting(
        "quote_ident",
        |args| quoted(args, "quote_ident", |text| Some(column_name(text?))),
        (
            "quote_ident(text)",
            "A text as a name in a statement, in quotes where it needs them",
        ),
    ),
    quoting(
        "quote_literal",
        |args| quoted(args, "quote_literal", |text| Some(literal(text?))),
        (
            "quote_literal(value)",
            "A value as a literal in a statement",
        ),
    ),
    quoting(
        "quote_nullable",
        |args| quoted(args, "quote_nullable", nullable),
        (
            "quote_nullable(value)",
            "As quote_literal, but NULL for a NULL",
        ),
    ),
];

const fn quoting(
    name: &'static str,
    compute: fn(&ScalarFunctionArgs) -> Result<ColumnarValue>,
    about: (&'static str, &'static str),
) -> Plain {
    Plain {
        name,
        aliases: &[],
        takes: |types| match types {
            [_] => Some(types.to_vec()),
            _ => None,
        },
        gives: |_| DataType::Utf8,
        compute,
        section: Section::Text,
        about: Some(about),
    }
}

fn quoted(
    args: &ScalarFunctionArgs,
    name: &'static str,
    quote: fn(Option<&str>) -> Option<String>,
) -> Result<ColumnarValue> {
    whole(args, |arrays, _| {
        let texts = texts_of(argument(arrays, 0)?)?;
        let (mut made, mut room) = (StringBuilder::new(), Room::of(name));
        for text in &texts {
            let text = quote(text);
            room.take(text.as_ref().map_or(0, String::len))?;
            made.append_option(text);
        }
        Ok(Arc::new(made.finish()))
    })
}

fn nullable(text: Option<&str>) -> Option<String> {
    Some(text.map_or_else(|| "NULL".to_owned(), literal))
}

/// A text between quotes, which are doubled in it, as backslashes are.
fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    match doubled.contains('\\') {
        true => format!("E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}

/// The values of a call.
struct Values<'a> {
    arrays: &'a [ArrayRef],
    texts: Vec<StringArray>,
}

impl Values<'_> {
    /// The text of a value; places count from 1.
    fn text(&self, place: usize, row: usize) -> Result<Option<&str>> {
        match place.checked_sub(1).and_then(|at| self.texts.get(at)) {
            Some(texts) => Ok(texts.is_valid(row).then(|| texts.value(row))),
            None => wrong(format!(
                "format has {} values, and asks for number {place}",
                self.texts.len()
            )),
        }
    }

    /// A value as the width of another.
    fn width(&self, place: usize, row: usize) -> Result<i64> {
        let array = match self.arrays.get(place) {
            Some(array) => array,
            None => return self.text(place, row).map(|_| 0),
        };
        if array.is_null(row) {
            return Ok(0);
        }
        if !array.data_type().is_integer() {
            return wrong("format takes the width for * from an integer");
        }
        let width = cast(&array.slice(row, 1), &DataType::Int64)?;
        Ok(width.as_primitive::<Int64Type>().value(0))
    }
}

fn format_all(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        let formats = argument(arrays, 0)?.as_string::<i32>();
        let texts = arrays.iter().skip(1).map(|array| texts_of(array));
        let values = Values {
            arrays,
            texts: texts.collect::<Result<_, _>>()?,
        };
        let mut made = StringBuilder::new();
        let mut left = MAX_RESULT_BYTES;
        for row in 0..rows {
            if formats.is_null(row) {
                made.append_null();
                continue;
            }
            let text = Formatted::new(left).text(formats.value(row), &values, row)?;
            left = left.saturating_sub(text.len());
            made.append_value(text);
        }
        Ok(Arc::new(made.finish()))
    })
}

/// A text that is made.
struct Formatted {
    made: String,
    /// How long it may become.
    most: usize,
    /// The value that was taken last.
    last: usize,
}

/// How a value is put into the text.
#[derive(Default)]
struct Spec {
    place: Option<usize>,
    left: bool,
    width: Width,
}

#[derive(Default)]
enum Width {
    #[default]
    Own,
    Fixed(i64),
    /// That of a value: the next one, or at a place.
    Of(Option<usize>),
}

impl Formatted {
    fn new(most: usize) -> Self {
        Self {
            made: String::new(),
            most,
            last: 0,
        }
    }

    fn text(mut self, format: &str, values: &Values<'_>, row: usize) -> Result<String> {
        let mut rest = format;
        while let Some((before, behind)) = rest.split_once('%') {
            self.push(before)?;
            if let Some(behind) = behind.strip_prefix('%') {
                self.push("%")?;
                rest = behind;
                continue;
            }
            let (spec, behind) = spec(behind)?;
            let mut letters = behind.chars();
            let width = self.width(&spec, values, row)?;
            let Some(letter) = letters.next() else {
                return wrong("the format ends within a %: write %% for the sign itself");
            };
            let place = spec.place.unwrap_or(self.last + 1);
            self.last = place;
            let value = shown(letter, values.text(place, row)?)?;
            self.fill(&value, width)?;
            rest = letters.as_str();
        }
        self.push(rest)?;
        Ok(self.made)
    }

    fn width(&mut self, spec: &Spec, values: &Values<'_>, row: usize) -> Result<i64> {
        let width = match spec.width {
            Width::Own => 0,
            Width::Fixed(width) => width,
            Width::Of(place) => {
                let place = place.unwrap_or(self.last + 1);
                self.last = place;
                values.width(place, row)?
            }
        };
        Ok(if spec.left {
            -width.saturating_abs()
        } else {
            width
        })
    }

    /// A value with spaces before it, or behind it if its width is negative.
    fn fill(&mut self, value: &str, width: i64) -> Result<()> {
        let wanted = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
        let spaces = wanted.saturating_sub(value.chars().count());
        self.check(spaces.saturating_add(value.len()))?;
        let spaces = " ".repeat(spaces);
        let (before, behind) = match width < 0 {
            true => ("", spaces.as_str()),
            false => (spaces.as_str(), ""),
        };
        self.made.extend([before, value, behind]);
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<()> {
        self.check(text.len())?;
        self.made.push_str(text);
        Ok(())
    }

    fn check(&self, more: usize) -> Result<()> {
        if self.made.len().saturating_add(more) <= self.most {
            return Ok(());
        }
        Err(too_much("format"))
    }
}

/// What stands between `%` and its letter: `2$`, `-`, and a width.
fn spec(text: &str) -> Result<(Spec, &str)> {
    let mut spec = Spec::default();
    let mut rest = text;
    if let Some((place, behind)) = number(rest)? {
        match behind.strip_prefix('$') {
            Some(behind) => (spec.place, rest) = (Some(in_place(place)?), behind),
            None => return Ok((fixed(spec, place), behind)),
        }
    }
    while let Some(behind) = rest.strip_prefix('-') {
        (spec.left, rest) = (true, behind);
    }
    if let Some((width, behind)) = number(rest)? {
        return Ok((fixed(spec, width), behind));
    }
    let Some(behind) = rest.strip_prefix('*') else {
        return Ok((spec, rest));
    };
    let (place, behind) = match number(behind)? {
        None => (None, behind),
        Some((place, behind)) => match behind.strip_prefix('$') {
            Some(behind) => (Some(in_place(place)?), behind),
            None => return wrong("format: the place of a width ends with $, as in %*2$s"),
        },
    };
    spec.width = Width::Of(place);
    Ok((spec, behind))
}

fn fixed(spec: Spec, width: i64) -> Spec {
    Spec {
        width: Width::Fixed(width),
        ..spec
    }
}

fn in_place(place: i64) -> Result<usize> {
    match usize::try_from(place) {
        Ok(place) if place > 0 => Ok(place),
        _ => wrong("format counts its values from 1"),
    }
}

/// The digits that come next.
fn number(text: &str) -> Result<Option<(i64, &str)>> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Ok(None);
    }
    match digits.parse::<i32>() {
        Ok(number) => Ok(Some((number.into(), rest))),
        Err(_) => wrong(format!("format: the number {digits} is out of range")),
    }
}

fn shown(letter: char, value: Option<&str>) -> Result<String> {
    match (letter, value) {
        ('s', value) => Ok(value.unwrap_or_default().to_owned()),
        ('L', None) => Ok("NULL".to_owned()),
        ('L', Some(value)) => Ok(literal(value)),
        ('I', Some(value)) => Ok(column_name(value)),
        ('I', None) => wrong("format: a NULL is no name, which %I wants"),
        (other, _) => wrong(format!(
            "format knows %s, %I and %L, and not '%{other}'; write %% for the sign itself"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(format: &str, values: &[Option<&str>]) -> Result<String> {
        let arrays = values
            .iter()
            .map(|value| Arc::new(StringArray::from(vec![*value])) as _);
        let arrays: Vec<ArrayRef> = std::iter::once(Arc::new(StringArray::from(vec![""])) as _)
            .chain(arrays)
            .collect();
        let texts = arrays.iter().skip(1).map(|array| texts_of(array).unwrap());
        let values = Values {
            arrays: &arrays,
            texts: texts.collect(),
        };
        Formatted::new(1_000).text(format, &values, 0)
    }

    /// The examples of PostgreSQL's documentation.
    #[test]
    fn formats_are_those_of_postgresql() {
        for (format, values, wanted) in [
            ("Hello %s", vec![Some("World")], "Hello World"),
            (
                "Testing %s, %s, %s, %%",
                vec![Some("one"), Some("two"), Some("three")],
                "Testing one, two, three, %",
            ),
            (
                "INSERT INTO %I VALUES(%L)",
                vec![Some("Foo bar"), Some("O'Reilly")],
                "INSERT INTO \"Foo bar\" VALUES('O''Reilly')",
            ),
            (
                "INSERT INTO %I VALUES(%L)",
                vec![Some("locations"), Some("C:\\Program Files")],
                "INSERT INTO locations VALUES(E'C:\\\\Program Files')",
            ),
            ("|%10s|", vec![Some("foo")], "|       foo|"),
            ("|%-10s|", vec![Some("foo")], "|foo       |"),
            (
                "Testing %3$s, %2$s, %1$s",
                vec![Some("one"), Some("two"), Some("three")],
                "Testing three, two, one",
            ),
            (
                "Testing %3$s, %2$s, %s",
                vec![Some("one"), Some("two"), Some("three")],
                "Testing three, two, three",
            ),
            ("%s|%L", vec![None, None], "|NULL"),
            ("%2$-5s|", vec![None, Some("ä")], "ä    |"),
        ] {
            assert_eq!(formatted(format, &values).unwrap(), wanted, "{format}");
        }
    }

    #[test]
    fn what_is_no_format_is_refused() {
        let one = [Some("a")];
        for format in [
            "%",
            "%d",
            "%s %s",
            "%0$s",
            "%I%1",
            "%*s",
            "%99999999999s",
            "%2000s",
            "%*1s",
        ] {
            assert!(formatted(format, &one).is_err(), "{format}");
        }
        assert!(formatted("%I", &[None]).is_err());
    }
}
