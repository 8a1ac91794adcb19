//! Lists and maps as columns.
//!
//! Idea: the items of all rows are one column, and offsets say where each row's begin. Invariant: an
//! item's error is told with its row and its place in it.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use super::error::Misfit;
use super::field::{KeyField, OrderedField, RecordField, wrong_type};

/// The entries of a map that was read.
type Owned<K, V> = Vec<(K, V)>;

impl<T: RecordField> RecordField for Vec<T> {
    type Plain = Self;

    fn data_type() -> DataType {
        T::list_type()
    }

    fn write(values: &[Option<&Self>]) -> Result<ArrayRef, Misfit> {
        let slices = values.iter().map(|value| value.map(Vec::as_slice));
        T::write_list(&slices.collect::<Vec<_>>())
    }

    fn read(column: &ArrayRef) -> Result<Vec<Option<Self>>, Misfit> {
        T::read_list(column)
    }
}

impl<T: OrderedField> OrderedField for Vec<T> {}

/// The items of a list. They may be NULL for SQL, which has no way to forbid it; reading checks.
fn item(data_type: DataType) -> FieldRef {
    Arc::new(Field::new_list_field(data_type, true))
}

pub(crate) fn list_type(data_type: DataType) -> DataType {
    DataType::List(item(data_type))
}

/// Fails when the lengths add up to more than an offset can say.
pub(crate) fn check_offsets(lengths: impl Iterator<Item = usize>) -> Result<(), Misfit> {
    let mut sum = 0_usize;
    for (row, length) in lengths.enumerate() {
        sum = sum.saturating_add(length);
        if i32::try_from(sum).is_err() {
            let reason = "the rows written at once have more than 2³¹ items or bytes in this \
                          column: write fewer";
            return Err(Misfit::at(row, reason));
        }
    }
    Ok(())
}

/// Where the rows' items begin and end.
fn offsets(lengths: impl Iterator<Item = usize> + Clone) -> Result<OffsetBuffer<i32>, Misfit> {
    check_offsets(lengths.clone())?;
    Ok(OffsetBuffer::from_lengths(lengths))
}

/// An error about an item, told of its row and place.
fn of_item(misfit: Misfit, offsets: &[i32], name: impl Fn(usize) -> String) -> Misfit {
    let Some(item) = misfit.row() else {
        return misfit.inside("[]", None);
    };
    let begun = offsets.partition_point(|offset| usize::try_from(*offset).is_ok_and(|o| o <= item));
    let row = begun.saturating_sub(1);
    let first = offsets
        .get(row)
        .and_then(|first| usize::try_from(*first).ok());
    let place = name(item.saturating_sub(first.unwrap_or_default()));
    misfit.inside(&place, Some(row))
}

fn at(place: usize) -> String {
    format!("[{place}]")
}

pub(crate) fn write<T: RecordField>(values: &[Option<&[T]>]) -> Result<ArrayRef, Misfit> {
    let offsets = offsets(values.iter().map(|value| value.map_or(0, <[T]>::len)))?;
    let items: Vec<Option<&T>> = values
        .iter()
        .copied()
        .flatten()
        .flatten()
        .map(Some)
        .collect();
    let items = T::write(&items).map_err(|misfit| of_item(misfit, &offsets, at))?;
    let nulls: NullBuffer = values.iter().map(Option::is_some).collect();
    let list = ListArray::try_new(item(T::data_type()), offsets, items, Some(nulls));
    Ok(Arc::new(
        list.map_err(|error| Misfit::new(error.to_string()))?,
    ))
}

pub(crate) fn read<T: RecordField>(column: &ArrayRef) -> Result<Vec<Option<Vec<T>>>, Misfit> {
    let list = column.as_list_opt::<i32>();
    let list = list.ok_or_else(|| wrong_type::<Vec<T>>(column))?;
    let parts = Parts::of(list.value_offsets());
    let items = list.values().slice(parts.first, parts.items);
    let items = T::read(&items).map_err(|misfit| of_item(misfit, &parts.offsets, at))?;
    parts.regroup(items, |row| list.is_null(row), |item| item)
}

/// Which items belong to which row.
struct Parts {
    /// The first item of any row.
    first: usize,
    items: usize,
    /// Offsets from the first item on.
    offsets: Vec<i32>,
}

impl Parts {
    fn of(offsets: &[i32]) -> Self {
        let first = offsets.first().copied().unwrap_or_default();
        let offsets: Vec<i32> = offsets.iter().map(|offset| offset - first).collect();
        let last = offsets.last().copied().unwrap_or_default();
        Self {
            first: usize::try_from(first).unwrap_or_default(),
            items: usize::try_from(last).unwrap_or_default(),
            offsets,
        }
    }

