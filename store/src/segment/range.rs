//! Ranges of encoded keys, and the rows in them.
//!
//! Idea: arrow's row format gives every value bytes of which none begins with another's, and a key
//! is the bytes of its columns in order. So the keys that begin with given values are a range of
//! bytes, and a sorted file has them in a row.
//! Invariant: a range covers at least the keys that SQL's comparisons would, and no others but for
//! floats (whose keys tell the signs of zero apart) and intervals; whoever asks for these checks the
//! rows again.

use std::ops::{Bound, Range};

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::datatypes::DataType;
use arrow_row::{RowConverter, SortField};

use super::locate::{PAGES, lower_bound};
use super::{PAGE_ROWS, Segment};
use crate::error::{Error, Result};

/// Keys from `start` on, and before `end` if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
}

impl KeyRange {
    /// The keys whose first columns are `equal`, arrays of one value each in exactly the columns'
    /// types; NULL equals NULL. Fails with `InvalidInput` if a type has no order.
    pub fn prefix(equal: &[ArrayRef]) -> Result<Self> {
        let start = encode(equal)?;
        let end = successor(start.clone());
        Ok(Self { start, end })
    }

    /// Like `prefix`, with the next column between two bounds, arrays of one value each. NULLs lie
    /// in no such range. Fails like `prefix`, and if both bounds are missing.
    pub fn between(
        equal: &[ArrayRef],
        lower: Bound<&ArrayRef>,
        upper: Bound<&ArrayRef>,
    ) -> Result<Self> {
        let whole = Self::prefix(equal)?;
        let data_type = match (lower, upper) {
            (Bound::Included(value) | Bound::Excluded(value), _)
            | (_, Bound::Included(value) | Bound::Excluded(value)) => value.data_type().clone(),
            _ => return Err(Error::invalid("a range of keys needs a bound")),
        };
        let key = |value: &ArrayRef| {
            let mut key = whole.start.clone();
            key.extend(encode(std::slice::from_ref(value))?);
            Ok::<_, Error>(key)
        };
        let start = match lower {
            Bound::Included(value) => Some(key(value)?),
            Bound::Excluded(value) => successor(key(value)?),
            // NULLs come first.
            Bound::Unbounded => successor(key(&new_null_array(&data_type, 1))?),
        };
        let end = match upper {
            Bound::Included(value) => successor(key(value)?),
            Bound::Excluded(value) => Some(key(value)?),
            Bound::Unbounded => whole.end,
        };
        Ok(match start {
            Some(start) => Self { start, end },
            // Nothing is greater than the greatest key.
            None => Self::nothing(),
        })
    }

    /// A range that `prefix` made, cut in two: the keys whose next column is NULL, and the others.
    /// `next` is that column's type. Fails like `prefix`.
    pub fn split_nulls(&self, next: &DataType) -> Result<(Self, Self)> {
        let mut null = self.start.clone();
        null.extend(encode(&[new_null_array(next, 1)])?);
        let after = successor(null.clone());
        let nulls = Self {
            start: null,
            end: after.clone(),
        };
        let others = match after {
            Some(start) => Self {
                start,
                end: self.end.clone(),
            },
            None => Self::nothing(),
        };
        Ok((nulls, others))
    }

    fn nothing() -> Self {
        Self {
            start: Vec::new(),
            end: Some(Vec::new()),
        }
    }

    /// The first key, if it is there.
    pub(crate) fn start(&self) -> &[u8] {
        &self.start
    }
}

fn encode(values: &[ArrayRef]) -> Result<Vec<u8>> {
    let mut key = Vec::new();
    for value in values {
        let failed = |error| Error::arrow("a range of keys", error);
        let fields = vec![SortField::new(value.data_type().clone())];
        let converter = RowConverter::new(fields).map_err(failed)?;
        let rows = converter
            .convert_columns(std::slice::from_ref(value))
            .map_err(failed)?;
        match rows.iter().next() {
            Some(row) => key.extend_from_slice(row.data()),
            None => return Err(Error::invalid("a bound of a range of keys has no value")),
        }
    }
    Ok(key)
}

