//! Values as JSON, as PostgreSQL's `to_json` and `to_jsonb` write them.
//!
//! Invariant: what is made is JSON: numbers that are none there are texts, and so are times, in the form of ISO
//! 8601. What is JSON already, by its field, is put in as it is. Non-goal: the rows of files (see `copy`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use datafusion::error::{DataFusionError, Result};

use super::super::room::Room;
use crate::values::texts_of;

/// How JSON is spaced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) comma: &'static str,
    pub(super) colon: &'static str,
    /// Whether the keys of an object are there once, the shortest first.
    pub(super) sorted: bool,
}

/// As `json` is made of values by PostgreSQL, and by SQLite.
pub(super) const DENSE: Style = Style {
    comma: ",",
    colon: ":",
    sorted: false,
};
/// `jsonb`.
pub(super) const SPACED: Style = Style {
    comma: ", ",
    colon: ": ",
    sorted: true,
};

/// Whether the values of a field are JSON.
pub(super) fn is_json(field: &Field) -> bool {
    field.metadata().contains_key("is_json")
}

/// A text that is made.
pub(super) struct Made {
    pub(super) text: String,
    pub(super) room: Room,
}

impl Made {
    pub(super) fn new() -> Self {
        Self {
            text: String::new(),
            room: Room::of("JSON of values"),
        }
    }

    pub(super) fn push(&mut self, text: &str) -> Result<()> {
        self.room.take(text.len())?;
        self.text.push_str(text);
        Ok(())
    }
}

/// A column that writes its values.
pub(super) enum Written {
    /// Texts that are JSON or become so in quotes.
    Leaf(StringArray, bool),
    List(ListArray, Box<Written>),
    Object(StructArray, Vec<(String, Written)>),
    /// The entries of each row.
    Map(ListArray, StringArray, Box<Written>),
}

impl Written {
    pub(super) fn of(column: &ArrayRef, field: &Field, style: Style) -> Result<Self> {
        Ok(match column.data_type() {
            DataType::List(item) => {
                let list = column.as_list::<i32>();
                let inner = Self::of(&seen(list), item, style)?;
                Self::List(list.clone(), Box::new(inner))
            }
            DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                let list = cast(column, &DataType::List(item.clone()))?;
                return Self::of(&list, field, style);
            }
            DataType::Struct(fields) => {
                let columns = column.as_struct();
                let parts = fields.iter().zip(columns.columns()).map(|(field, column)| {
                    Ok((quoted(field.name())?, Self::of(column, field, style)?))
                });
                let mut parts: Vec<(String, Self)> = parts.collect::<Result<_>>()?;
                if style.sorted {
                    parts.sort_by(|(one, _), (other, _)| by_length(one, other));
                }
                Self::Object(columns.clone(), parts)
            }
            DataType::Map(entries, _) => {
                let map = column.as_map();
                let pairs: ArrayRef = Arc::new(map.entries().clone());
                let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
                let list = ListArray::try_new(entries.clone(), offsets, pairs, nulls)?;
                let pairs = seen(&list);
                let pairs = pairs.as_struct();
                let [keys, values] = pairs.columns() else {
                    return Err(DataFusionError::Execution("a map has no values".to_owned()));
                };
                let keys = texts_of(keys)?;
                let value = pairs.fields().get(1).map_or(field, |field| field.as_ref());
                let values = Self::of(values, value, style)?;
                Self::Map(list, keys, Box::new(values))
            }
            kind => {
                let texts = texts_of(column)?;
                let bare = kind.is_numeric() || *kind == DataType::Boolean || is_json(field);
                match kind {
                    DataType::Timestamp(..) => Self::Leaf(iso(&texts), false),
                    _ => Self::Leaf(texts, bare),
                }
            }
        })
    }

    /// Appends the value of a row.
    pub(super) fn push(&self, row: usize, style: Style, to: &mut Made) -> Result<()> {
        match self {
            Self::Leaf(texts, _) if texts.is_null(row) => to.push("null")?,
            Self::Leaf(texts, true) => match texts.value(row) {
                // There are no such numbers in JSON.
                text @ ("NaN" | "Infinity" | "-Infinity") => to.push(&quoted(text)?)?,
                text => to.push(text)?,
            },
            Self::Leaf(texts, false) => to.push(&quoted(texts.value(row))?)?,
            Self::List(list, _) if list.is_null(row) => to.push("null")?,
            Self::List(list, inner) => {
                to.push("[")?;
                for (nth, at) in range(list, row).enumerate() {
                    to.push(if nth == 0 { "" } else { style.comma })?;
                    inner.push(at, style, to)?;
                }
                to.push("]")?;
            }
            Self::Object(rows, _) if rows.is_null(row) => to.push("null")?,
            Self::Object(_, parts) => {
                to.push("{")?;
                for (nth, (name, part)) in parts.iter().enumerate() {
                    to.push(if nth == 0 { "" } else { style.comma })?;
                    to.push(name)?;
                    to.push(style.colon)?;
                    part.push(row, style, to)?;
                }
                to.push("}")?;
            }
            Self::Map(list, ..) if list.is_null(row) => to.push("null")?,
            Self::Map(list, keys, values) => {
                to.push("{")?;
                for (nth, at) in range(list, row).enumerate() {
                    let key = quoted(keys.value(at))?;
                    to.push(if nth == 0 { "" } else { style.comma })?;
                    to.push(&key)?;
                    to.push(style.colon)?;
                    values.push(at, style, to)?;
                }
                to.push("}")?;
            }
        }
        Ok(())
    }
}

/// Keys as `jsonb` orders them.
pub(super) fn by_length(one: &str, other: &str) -> std::cmp::Ordering {
    (one.len(), one).cmp(&(other.len(), other))
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> Result<String> {
    serde_json::to_string(text).map_err(|error| DataFusionError::Execution(error.to_string()))
}

/// The elements of the rows that there are. A slice of a list has those of all of it, and rendering them for each
/// slice would take the square of the time.
fn seen(list: &ListArray) -> ArrayRef {
    let at = |offset: Option<&i32>| offset.map_or(0, |at| usize::try_from(*at).unwrap_or_default());
    let offsets = list.value_offsets();
    let (first, last) = (at(offsets.first()), at(offsets.last()));
    list.values().slice(first, last.saturating_sub(first))
}

/// The places of a row's elements among those that are seen.
fn range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    let first = offsets.first().copied().unwrap_or_default();
    let at = |place: usize| {
        let offset = offsets.get(place).copied().unwrap_or_default();
        usize::try_from(offset - first).unwrap_or_default()
    };
    at(row)..at(row + 1)
}

/// `2026-01-02 03:04:05+00` as `2026-01-02T03:04:05+00:00`.
fn iso(texts: &StringArray) -> StringArray {
    let one = |text: &str| {
        let text = text.replacen(' ', "T", 1);
        match text.strip_suffix("+00") {
            Some(before) => format!("{before}+00:00"),
            None => text,
        }
    };
    texts.iter().map(|text| text.map(one)).collect()
}
