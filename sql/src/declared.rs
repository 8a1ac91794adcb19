//! Types that Arrow does not tell from text: `UUID`, `JSON` and `VARCHAR(n)`.
//!
//! Idea: such a column is text, and its field's metadata say what kind of text. What is written passes
//! [`checked`], which refuses values of another kind, and brings UUIDs into the one form that compares
//! as text does.
//!
//! Invariants: nothing that a statement or a COPY writes gets past the check. Queries never see the
//! metadata: two texts are of one type in a plan, whatever was declared.
//! Non-goal: types within lists, structs and maps; those are refused where they are declared.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray, StringViewBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use netabase_store::{Error, TableDef};
use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::error::{from_arrow, invalid};

/// The metadata that holds a column's kind.
const KIND: &str = "netabase.kind";
/// How much of a wrong value an error shows.
const SHOWN_CHARS: usize = 40;

/// What a column of text may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Uuid,
    Json,
    /// At most so many characters.
    AtMost(u64),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid => f.write_str("UUID"),
            Self::Json => f.write_str("JSON"),
            Self::AtMost(chars) => write!(f, "VARCHAR({chars})"),
        }
    }
}

impl Kind {
    /// What a field says; `None` if it is any text, or a kind that a later release made.
    fn of(field: &Field) -> Option<Self> {
        let text = field.metadata().get(KIND)?;
        match text.as_str() {
            "UUID" => Some(Self::Uuid),
            "JSON" => Some(Self::Json),
            other => {
                let chars = other.strip_prefix("VARCHAR(")?.strip_suffix(')')?;
                chars.parse().ok().map(Self::AtMost)
            }
        }
    }

    /// A field of this kind.
    pub(crate) fn field(self) -> FieldRef {
        let metadata = HashMap::from([(KIND.to_owned(), self.to_string())]);
        Arc::new(Field::new("", DataType::Utf8View, true).with_metadata(metadata))
    }

    /// The value as it is kept, or why it is not one.
    fn keep(self, text: &str) -> Result<Kept, String> {
        match self {
            Self::Uuid => match Uuid::try_parse(text) {
                Ok(uuid) => {
                    let form = uuid.hyphenated().to_string();
                    Ok(if form == text {
                        Kept::AsIs
                    } else {
                        Kept::As(form)
                    })
                }
                Err(error) => Err(error.to_string()),
            },
            Self::Json => match serde_json::from_str::<IgnoredAny>(text) {
                Ok(_) => Ok(Kept::AsIs),
                Err(error) => Err(error.to_string()),
            },
            Self::AtMost(most) => {
                // No text has more characters than bytes.
                if text.len() as u64 <= most {
                    return Ok(Kept::AsIs);
                }
                let chars = text.chars().count() as u64;
                match chars <= most {
                    true => Ok(Kept::AsIs),
                    false => Err(format!("it has {chars} characters")),
                }
            }
        }
    }
}

/// A value that may be written.
enum Kept {
    AsIs,
    As(String),
}

/// Whether a column holds another kind of text than any.
pub(crate) fn has_kinds(schema: &Schema) -> bool {
    let marked = |field: &FieldRef| field.metadata().contains_key(KIND);
    schema.fields().iter().any(marked)
}

/// The name of a column's kind in `CREATE TABLE`, if it has one.
pub(crate) fn kind_name(field: &Field) -> Option<String> {
    Kind::of(field).map(|kind| kind.to_string())
}

/// A UUID in the form that is kept, if a text is one.
pub(crate) fn as_uuid(text: &str) -> Option<String> {
    let uuid = Uuid::try_parse(text).ok()?;
    Some(uuid.hyphenated().to_string())
}

/// Whether a text is JSON.
pub(crate) fn is_json(text: &str) -> bool {
    Kind::Json.keep(text).is_ok()
}

/// The most characters of a column's texts, if there is a limit.
pub(crate) fn most_chars(field: &Field) -> Option<u64> {
    match Kind::of(field) {
        Some(Kind::AtMost(chars)) => Some(chars),
        _ => None,
    }
}

