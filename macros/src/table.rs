//! What a record's table is: columns, keys and indexes, checked against each other.

use syn::ext::IdentExt;
use syn::{Data, DeriveInput, Error, Fields, Generics, Result};

use crate::attributes::{Given, Problems};
use crate::case::snake;
use crate::container::Container;
use crate::field::{FieldModel, Owner};
use crate::naming;
use crate::types;

/// Most columns of one index; `MAX_INDEX_COLUMNS` of the store.
const MAX_INDEX_COLUMNS: usize = 16;

/// A struct as the row of a table.
pub(crate) struct TableModel {
    pub(crate) container: Container,
    pub(crate) name: String,
    /// Every field, in the order of the source; those that are not skipped are the columns.
    pub(crate) fields: Vec<FieldModel>,
    /// Places of the key's columns among the columns, in key order.
    pub(crate) key: Vec<usize>,
    /// How many of them choose the shard.
    pub(crate) shard_key: usize,
    /// Names and columns, in the order of the source.
    pub(crate) indexes: Vec<(String, Vec<usize>)>,
}

impl TableModel {
    /// Reads a struct. Fails with all of its mistakes.
    pub(crate) fn read(input: &DeriveInput) -> Result<Self> {
        let fields = fields_of_record(input)?;
        let mut problems = Problems::default();
        refuse_generics(&input.generics, "a record", &mut problems);
        let container = Container::of_record(input, &mut problems);
        let fields: Vec<FieldModel> = fields
            .named
            .iter()
            .filter_map(|field| FieldModel::read(field, &container, Owner::Record, &mut problems))
            .collect();
        // What could not be read may have been the key.
        let all_read = problems.is_empty();
        let name = match &container.table {
            Some(given) => given.value.clone(),
            None => snake(&input.ident.unraw().to_string()),
        };
        let columns: Vec<&FieldModel> = fields.iter().filter(|field| !field.skip).collect();
        check_types(&columns, &mut problems);
        refuse_equal_names(&columns, &mut problems);
        let key = key_of(&columns, &mut problems);
        if key.is_empty() && all_read {
            problems.at(
                &input.ident,
                "a record needs a primary key, by which rows are spread and replaced: write \
                 #[record(key)] at one field or more",
            );
        }
        let shard_key = shard_key_of(&columns, &key, &mut problems);
        let indexes = indexes_of(&name, &columns, &mut problems);
        problems.finish()?;
        Ok(Self {
            container,
            name,
            fields,
            key,
            shard_key,
            indexes,
        })
    }

    /// The fields that are columns.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &FieldModel> {
        self.fields.iter().filter(|field| !field.skip)
    }
}

fn fields_of_record(input: &DeriveInput) -> Result<&syn::FieldsNamed> {
    let text = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => return Ok(fields),
            Fields::Unnamed(_) => {
                "the fields of a record are columns, which have names: write \
                                   struct Name { field: Type, … }"
            }
            Fields::Unit => "a record has at least one field: write struct Name { field: Type, … }",
        },
        Data::Enum(_) => {
            "a record is a struct; write #[derive(RecordField)] for an enum, and it is \
                          the value of a column"
        }
        Data::Union(_) => {
            "a record is a struct: make the union a field of your own type with a \
                           codec"
        }
    };
    Err(Error::new_spanned(&input.ident, text))
}

/// Refuses type and lifetime parameters: a table has one shape.
pub(crate) fn refuse_generics(generics: &Generics, what: &str, problems: &mut Problems) {
    for parameter in &generics.params {
        match parameter {
            syn::GenericParam::Lifetime(lifetime) => problems.at(
                lifetime,
                format!("{what} owns its values: write String or Vec<u8> instead of references"),
            ),
            other => problems.at(
                other,
                format!(
                    "{what} has one shape: write a struct for each type instead of a parameter"
                ),
            ),
        }
    }
}

