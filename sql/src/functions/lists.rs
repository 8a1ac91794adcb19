//! Lists as texts: `'{1,2}'::INT[]`, as PostgreSQL writes them, and `'[1, 2]'`, as they are printed here.
//!
//! Invariant: a text that is no list, or has a value that the list's type does not take, is an error. Memory grows
//! with the text alone, and nesting is as deep as the type is. Non-goal: bounds before the braces, `[0:1]={1,2}`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, AsArray, Int64Array, ListArray, StringArray, StringBuilder,
    new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::kernels::length::length;
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs,
};
use datafusion::optimizer::AnalyzerRule;

use super::intervals::intervals_of;
use super::plain::{Plain, Section, argument, is_text, whole, wrong};
use super::room::Room;
use crate::by_type::rewrite_by_type;

/// Of a text, a NULL of the list's type, and whether what is none is NULL; then, if the list is to be cast to one of
/// a fixed length, the length of each level.
pub(super) const TEXT_TO_LIST: Plain = Plain {
    name: "text_to_list",
    aliases: &[],
    takes: |types| match types {
        [text, list, DataType::Boolean, lengths @ ..] if is_text(text) && is_list(list) => {
            let mut taken = vec![DataType::Utf8, list.clone(), DataType::Boolean];
            taken.extend(lengths.iter().map(|_| DataType::Int64));
            Some(taken)
        }
        _ => None,
    },
    gives: |types| types.get(1).cloned().unwrap_or(DataType::Null),
    compute: read_all,
    section: Section::Other,
    about: None,
};

/// As in DuckDB. What `length` of a list is made.
pub(super) const LEN: Plain = Plain {
    name: "len",
    aliases: &[],
    takes: |types| match types {
        [list] if is_list(list) => Some(vec![list.clone()]),
        [text] if is_text(text) => Some(vec![DataType::Utf8]),
        _ => None,
    },
    gives: |_| DataType::Int64,
    compute: |args| {
        whole(args, |arrays, _| {
            let values = argument(arrays, 0)?;
            let lengths = match values.as_string_opt::<i32>() {
                Some(texts) => {
                    let count =
                        |text: &str| i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
                    let lengths = texts.iter().map(|text| text.map(count));
                    Arc::new(lengths.collect::<Int64Array>()) as ArrayRef
                }
                None => length(values)?,
            };
            Ok(cast(&lengths, &DataType::Int64)?)
        })
    },
    section: Section::Other,
    about: Some((
        "len(list or text)",
        "How many values a list has, or how many characters a text.",
    )),
};

/// What the planner calls `length`.
const LENGTH: &str = "character_length";

/// `length` of a list as [`LEN`]: it would be cast to a text, whose characters are counted.
#[derive(Debug)]
pub(crate) struct ListLengths;

impl AnalyzerRule for ListLengths {
    fn name(&self) -> &str {
        "list_lengths"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_by_type(plan, |expr, schema| Ok(counted(expr, schema)))
    }
}

/// The same for one expression, whose parts are done.
pub(crate) fn counted(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::ScalarFunction(mut call) if call.name() == LENGTH => {
            let is_counted = match call.args.as_slice() {
                [list] => list.get_type(schema).is_ok_and(|kind| is_list(&kind)),
                _ => false,
            };
            if is_counted {
                call.func = Arc::new(LEN.function());
            }
            Transformed::new_transformed(Expr::ScalarFunction(call), is_counted)
        }
        other => Transformed::no(other),
    }
}

/// What an element that is NULL takes, of most types.
const FILLING_BYTES: usize = 8;

pub(super) fn is_list(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
    )
}

fn read_all(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        let texts = argument(arrays, 0)?.as_string::<i32>();
        let target = argument(arrays, 1)?.data_type();
        let lenient = argument(arrays, 2)?.as_boolean();
        let lenient = !lenient.is_empty() && lenient.value(0);
        let lengths = arrays.iter().skip(3).filter(|_| rows > 0);
        let lengths = lengths.map(|length| length.as_primitive::<Int64Type>().value(0));
        let lengths: Vec<i64> = lengths.collect();
        let lists = match lenient {
            true => read_each(texts, target, &lengths)?,
            false => read_sized(texts, target, &lengths)?,
        };
        let mut room = Room::of("a cast to an array");
        take_filling(&lists, &lengths, &mut room)?;
        Ok(lists)
    })
}