/// The columns as queries see them.
pub(crate) fn without_kinds(schema: &SchemaRef) -> SchemaRef {
    if !has_kinds(schema) {
        return Arc::clone(schema);
    }
    let fields = schema.fields().iter().map(|field| {
        let mut metadata = field.metadata().clone();
        metadata.remove(KIND);
        field.as_ref().clone().with_metadata(metadata)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The name of a column in which a kind is declared where it cannot be checked.
pub(crate) fn kind_within(schema: &Schema) -> Option<&str> {
    let within = |data_type: &DataType| match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            has_kind(item)
        }
        DataType::Map(entries, _) => has_kind(entries),
        DataType::Struct(fields) => fields.iter().any(|field| has_kind(field)),
        _ => false,
    };
    let mut fields = schema.fields().iter();
    let found = fields.find(|field| within(field.data_type()))?;
    Some(found.name())
}

/// Whether a field, or one within it, has a kind.
fn has_kind(field: &Field) -> bool {
    Kind::of(field).is_some() || kind_within(&Schema::new(vec![field.clone()])).is_some()
}

/// Rows as they are kept, where every value is of its column's kind. `schema` has the table's columns,
/// or those of its key; `origin` names a row in an error.
pub(crate) fn checked(
    def: &TableDef,
    schema: &Schema,
    rows: RecordBatch,
    origin: impl Fn(usize) -> String,
) -> Result<RecordBatch, Error> {
    checked_at(def, (schema, |_| true), rows, origin)
}

/// The same for rows that have these columns of the table, in this order.
pub(crate) fn checked_given(
    def: &TableDef,
    given: &[usize],
    rows: RecordBatch,
    origin: impl Fn(usize) -> String,
) -> Result<RecordBatch, Error> {
    if !has_kinds(&def.schema) {
        return Ok(rows);
    }
    let schema = def.schema.project(given).map_err(from_arrow)?;
    checked(def, &schema, rows, origin)
}

/// The same for the columns at some places.
pub(crate) fn checked_at(
    def: &TableDef,
    (schema, chosen): (&Schema, impl Fn(usize) -> bool),
    rows: RecordBatch,
    origin: impl Fn(usize) -> String,
) -> Result<RecordBatch, Error> {
    let mut columns = None;
    let places = schema.fields().iter().zip(rows.columns()).enumerate();
    for (place, (field, column)) in places.filter(|(place, _)| chosen(*place)) {
        let Some(kind) = Kind::of(field) else {
            continue;
        };
        let Some(texts) = column.as_string_view_opt() else {
            continue;
        };
        let wrong = |row: usize, why: String| {
            let value: String = texts.value(row).chars().take(SHOWN_CHARS).collect();
            let named = def.schema.index_of(field.name()).ok();
            let name = named.map_or(field.name().as_str(), |column| def.column_name(column));
            invalid(format!(
                "{}column \"{name}\" of table \"{}\" is {kind}, which \"{value}\" is not: {why}",
                origin(row),
                def.name
            ))
        };
        if let Some(kept) = keep_all(kind, texts).map_err(|(row, why)| wrong(row, why))? {
            let columns = columns.get_or_insert_with(|| rows.columns().to_vec());
            if let Some(column) = columns.get_mut(place) {
                *column = kept;
            }
        }
    }
    match columns {
        Some(columns) => RecordBatch::try_new(rows.schema(), columns).map_err(from_arrow),
        None => Ok(rows),
    }
}

/// The keys of rows in the form in which their table keeps them.
///
/// # Errors
/// `InvalidInput` for a key that the table does not take.
pub fn key_as_kept(def: &TableDef, keys: RecordBatch) -> Result<RecordBatch, Error> {
    checked(def, &def.key_schema(), keys, |_| String::new())
}

/// A column of which some values are kept in another form; `None` if none is.
fn keep_all(kind: Kind, texts: &StringViewArray) -> Result<Option<ArrayRef>, (usize, String)> {
    let mut changed: Vec<(usize, String)> = Vec::new();
    for row in (0..texts.len()).filter(|row| texts.is_valid(*row)) {
        match kind.keep(texts.value(row)) {
            Ok(Kept::AsIs) => {}
            Ok(Kept::As(form)) => changed.push((row, form)),
            Err(why) => return Err((row, why)),
        }
    }
    if changed.is_empty() {
        return Ok(None);
    }
    let mut builder = StringViewBuilder::with_capacity(texts.len());
    let mut changed = changed.into_iter().peekable();
    for (row, text) in texts.iter().enumerate() {
        match changed.next_if(|(place, _)| *place == row) {
            Some((_, form)) => builder.append_value(form),
            None => builder.append_option(text),
        }
    }
    Ok(Some(Arc::new(builder.finish())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_it_is_written() {
        for kind in [Kind::Uuid, Kind::Json, Kind::AtMost(12)] {
            assert_eq!(Kind::of(&kind.field()), Some(kind));
        }
        let later = HashMap::from([(KIND.to_owned(), "COLOUR".to_owned())]);
        let later = Field::new("c", DataType::Utf8View, true).with_metadata(later);
        assert_eq!(Kind::of(&later), None);
    }

    #[test]
    fn texts_are_counted_in_characters() {
        assert!(Kind::AtMost(3).keep("äöü").is_ok());
        assert!(Kind::AtMost(2).keep("äöü").is_err());
    }
}
