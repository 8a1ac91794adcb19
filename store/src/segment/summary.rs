//! What is learned of a column while its rows pass by.
//!
//! Purpose: distinct-value sketches, and the groups whose bounds Parquet leaves NaN out of.
//! Invariant: hashes depend on a value alone, not on its batch or on how the array holds it, so
//! that sketches of several segments merge. Non-goal: minimum and maximum; Parquet keeps these.

use std::hash::BuildHasherDefault;
use std::hash::Hasher;

use arrow::array::types::{ArrowPrimitiveType, Float16Type, Float32Type, Float64Type};
use arrow::array::types::{ByteArrayType, ByteViewType};
use arrow::array::{
    Array, ArrayRef, AsArray, GenericByteArray, GenericByteViewArray, MAX_INLINE_VIEW_LEN,
    PrimitiveArray,
};
use arrow::array::{downcast_dictionary_array, downcast_primitive_array};
use arrow::datatypes::{ArrowNativeType, DataType, ToByteSlice};

use super::GROUP_ROWS;
use super::sketch::DistinctSketch;

/// One column of a segment that is being written.
#[derive(Debug, Default)]
pub(super) struct ColumnNotes {
    /// `None` for nested types, whose values are not hashed.
    pub(super) sketch: Option<DistinctSketch>,
    pub(super) nulls: u64,
    /// Groups with a NaN, which Parquet's bounds ignore.
    pub(super) nan_groups: Vec<u32>,
}

impl ColumnNotes {
    pub(super) fn new(data_type: &DataType) -> Self {
        Self {
            sketch: (!data_type.is_nested() || matches!(data_type, DataType::Dictionary(_, _)))
                .then(DistinctSketch::default),
            ..Self::default()
        }
    }

    /// Takes note of values of one group.
    pub(super) fn add(&mut self, group: usize, values: &ArrayRef) {
        self.nulls += values.logical_null_count() as u64;
        if has_nan(values) && self.nan_groups.last() != Some(&(group as u32)) {
            self.nan_groups.push(group as u32);
        }
        if let Some(sketch) = &mut self.sketch {
            add_values(sketch, values);
        }
    }
}

/// The group of a row.
pub(super) fn group_of(row: u64) -> usize {
    (row / GROUP_ROWS as u64) as usize
}

/// Spreads the bits of a number over the whole word.
#[inline]
pub(super) fn mix(value: u64) -> u64 {
    let mut mixed = value ^ (value >> 32);
    mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 32)
}

fn has_nan(values: &ArrayRef) -> bool {
    match values.data_type() {
        DataType::Float16 => nan_in(values.as_primitive::<Float16Type>(), |v| v.is_nan()),
        DataType::Float32 => nan_in(values.as_primitive::<Float32Type>(), f32::is_nan),
        DataType::Float64 => nan_in(values.as_primitive::<Float64Type>(), f64::is_nan),
        // Values that no row refers to make the answer too careful, never wrong.
        DataType::Dictionary(_, _) => has_nan(values.as_any_dictionary().values()),
        _ => false,
    }
}

fn nan_in<T: ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    is_nan: impl Fn(T::Native) -> bool,
) -> bool {
    values.values().iter().any(|&value| is_nan(value))
}

fn add_values(sketch: &mut DistinctSketch, values: &ArrayRef) {
    let values = values.as_ref();
    downcast_primitive_array!(
        values => add_primitive(sketch, values),
        DataType::Boolean => values
            .as_boolean()
            .iter()
            .flatten()
            .for_each(|value| sketch.add_hash(mix(u64::from(value)))),
        DataType::Utf8 => add_bytes(sketch, values.as_string::<i32>()),
        DataType::LargeUtf8 => add_bytes(sketch, values.as_string::<i64>()),
        DataType::Binary => add_bytes(sketch, values.as_binary::<i32>()),
        DataType::LargeBinary => add_bytes(sketch, values.as_binary::<i64>()),
        DataType::Utf8View => add_views(sketch, values.as_string_view()),
        DataType::BinaryView => add_views(sketch, values.as_binary_view()),
        DataType::FixedSizeBinary(_) => values
            .as_fixed_size_binary()
            .iter()
            .flatten()
            .for_each(|value| sketch.add_hash(hash_bytes(value))),
        DataType::Dictionary(_, _) => add_dictionary(sketch, values),
        _ => ()
    );
}