fn check_types(columns: &[&FieldModel], problems: &mut Problems) {
    for column in columns.iter().filter(|column| column.codec.is_none()) {
        problems.keep(types::check_column(&column.ty));
        if column.key.is_some() {
            problems.keep(types::check_key(&column.ty));
        }
        if !column.indexes.is_empty() {
            problems.keep(types::check_index(&column.ty));
        }
    }
}

/// Refuses two columns of one name, at the second.
pub(crate) fn refuse_equal_names(columns: &[&FieldModel], problems: &mut Problems) {
    for (place, column) in columns.iter().enumerate() {
        let mut before = columns.iter().take(place);
        if let Some(first) = before.find(|other| other.name == column.name) {
            problems.at(
                &column.ident,
                format!(
                    "column `{}` is there already, as field `{}`: give one of them another name \
                     with #[record(rename = \"…\")]",
                    column.name, first.ident
                ),
            );
        }
    }
}

/// The key's columns in their order: that of the source, or that of their numbers.
fn key_of(columns: &[&FieldModel], problems: &mut Problems) -> Vec<usize> {
    let mut keys: Vec<(usize, &Given<Option<u32>>)> = Vec::new();
    for (place, column) in columns.iter().enumerate() {
        keys.extend(column.key.as_ref().map(|given| (place, given)));
    }
    let numbered = keys.iter().any(|(_, given)| given.value.is_some());
    if !numbered {
        return keys.into_iter().map(|(place, _)| place).collect();
    }
    for (_, given) in keys.iter().filter(|(_, given)| given.value.is_none()) {
        problems.at(
            &given.at,
            "other fields of the key have a number: give this one its own, like key = 2, or none \
             to any",
        );
    }
    keys.sort_by_key(|(_, given)| given.value);
    let mut expected = 1;
    for (_, given) in &keys {
        let Some(number) = given.value else { continue };
        if number < expected {
            problems.at(
                &given.at,
                format!("key = {number} is given twice: number the fields of the key 1, 2, 3, …"),
            );
        } else if number > expected {
            problems.at(
                &given.at,
                format!("no field has key = {expected}: number the fields of the key 1, 2, 3, …"),
            );
        }
        expected = number + 1;
    }
    keys.into_iter().map(|(place, _)| place).collect()
}

/// How many of the key's columns choose the shard: all, unless some are marked.
fn shard_key_of(columns: &[&FieldModel], key: &[usize], problems: &mut Problems) -> usize {
    let marks: Vec<Option<&Given<()>>> = key
        .iter()
        .map(|place| {
            columns
                .get(*place)
                .and_then(|column| column.shard_key.as_ref())
        })
        .collect();
    let first = marks.iter().take_while(|mark| mark.is_some()).count();
    for mark in marks.iter().skip(first).flatten() {
        problems.at(
            &mark.at,
            "the shard key is the first fields of the primary key, in its order: mark those before \
             this one as well, or number the key so that this one comes first",
        );
    }
    match first {
        0 => key.len(),
        some => some,
    }
}

fn indexes_of(
    table: &str,
    columns: &[&FieldModel],
    problems: &mut Problems,
) -> Vec<(String, Vec<usize>)> {
    let mut indexes: Vec<(String, Vec<usize>)> = Vec::new();
    for (place, column) in columns.iter().enumerate() {
        for given in &column.indexes {
            let name = match &given.value {
                Some(name) => name.clone(),
                None => format!("{table}_{}_idx", column.name),
            };
            if given.value.is_none()
                && let Err(text) = naming::check("an index", &name)
            {
                problems.at(&given.at, format!("{text}, with index = \"name\""));
            }
            match indexes.iter_mut().find(|(other, _)| *other == name) {
                Some((_, places)) if places.len() == MAX_INDEX_COLUMNS => problems.at(
                    &given.at,
                    format!("an index has at most {MAX_INDEX_COLUMNS} columns: leave this one out"),
                ),
                Some((_, places)) => places.push(place),
                None => indexes.push((name, vec![place])),
            }
        }
    }
    indexes
}
