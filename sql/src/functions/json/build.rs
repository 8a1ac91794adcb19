//! JSON made of values: `json_build_object`, `json_build_array`, `to_json` and what aggregates are rewritten to.
//!
//! Invariant: what is made is JSON, and is spaced as PostgreSQL's is. Non-goal: aggregates, which are `string_agg`
//! of these (see `syntax`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};
use serde::de::IgnoredAny;

use super::super::plain::{Plain, Section, argument, is_text, whole, wrong};
use super::super::room::Room;
use super::text::{DENSE, Made, SPACED, Style, Written, by_length, quoted};
use crate::values::texts_of;

/// `json`, as PostgreSQL builds it.
const WIDE: Style = Style {
    comma: ", ",
    colon: " : ",
    sorted: false,
};

type Compute = fn(&ScalarFunctionArgs) -> Result<ColumnarValue>;
type Takes = fn(&[DataType]) -> Option<Vec<DataType>>;

const fn making(
    (name, aliases): (&'static str, &'static [&'static str]),
    takes: Takes,
    compute: Compute,
    about: Option<(&'static str, &'static str)>,
) -> Plain {
    Plain {
        name,
        aliases,
        takes,
        gives: |_| DataType::Utf8,
        compute,
        section: Section::Json,
        about,
    }
}

fn pairs(types: &[DataType]) -> Option<Vec<DataType>> {
    types.len().is_multiple_of(2).then(|| types.to_vec())
}

fn any(types: &[DataType]) -> Option<Vec<DataType>> {
    Some(types.to_vec())
}

fn one(types: &[DataType]) -> Option<Vec<DataType>> {
    (types.len() == 1).then(|| types.to_vec())
}

fn text(types: &[DataType]) -> Option<Vec<DataType>> {
    match types {
        [of] if is_text(of) => Some(vec![DataType::Utf8]),
        _ => None,
    }
}

/// How many letters of a text an error shows.
const MAX_SHOWN: usize = 64;
const OBJECT: &str = "Makes an object of keys and values in turn";
const ARRAY: &str = "Makes an array of values";

pub(super) const FUNCTIONS: [Plain; 12] = [
    making(
        ("json_build_object", &[]),
        pairs,
        |args| objects(args, WIDE),
        Some(("json_build_object(key, value, …)", OBJECT)),
    ),
    making(
        ("jsonb_build_object", &[]),
        pairs,
        |args| objects(args, SPACED),
        Some((
            "jsonb_build_object(key, value, …)",
            "As json_build_object, with each key once, the shortest first",
        )),
    ),
    making(
        ("json_object", &[]),
        pairs,
        |args| objects(args, DENSE),
        Some((
            "json_object(key, value, …)",
            "As json_build_object, without spaces, as in SQLite",
        )),
    ),
    making(
        ("json_build_array", &[]),
        any,
        |args| arrays(args, ", ", DENSE),
        Some(("json_build_array(values…)", ARRAY)),
    ),
    making(
        ("jsonb_build_array", &[]),
        any,
        |args| arrays(args, ", ", SPACED),
        Some(("jsonb_build_array(values…)", ARRAY)),
    ),
    making(
        ("json_array", &[]),
        any,
        |args| arrays(args, ",", DENSE),
        Some((
            "json_array(values…)",
            "As json_build_array, without spaces, as in SQLite",
        )),
    ),
    making(
        ("to_json", &["row_to_json", "array_to_json"]),
        one,
        |args| values(args, DENSE),
        Some(("to_json(value)", "A value as JSON")),
    ),
    making(
        ("to_jsonb", &[]),
        one,
        |args| values(args, SPACED),
        Some(("to_jsonb(value)", "A value as JSON, spaced as jsonb is")),
    ),
    // A key and a value of `json_object_agg`.
    making(("json_pair", &[]), pairs, |args| members(args, WIDE), None),
    making(
        ("json_member", &[]),
        pairs,
        |args| members(args, DENSE),
        None,
    ),
    // The pairs of `jsonb_object_agg`, as objects in a list.
    making(("jsonb_of_pairs", &[]), one, merged, None),
    AS_JSON,
];

/// A text that is JSON.
pub(in crate::functions) const AS_JSON: Plain = making(("as_json", &[]), text, same, None);

/// Whether a function puts JSON into other JSON.
pub(in crate::functions) fn takes_json(name: &str) -> bool {
    let ours = FUNCTIONS.iter().map(|plain| plain.name);
    ours.filter(|name| !["as_json", "jsonb_of_pairs"].contains(name))
        .any(|known| known == name)
}

/// A text as it is, once it is known to be JSON: it is put into other JSON without quotes.
fn same(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    whole(args, |arrays, _| {
        let texts = texts_of(argument(arrays, 0)?)?;
        for text in texts.iter().flatten() {
            if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
                let begin: String = text.chars().take(MAX_SHOWN).collect();
                return wrong(format!("'{begin}' is not valid JSON: {error}"));
            }
        }
        Ok(Arc::new(texts))
    })
}

/// The arguments, with how each is written.
fn written(args: &ScalarFunctionArgs, arrays: &[ArrayRef], style: Style) -> Result<Vec<Written>> {
    let columns = arrays.iter().enumerate().map(|(at, column)| {
        let nothing = Field::new("", DataType::Null, true);
        let field = args
            .arg_fields
            .get(at)
            .map_or(&nothing, |field| field.as_ref());
        Written::of(column, field, style)
    });
    columns.collect()
}

fn each(rows: usize, mut push: impl FnMut(usize, &mut Made) -> Result<()>) -> Result<ArrayRef> {
    let (mut texts, mut made) = (StringBuilder::new(), Made::new());
    for row in 0..rows {
        made.text.clear();
        push(row, &mut made)?;
        texts.append_value(&made.text);
    }
    Ok(Arc::new(texts.finish()))
}

fn values(args: &ScalarFunctionArgs, style: Style) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        let column = Arc::clone(argument(arrays, 0)?);
        let written = written(args, arrays, style)?;
        let nulls = column.logical_nulls();
        let (mut texts, mut made) = (StringBuilder::new(), Made::new());
        for row in 0..rows {
            // A NULL stays one, but for those within a value.
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                texts.append_null();
                continue;
            }
            made.text.clear();
            written
                .iter()
                .try_for_each(|of| of.push(row, style, &mut made))?;
            texts.append_value(&made.text);
        }
        Ok(Arc::new(texts.finish()) as ArrayRef)
    })
}

