//! What every store can do here, and the rows that it gets.
//!
//! Invariant: rows depend on their number alone, so that all stores hold the same ones and any of
//! them can be checked when it is read. Keys are in no order, values do not compress.

use std::ops::Range;
use std::path::Path;

use crate::Failure;

/// Bytes of a key.
pub(crate) const KEY: usize = 16;
/// Bytes of a value.
pub(crate) const VALUE: usize = 100;
/// Rows of one write of a bulk load.
pub(crate) const LOAD_ROWS: u64 = 16_384;

pub(crate) type Key = [u8; KEY];
pub(crate) type Value = [u8; VALUE];

/// Rows of a key and a value.
pub(crate) trait KeyValue: Send + Sync {
    /// Writes these rows in large batches; on disk at the end.
    fn load(&self, rows: Range<u64>) -> Result<(), Failure>;
    /// Moves all rows to where the store keeps them for good, if that is not where writes go.
    fn settle(&self) -> Result<(), Failure> {
        Ok(())
    }
    /// Writes one row; on disk when this returns.
    fn put(&self, key: &Key, value: &Value) -> Result<(), Failure>;
    /// Reads a value and says how long it is.
    fn get(&self, key: &Key) -> Result<Option<usize>, Failure>;
    /// Leaves everything on disk.
    fn close(self: Box<Self>) -> Result<(), Failure>;
}

/// Rows of two integers: their number, and [`number`] of it.
pub(crate) trait Numbers: Send + Sync {
    fn load(&self, rows: u64) -> Result<(), Failure>;
    /// The sum of the second column, by reading every row.
    fn sum(&self) -> Result<i64, Failure>;
}

/// A store by its name.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) open: fn(&Path) -> Result<Box<dyn KeyValue>, Failure>,
    pub(crate) numbers: fn(&Path) -> Result<Box<dyn Numbers>, Failure>,
}

/// Spreads the bits of a number (splitmix64): what random rows are made from.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The key of a row: no two rows share one.
pub(crate) fn key(row: u64) -> Key {
    let mut key = [0; KEY];
    key[..8].copy_from_slice(&mixed(row).to_be_bytes());
    key[8..].copy_from_slice(&row.to_be_bytes());
    key
}

pub(crate) fn value(row: u64) -> Value {
    let mut value = [0; VALUE];
    for (index, part) in value.chunks_mut(8).enumerate() {
        let bits = mixed(row.wrapping_mul(31).wrapping_add(index as u64));
        part.copy_from_slice(&bits.to_le_bytes()[..part.len()]);
    }
    value
}

/// The second column of the rows of numbers.
pub(crate) fn number(row: u64) -> i64 {
    (mixed(row) % 1000) as i64
}

/// The rows in the parts that a bulk load writes at once.
pub(crate) fn chunks(rows: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = rows.end;
    let starts = rows.step_by(LOAD_ROWS as usize);
    starts.map(move |start| start..end.min(start + LOAD_ROWS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_depend_on_their_number_alone() {
        assert_eq!(key(7), key(7));
        assert_ne!(key(7), key(8));
        assert_ne!(value(7), value(8));
        assert!((0..1000).contains(&number(7)));
    }

    #[test]
    fn chunks_cover_every_row_once() {
        let rows: u64 = chunks(5..40_000).map(|chunk| chunk.end - chunk.start).sum();
        assert_eq!(rows, 40_000 - 5);
        assert_eq!(chunks(0..0).count(), 0);
    }
}
