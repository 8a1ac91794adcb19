//! Stamps as columns, and back.
//!
//! Invariant: stamps that are equal for all rows of a group come back as `Stamps::One`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, DictionaryArray, Int32Array, StringArray, UInt64Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Schema, SchemaRef, UInt64Type};

use crate::clock::Version;
use crate::error::{Error, Result};
use crate::ids::{Author, Stamp};
use crate::mem::Stamps;

/// Number of stamp columns, which follow the columns of the rows.
pub(super) const STAMP_COLUMNS: usize = 2;

/// The columns of the rows, then version and author under names that are still free.
pub(super) fn with_stamp_columns(schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<FieldRef> = schema.fields().iter().cloned().collect();
    for (name, data_type) in [("_version", DataType::UInt64), ("_author", author_type())] {
        let mut name = name.to_owned();
        while schema.fields().iter().any(|field| *field.name() == name) {
            name.push('_');
        }
        fields.push(Arc::new(Field::new(name, data_type, false)));
    }
    Arc::new(Schema::new(fields))
}

/// Whether columns have the same types, by position; names do not matter.
pub(super) fn same_types(one: &SchemaRef, other: &SchemaRef) -> bool {
    one.fields().len() == other.fields().len()
        && one
            .fields()
            .iter()
            .zip(other.fields())
            .all(|(one, other)| one.data_type() == other.data_type())
}

/// How authors are kept in the data file.
pub(super) fn author_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// The stamp columns of so many rows.
pub(super) fn to_columns(stamps: &Stamps, rows: usize) -> Result<[ArrayRef; STAMP_COLUMNS]> {
    let versions = UInt64Array::from_iter_values((0..rows).map(|row| stamps.version(row).0));
    let mut numbers: HashMap<Author, i32> = HashMap::new();
    let mut names: Vec<Author> = Vec::new();
    let mut last = 0;
    let mut keys = Vec::with_capacity(rows);
    for row in 0..rows {
        let author = stamps.author(row).cloned().unwrap_or_default();
        // Neighbours mostly have one author.
        if names.get(last as usize) != Some(&author) {
            last = *numbers.entry(author.clone()).or_insert_with(|| {
                names.push(author);
                names.len() as i32 - 1
            });
        }
        keys.push(last);
    }
    let names = StringArray::from_iter_values(names.iter().map(|name| &**name));
    let authors = DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), Arc::new(names))
        .map_err(|error| Error::arrow("authors of a segment", error))?;
    Ok([Arc::new(versions), Arc::new(authors)])
}

/// The stamps that `to_columns` made columns of; `None` if these are no such columns.
pub(super) fn from_columns(versions: &ArrayRef, authors: &ArrayRef) -> Option<Stamps> {
    let versions = versions.as_primitive_opt::<UInt64Type>()?;
    let authors = authors.as_dictionary_opt::<Int32Type>()?;
    let names: Vec<Author> = authors
        .values()
        .as_string_opt::<i32>()?
        .iter()
        .map(|name| Author::from(name.unwrap_or_default()))
        .collect();
    let keys = authors.keys().values();
    let stamp = |row: usize| {
        let author = names.get(*keys.get(row)? as usize)?.clone();
        let version = Version(*versions.values().get(row)?);
        Some(Stamp { version, author })
    };
    (versions.len() == keys.len()).then(|| gather_rows((0..keys.len()).map_while(stamp)))
}

/// The stamps of rows that come one by one.
pub(super) fn gather_rows(rows: impl Iterator<Item = Stamp>) -> Stamps {
    let mut runs: Vec<(Stamps, usize)> = Vec::new();
    for stamp in rows {
        match runs.last_mut() {
            Some((Stamps::One(last), len)) if *last == stamp => *len += 1,
            _ => runs.push((Stamps::One(stamp), 1)),
        }
    }
    if let [(only, _)] = runs.as_slice() {
        return only.clone();
    }
    let whole: Option<BooleanBuffer> = None;
    Stamps::gather(
        runs.iter()
            .map(|(stamps, len)| (stamps, whole.clone(), *len)),
    )
}

/// The greatest and the least version, and the stamp that all rows share if they do.
pub(super) fn range(stamps: &Stamps, rows: usize) -> (Version, Version, Option<Stamp>) {
    if let Stamps::One(stamp) = stamps {
        return (stamp.version, stamp.version, Some(stamp.clone()));
    }
    let versions = || (0..rows).map(|row| stamps.version(row));
    let first = stamps.stamp(0);
    let same = (0..rows).all(|row| {
        stamps.version(row) == first.version && stamps.author(row) == Some(&first.author)
    });
    (
        versions().max().unwrap_or_default(),
        versions().min().unwrap_or_default(),
        same.then_some(first),
    )
}