    /// The items of each row. A row that is NULL may have some all the same, which are dropped.
    fn regroup<I, T>(
        &self,
        items: Vec<I>,
        is_null: impl Fn(usize) -> bool,
        value: impl Fn(I) -> Option<T>,
    ) -> Result<Vec<Option<Vec<T>>>, Misfit> {
        let mut items = items.into_iter();
        let lengths = self.offsets.windows(2).map(|pair| match pair {
            [from, to] => usize::try_from(to - from).unwrap_or_default(),
            _ => 0,
        });
        let mut rows = Vec::with_capacity(self.offsets.len());
        for (row, length) in lengths.enumerate() {
            let own = items.by_ref().take(length);
            if is_null(row) {
                own.for_each(drop);
                rows.push(None);
                continue;
            }
            let mut list = Vec::with_capacity(length);
            for (place, item) in own.enumerate() {
                let misfit = || Misfit::at(row, "it is NULL, and the record's is not an Option");
                let item = value(item);
                list.push(item.ok_or_else(|| misfit().inside(&at(place), Some(row)))?);
            }
            rows.push(Some(list));
        }
        Ok(rows)
    }
}

/// Keys and values of one map.
type Entries<'a, K, V> = Vec<(&'a K, &'a V)>;

fn entry_fields<K: KeyField, V: RecordField>() -> Fields {
    Fields::from(vec![
        Field::new("key", K::data_type(), false),
        Field::new("value", V::data_type(), true),
    ])
}

fn entries_field<K: KeyField, V: RecordField>() -> FieldRef {
    let entries = DataType::Struct(entry_fields::<K, V>());
    Arc::new(Field::new("entries", entries, false))
}

fn write_map<K: KeyField, V: RecordField>(
    maps: &[Option<Entries<'_, K, V>>],
) -> Result<ArrayRef, Misfit> {
    let offsets = offsets(maps.iter().map(|map| map.as_ref().map_or(0, Vec::len)))?;
    let entries = || maps.iter().flatten().flatten();
    let keys: Vec<Option<&K>> = entries().map(|(key, _)| Some(*key)).collect();
    let values: Vec<Option<&V>> = entries().map(|(_, value)| Some(*value)).collect();
    let of = |misfit| of_item(misfit, &offsets, at);
    let columns = vec![K::write(&keys).map_err(of)?, V::write(&values).map_err(of)?];
    let nulls: NullBuffer = maps.iter().map(Option::is_some).collect();
    let array = || {
        let entries = StructArray::try_new(entry_fields::<K, V>(), columns, None)?;
        let field = entries_field::<K, V>();
        MapArray::try_new(field, offsets.clone(), entries, Some(nulls), false)
    };
    let array = array();
    Ok(Arc::new(
        array.map_err(|error| Misfit::new(error.to_string()))?,
    ))
}

fn read_map<K: KeyField, V: RecordField, M: RecordField>(
    column: &ArrayRef,
) -> Result<Vec<Option<Owned<K, V>>>, Misfit> {
    let map = column.as_map_opt();
    let map = map.ok_or_else(|| wrong_type::<M>(column))?;
    let parts = Parts::of(map.value_offsets());
    let of = |misfit| of_item(misfit, &parts.offsets, at);
    let keys = K::read(&map.keys().slice(parts.first, parts.items)).map_err(of)?;
    let values = V::read(&map.values().slice(parts.first, parts.items)).map_err(of)?;
    let entries: Vec<_> = keys.into_iter().zip(values).collect();
    parts.regroup(
        entries,
        |row| map.is_null(row),
        |(key, value)| key.zip(value),
    )
}

/// A map is a column of maps, whatever keeps it in memory.
macro_rules! map {
    ([$($generics:tt)*], $map:ty) => {
        impl<$($generics)*> RecordField for $map {
            type Plain = Self;

            fn data_type() -> DataType {
                DataType::Map(entries_field::<K, V>(), false)
            }

            fn write(values: &[Option<&Self>]) -> Result<ArrayRef, Misfit> {
                let maps = values.iter().map(|map| map.map(|map| map.iter().collect()));
                write_map::<K, V>(&maps.collect::<Vec<_>>())
            }

            fn read(column: &ArrayRef) -> Result<Vec<Option<Self>>, Misfit> {
                let maps = read_map::<K, V, Self>(column)?.into_iter();
                Ok(maps.map(|map| map.map(|entries| entries.into_iter().collect())).collect())
            }
        }
    };
}

map!([K: KeyField + Eq + Hash, V: RecordField, S: BuildHasher + Default + Send + 'static], HashMap<K, V, S>);
map!([K: KeyField + Ord, V: RecordField], BTreeMap<K, V>);