/// The least bytes that are greater than everything that begins with `prefix`.
fn successor(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return Some(prefix);
        }
        prefix.pop();
    }
    None
}

impl Segment {
    /// The rows whose keys lie in a range.
    pub(crate) fn rows_in(&self, range: &KeyRange) -> Result<Range<u32>> {
        let from = self.first_from(&range.start)?;
        let to = match &range.end {
            Some(end) => match self.end_near(from, end) {
                Some(to) => to,
                None => self.first_from(end)?,
            },
            None => self.meta.rows as u32,
        };
        Ok(from..to.max(from))
    }

    /// The first row whose key is not less than `end`, if it lies behind `from`, in the same page, and
    /// the keys of that are at hand. Most ranges are short.
    fn end_near(&self, from: u32, end: &[u8]) -> Option<u32> {
        let (page, row) = (from as usize / PAGE_ROWS, from as usize % PAGE_ROWS);
        let keys = self.known_page_keys(page / PAGES, page % PAGES)?;
        let to = lower_bound(&keys, row, end);
        (to < keys.len()).then(|| (page * PAGE_ROWS + to) as u32)
    }

    /// The first row whose key is not less than `key`. Reads one page at most.
    fn first_from(&self, key: &[u8]) -> Result<u32> {
        if *key <= self.meta.min_key[..] {
            return Ok(0);
        }
        if *key > self.meta.max_key[..] {
            return Ok(self.meta.rows as u32);
        }
        let starts = &self.load()?.index.page_keys;
        // The page before the first one that does not begin before the key.
        let page = starts
            .partition_point(|start| start[..] < *key)
            .saturating_sub(1);
        let row = self.first_in_page(page / PAGES, page % PAGES, key)?;
        Ok((page * PAGE_ROWS + row) as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn nulls_are_split_off() {
        let number = |n: Option<i64>| Arc::new(Int64Array::from(vec![n])) as ArrayRef;
        let text = |t: &str| Arc::new(StringArray::from(vec![t])) as ArrayRef;
        for equal in [vec![], vec![text("a")]] {
            let whole = KeyRange::prefix(&equal).unwrap();
            let (nulls, others) = whole.split_nulls(&DataType::Int64).unwrap();
            for value in [None, Some(i64::MIN), Some(0), Some(i64::MAX)] {
                let mut key = equal.clone();
                key.extend([number(value), text("rest")]);
                let key = encode(&key).unwrap();
                let holds = |range: &KeyRange| {
                    key >= range.start && range.end.as_ref().is_none_or(|end| key < *end)
                };
                assert_eq!(holds(&nulls), value.is_none());
                assert_eq!(holds(&others), value.is_some());
            }
        }
    }

    #[test]
    fn ranges_hold_what_compares_so() {
        let number = |n: Option<i64>| Arc::new(Int64Array::from(vec![n])) as ArrayRef;
        let text = |t: &str| Arc::new(StringArray::from(vec![t])) as ArrayRef;
        let holds = |range: &KeyRange, key: &[u8]| {
            key >= &range.start[..] && range.end.as_ref().is_none_or(|end| key < &end[..])
        };
        let values = [
            None,
            Some(i64::MIN),
            Some(-1),
            Some(0),
            Some(7),
            Some(i64::MAX),
        ];
        for value in values {
            for other in values {
                let key = encode(&[text("a"), number(other), text("rest")]).unwrap();
                let equal = KeyRange::prefix(&[text("a"), number(value)]).unwrap();
                assert_eq!(holds(&equal, &key), value == other);
                let (Some(value), least) = (value, number(value)) else {
                    continue;
                };
                let from = |lower, upper| KeyRange::between(&[text("a")], lower, upper).unwrap();
                let range = from(Bound::Excluded(&least), Bound::Unbounded);
                assert_eq!(
                    holds(&range, &key),
                    other.is_some_and(|other| other > value)
                );
                let range = from(Bound::Unbounded, Bound::Included(&least));
                assert_eq!(
                    holds(&range, &key),
                    other.is_some_and(|other| other <= value)
                );
                let foreign = encode(&[text("ab"), number(other)]).unwrap();
                assert!(!holds(&range, &foreign) && !holds(&equal, &foreign));
            }
        }
    }
}