fn arrays(args: &ScalarFunctionArgs, comma: &str, style: Style) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        let written = written(args, arrays, style)?;
        each(rows, |row, text| {
            text.push("[")?;
            for (nth, value) in written.iter().enumerate() {
                text.push(if nth == 0 { "" } else { comma })?;
                value.push(row, style, text)?;
            }
            text.push("]")
        })
    })
}

/// The keys and the values of a call.
struct Members {
    keys: Vec<StringArray>,
    values: Vec<Written>,
    /// How the values are written within themselves.
    within: Style,
}

impl Members {
    fn of(args: &ScalarFunctionArgs, arrays: &[ArrayRef], style: Style) -> Result<Self> {
        let within = if style.sorted { SPACED } else { DENSE };
        let keys = arrays.iter().step_by(2).map(|keys| texts_of(keys));
        let keys = keys.collect::<Result<_, _>>()?;
        let written = written(args, arrays, within)?;
        let values = written.into_iter().skip(1).step_by(2).collect();
        Ok(Self {
            keys,
            values,
            within,
        })
    }

    /// The members of a row, each as its key and its value. They take the room of what is made.
    fn row(&self, row: usize, made: &mut Made) -> Result<Vec<(String, String)>> {
        let pairs = self.keys.iter().zip(&self.values).enumerate();
        let pairs = pairs.map(|(nth, (keys, values))| {
            if keys.is_null(row) {
                return wrong(format!("the key of an object is NULL (number {})", nth + 1));
            }
            let begin = made.text.len();
            values.push(row, self.within, made)?;
            let value = made.text.split_off(begin);
            let key = quoted(keys.value(row))?;
            made.room.take(key.len() + AROUND_MEMBER)?;
            Ok((key, value))
        });
        pairs.collect()
    }
}

/// At most what stands between two members, and within one.
const AROUND_MEMBER: usize = 5;

/// Pairs with the last value of each key, the shortest keys first.
fn once(mut pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    // The last of equal keys comes first, and stays.
    pairs.reverse();
    pairs.sort_by(|(one, _), (other, _)| by_length(one, other));
    pairs.dedup_by(|(later, _), (kept, _)| later == kept);
    pairs
}

fn push_members(pairs: &[(String, String)], style: Style, text: &mut String) {
    for (nth, (key, value)) in pairs.iter().enumerate() {
        text.extend([
            if nth == 0 { "" } else { style.comma },
            key,
            style.colon,
            value,
        ]);
    }
}

fn objects(args: &ScalarFunctionArgs, style: Style) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        let members = Members::of(args, arrays, style)?;
        each(rows, |row, text| {
            let pairs = members.row(row, text)?;
            let pairs = if style.sorted { once(pairs) } else { pairs };
            text.push("{")?;
            push_members(&pairs, style, &mut text.text);
            text.push("}")
        })
    })
}

fn members(args: &ScalarFunctionArgs, style: Style) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        let members = Members::of(args, arrays, style)?;
        each(rows, |row, text| {
            let pairs = members.row(row, text)?;
            push_members(&pairs, style, &mut text.text);
            Ok(())
        })
    })
}

/// Lists of structs of a key and a JSON text, as objects.
fn merged(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        let Some(lists) = argument(arrays, 0)?.as_list_opt::<i32>() else {
            return wrong("jsonb_of_pairs takes a list");
        };
        let (mut made, mut room) = (StringBuilder::new(), Room::of("JSON of values"));
        for row in 0..rows {
            if lists.is_null(row) {
                made.append_null();
                continue;
            }
            let pairs = once(pairs_of(&lists.value(row))?);
            let lengths = pairs.iter().map(|(key, value)| key.len() + value.len());
            room.take(2 + lengths.map(|length| length + AROUND_MEMBER).sum::<usize>())?;
            let mut text = String::from("{");
            push_members(&pairs, SPACED, &mut text);
            text.push('}');
            made.append_value(text);
        }
        Ok(Arc::new(made.finish()) as ArrayRef)
    })
}

fn pairs_of(list: &ArrayRef) -> Result<Vec<(String, String)>> {
    let Some([keys, values]) = list.as_struct_opt().map(|list| list.columns()) else {
        return wrong("jsonb_of_pairs takes a list of pairs");
    };
    let (keys, values) = (texts_of(keys)?, texts_of(values)?);
    let pairs = keys.iter().zip(&values).map(|(key, value)| match key {
        Some(key) => Ok((quoted(key)?, value.unwrap_or("null").to_owned())),
        None => wrong("the key of an object is NULL"),
    });
    pairs.collect()
}