/// The lists of texts, with NULL for what is none.
fn read_each(texts: &StringArray, target: &DataType, lengths: &[i64]) -> Result<ArrayRef> {
    let each = (0..texts.len()).map(|row| {
        let read = read_sized(&texts.slice(row, 1), target, lengths);
        read.unwrap_or_else(|_| new_null_array(target, 1))
    });
    let each: Vec<ArrayRef> = each.collect();
    if each.is_empty() {
        return Ok(new_null_array(target, 0));
    }
    let each: Vec<&dyn Array> = each.iter().map(AsRef::as_ref).collect();
    Ok(arrow::compute::concat(&each)?)
}

/// The lists of texts, which have the lengths of their levels.
fn read_sized(texts: &StringArray, target: &DataType, lengths: &[i64]) -> Result<ArrayRef> {
    let lists = read(texts, target)?;
    check_lengths(&lists, lengths)?;
    Ok(lists)
}

/// The cast to lists of a fixed length makes room for them before it looks at those that there are.
fn check_lengths(lists: &ArrayRef, lengths: &[i64]) -> Result<()> {
    let (Some(lists), [wanted, inner @ ..]) = (lists.as_list_opt::<i32>(), lengths) else {
        return Ok(());
    };
    let has = (0..lists.len()).filter(|row| lists.is_valid(*row));
    let mut has = has.map(|row| i64::from(lists.value_length(row)));
    if *wanted >= 0
        && let Some(other) = has.find(|has| has != wanted)
    {
        return wrong(format!(
            "an array has {other} elements where its type has {wanted}"
        ));
    }
    check_lengths(lists.values(), inner)
}

/// Takes the room of the elements that a list of a fixed length has though it is NULL.
fn take_filling(lists: &ArrayRef, lengths: &[i64], room: &mut Room) -> Result<()> {
    let (Some(lists), [wanted, inner @ ..]) = (lists.as_list_opt::<i32>(), lengths) else {
        return Ok(());
    };
    if *wanted >= 0 {
        let fixed = lengths.iter().take_while(|length| **length >= 0);
        let elements = fixed.fold(lists.null_count(), |all, length| {
            all.saturating_mul(usize::try_from(*length).unwrap_or(usize::MAX))
        });
        room.take(elements.saturating_mul(FILLING_BYTES))?;
    }
    take_filling(lists.values(), inner, room)
}

/// The lists of texts. Each level takes the texts of the one around it apart.
fn read(texts: &StringArray, target: &DataType) -> Result<ArrayRef> {
    let Some(item) = item_of(target) else {
        return values(texts, target);
    };
    let mut elements = StringBuilder::new();
    let mut ends = Vec::with_capacity(texts.len());
    for text in texts {
        if let Some(text) = text {
            take_apart(text, is_list(item.data_type()), &mut elements)?;
        }
        ends.push(elements.len());
    }
    let lengths = ends.iter().scan(0, |last, end| {
        let length = end - *last;
        *last = *end;
        Some(length)
    });
    let values = read(&elements.finish(), item.data_type())?;
    let nulls: Option<NullBuffer> = texts.nulls().cloned();
    let lists = ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), values, nulls)?;
    let lists: ArrayRef = Arc::new(lists);
    match lists.data_type() == target {
        true => Ok(lists),
        false => Ok(cast_with_options(&lists, target, &STRICT)?),
    }
}

const STRICT: CastOptions<'static> = CastOptions {
    safe: false,
    format_options: arrow::util::display::FormatOptions::new(),
};

fn item_of(list: &DataType) -> Option<FieldRef> {
    match list {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(Arc::clone(item))
        }
        _ => None,
    }
}

fn values(texts: &StringArray, target: &DataType) -> Result<ArrayRef> {
    let texts: ArrayRef = Arc::new(texts.clone());
    match target {
        DataType::Interval(_) => Ok(cast(&intervals_of(&texts)?, target)?),
        _ => Ok(cast_with_options(&texts, target, &STRICT)?),
    }
}

fn malformed(text: &str, why: &str) -> DataFusionError {
    DataFusionError::Execution(format!(
        "malformed array literal '{text}': {why}; write '{{1,2}}', or [1, 2]"
    ))
}

/// The elements of one list as texts; those of a list of lists with their braces.
fn take_apart(text: &str, nested: bool, elements: &mut StringBuilder) -> Result<()> {
    let trimmed = text.trim();
    let inner = trimmed
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .or_else(|| trimmed.strip_prefix('[')?.strip_suffix(']'));
    let inner = inner.ok_or_else(|| malformed(text, "it begins with { and ends with }"))?;
    if inner.trim().is_empty() {
        return Ok(());
    }
    let mut rest = inner;
    loop {
        rest = match nested {
            true => one_list(rest, elements),
            false => one_value(rest, elements),
        }
        .map_err(|why| malformed(text, why))?
        .trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.is_empty() => return Ok(()),
            None => return Err(malformed(text, "a comma is missing between two elements")),
        }
    }
}