fn add_primitive<T: ArrowPrimitiveType>(sketch: &mut DistinctSketch, values: &PrimitiveArray<T>) {
    let add = |value: T::Native| sketch.add_hash(hash_native(value.to_byte_slice()));
    if values.null_count() == 0 {
        values.values().iter().copied().for_each(add);
    } else {
        values.iter().flatten().for_each(add);
    }
}

/// For values of a fixed length, which is a constant wherever this is inlined.
#[inline]
fn hash_native(bytes: &[u8]) -> u64 {
    if let Ok(word) = bytes.try_into() {
        return mix(u64::from_le_bytes(word));
    }
    if let Ok(word) = bytes.try_into() {
        return mix(u64::from(u32::from_le_bytes(word)));
    }
    hash_bytes(bytes)
}

/// Odd numbers without a pattern (of wyhash).
const SECRETS: [u64; 3] = [
    0xa076_1d64_78bd_642f,
    0xe703_7ed1_a0b4_28db,
    0x8ebc_6af0_9c88_c6e3,
];

/// Both halves of a product: one multiplication that spreads the bits of two words.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// Sixteen bytes at a time, after wyhash; the length tells trailing zeros apart. Nobody gains from
/// collisions in an estimate.
#[inline]
fn hash_bytes(bytes: &[u8]) -> u64 {
    let [first, second, third] = SECRETS;
    let (pairs, rest) = bytes.as_chunks::<16>();
    let add = |hash: u64, pair: &[u8; 16]| {
        let pair = u128::from_le_bytes(*pair);
        fold(pair as u64 ^ first, (pair >> 64) as u64 ^ hash)
    };
    let mut hash = pairs.iter().fold(second, add);
    if !rest.is_empty() {
        let mut last = [0; 16];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        hash = add(hash, &last);
    }
    fold(hash ^ third, bytes.len() as u64 ^ first)
}

fn add_bytes<T: ByteArrayType>(sketch: &mut DistinctSketch, values: &GenericByteArray<T>) {
    for value in values.iter().flatten() {
        let bytes: &[u8] = value.as_ref();
        sketch.add_hash(hash_bytes(bytes));
    }
}

fn add_views<T: ByteViewType>(sketch: &mut DistinctSketch, values: &GenericByteViewArray<T>) {
    for (row, view) in values.views().iter().enumerate() {
        if values.is_null(row) {
            continue;
        }
        // A short value is its view; whether it is short depends on the value alone.
        let hash = if *view as u32 <= MAX_INLINE_VIEW_LEN {
            hash_native(&view.to_le_bytes())
        } else {
            let bytes: &[u8] = values.value(row).as_ref();
            hash_bytes(bytes)
        };
        sketch.add_hash(hash);
    }
}

fn add_dictionary(sketch: &mut DistinctSketch, values: &dyn Array) {
    downcast_dictionary_array!(
        values => {
            let mut used = vec![false; values.values().len()];
            for key in values.keys().iter().flatten() {
                if let Some(used) = used.get_mut(key.as_usize()) {
                    *used = true;
                }
            }
            let used = arrow::array::BooleanArray::from(used);
            if let Ok(used) = arrow::compute::filter(values.values(), &used) {
                add_values(sketch, &used);
            }
        },
        _ => ()
    );
}

/// A hasher for keys that are well mixed already.
pub(super) type FastBuild = BuildHasherDefault<FastHasher>;

/// Mixes the numbers written to it; for small keys of maps that nobody attacks.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct FastHasher(u64);

impl Hasher for FastHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = mix(self.0 ^ hash_bytes(bytes));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = mix(self.0 ^ value);
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }
}