type Rest<'a> = Result<&'a str, &'static str>;

/// Appends what is between two braces, or NULL, and gives what comes behind.
fn one_list<'a>(text: &'a str, elements: &mut StringBuilder) -> Rest<'a> {
    let text = text.trim_start();
    if let Some(rest) = null(text) {
        elements.append_null();
        return Ok(rest);
    }
    if !text.starts_with(['{', '[']) {
        return Err("its elements are lists");
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    let (list, rest) = text.split_at(at + 1);
                    elements.append_value(list);
                    return Ok(rest);
                }
            }
            _ => {}
        }
    }
    Err("a list in it does not end")
}

/// What follows a NULL, if one comes first.
fn null(text: &str) -> Option<&str> {
    let (word, rest) = text.split_at_checked(4)?;
    let ends = rest.trim_start();
    let ends = ends.is_empty() || ends.starts_with(',');
    (ends && word.eq_ignore_ascii_case("null")).then_some(rest)
}

/// Appends a value, or NULL, and gives what comes behind.
fn one_value<'a>(text: &'a str, elements: &mut StringBuilder) -> Rest<'a> {
    let text = text.trim_start();
    if let Some(rest) = null(text) {
        elements.append_null();
        return Ok(rest);
    }
    let mut value = String::new();
    if let Some(quoted) = text.strip_prefix('"') {
        let mut letters = quoted.chars();
        loop {
            match letters.next() {
                Some('"') => break,
                Some('\\') => value.extend(letters.next()),
                Some(letter) => value.push(letter),
                None => return Err("a text in quotes does not end"),
            }
        }
        elements.append_value(value);
        return Ok(letters.as_str());
    }
    let mut letters = text.chars();
    // What is written with a backslash is kept, though it be a space at the end.
    let mut kept = 0;
    loop {
        let before = letters.as_str();
        match letters.next() {
            None | Some(',') => {
                value.truncate(kept.max(value.trim_end().len()));
                if value.is_empty() {
                    return Err("an element is empty: write \"\" for an empty text");
                }
                elements.append_value(value);
                return Ok(before);
            }
            Some('\\') => {
                value.extend(letters.next());
                kept = value.len();
            }
            Some('{' | '}') => return Err("there is a brace in a value: put it in quotes"),
            Some('"') => return Err("there is a quote within a value: put \\ before it"),
            Some(letter) => value.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    fn list_of(item: DataType) -> DataType {
        DataType::List(Arc::new(Field::new("item", item, true)))
    }

    fn shown(text: &str, target: &DataType) -> Result<String, String> {
        let texts = StringArray::from(vec![text]);
        let lists = read(&texts, target).map_err(|error| error.to_string())?;
        let texts = crate::values::texts_of(&lists).map_err(|error| error.to_string())?;
        Ok(texts.value(0).to_owned())
    }

    #[test]
    fn literals_are_those_of_postgresql() {
        let texts = list_of(DataType::Utf8);
        for (text, wanted) in [
            ("{}", "[]"),
            (" { a , b c } ", "[a, b c]"),
            (
                r#"{"a,b","c\"d","",NULL,"NULL",nullify}"#,
                r#"[a,b, c"d, , NULL, NULL, nullify]"#,
            ),
            (r"{a\,b,c\ }", "[a,b, c ]"),
            ("[x, y]", "[x, y]"),
        ] {
            assert_eq!(shown(text, &texts).as_deref(), Ok(wanted), "{text}");
        }
        let numbers = list_of(DataType::Int32);
        assert_eq!(
            shown("{1, -2,null}", &numbers).as_deref(),
            Ok("[1, -2, NULL]")
        );
        let nested = list_of(numbers.clone());
        let found = shown("{{1,2},{},NULL,{3}}", &nested);
        assert_eq!(found.as_deref(), Ok("[[1, 2], [], NULL, [3]]"));
    }

    #[test]
    fn what_is_no_literal_is_refused() {
        let texts = list_of(DataType::Utf8);
        for text in [
            "",
            "a",
            "{",
            "{a",
            "{a,}",
            "{,a}",
            "{a}b",
            "{{a}}",
            r#"{"a}"#,
            r#"{"a"b}"#,
            "[a}",
            r#"{a"b}"#,
        ] {
            assert!(shown(text, &texts).is_err(), "{text}");
        }
        let nested = list_of(list_of(DataType::Int32));
        for text in ["{1}", "{{1}", "{{1},2}", "{{x}}", "{{1}{2}}"] {
            assert!(shown(text, &nested).is_err(), "{text}");
        }
    }
}
