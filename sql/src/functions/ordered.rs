//! What is found in the ordered list of a group's values: `percentile_disc` and `mode`.
//!
//! Idea: `percentile_disc(f) WITHIN GROUP (ORDER BY x)` is read as a function of `array_agg(x ORDER BY x)` (see
//! `syntax`), which sorts whatever has an order, and whose memory is counted. Its NULLs are passed over here.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt64Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{partition, take};
use arrow::datatypes::{DataType, Field, Float64Type};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::plain::{Plain, Section, argument, whole, wrong};

pub(super) const FUNCTIONS: [Plain; 2] = [
    Plain {
        name: "percentile_of_ordered",
        aliases: &[],
        takes: |types| match types {
            [list @ DataType::List(_), fraction] => Some(vec![list.clone(), fractions(fraction)?]),
            _ => None,
        },
        gives: |types| match types {
            [DataType::List(item), DataType::List(_)] => {
                DataType::List(Arc::new(Field::new("item", item.data_type().clone(), true)))
            }
            _ => element(types),
        },
        compute: percentiles,
        section: Section::Other,
        about: None,
    },
    Plain {
        name: "mode_of_ordered",
        aliases: &[],
        takes: |types| match types {
            [list @ DataType::List(_)] => Some(vec![list.clone()]),
            _ => None,
        },
        gives: element,
        compute: modes,
        section: Section::Other,
        about: None,
    },
];

/// One fraction, or a list of them.
fn fractions(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)
            if item.data_type().is_numeric() || item.data_type().is_null() =>
        {
            let item = Field::new("item", DataType::Float64, true);
            Some(DataType::List(Arc::new(item)))
        }
        one if one.is_numeric() || one.is_null() => Some(DataType::Float64),
        _ => None,
    }
}

fn element(types: &[DataType]) -> DataType {
    match types.first() {
        Some(DataType::List(item)) => item.data_type().clone(),
        _ => DataType::Null,
    }
}

/// The lists of a call.
struct Ordered<'a> {
    lists: &'a ListArray,
    /// Which of their values are NULL.
    nulls: Option<NullBuffer>,
}

impl<'a> Ordered<'a> {
    fn of(lists: &'a ListArray) -> Self {
        let nulls = lists.values().logical_nulls();
        Self { lists, nulls }
    }

    /// Where a row's elements are in the values of all lists; `None` if there are none. NULLs are not among them,
    /// and stand at one of the ends, as the order says.
    fn range(&self, row: usize) -> Option<Range<usize>> {
        if self.lists.is_null(row) {
            return None;
        }
        let offsets = self.lists.value_offsets();
        let mut begin = usize::try_from(*offsets.get(row)?).ok()?;
        let mut end = usize::try_from(*offsets.get(row + 1)?).ok()?;
        if let Some(nulls) = &self.nulls {
            while begin < end && nulls.is_null(begin) {
                begin += 1;
            }
            while begin < end && nulls.is_null(end - 1) {
                end -= 1;
            }
        }
        (begin < end).then_some(begin..end)
    }
}

/// The first value that a fraction of all values is not above.
fn place(of: Option<Range<usize>>, fraction: Option<f64>) -> Result<Option<u64>> {
    let Some(fraction) = fraction else {
        return Ok(None);
    };
    if !(0.0..=1.0).contains(&fraction) {
        return wrong(format!("the percentile {fraction} is not between 0 and 1"));
    }
    Ok(of.map(|of| {
        let nth = (fraction * of.len() as f64).ceil() as usize;
        (of.start + nth.clamp(1, of.len()) - 1) as u64
    }))
}

fn percentiles(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        let (lists, fractions) = (argument(arrays, 0)?.as_list::<i32>(), argument(arrays, 1)?);
        let ordered = Ordered::of(lists);
        if let Some(fractions) = fractions.as_primitive_opt::<Float64Type>() {
            let places = (0..rows).map(|row| {
                let fraction = fractions.is_valid(row).then(|| fractions.value(row));
                place(ordered.range(row), fraction)
            });
            let places: UInt64Array = places.collect::<Result<_>>()?;
            return Ok(take(lists.values(), &places, None)?);
        }
        let fractions = fractions.as_list::<i32>();
        let (mut places, mut lengths) = (Vec::new(), Vec::with_capacity(rows));
        for row in 0..rows {
            let of_row = fractions.value(row);
            for fraction in of_row.as_primitive::<Float64Type>() {
                places.push(place(ordered.range(row), fraction)?);
            }
            lengths.push(of_row.len());
        }
        let values = take(lists.values(), &UInt64Array::from(places), None)?;
        let item = Arc::new(Field::new("item", values.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(lengths);
        let nulls = fractions.nulls().cloned();
        Ok(Arc::new(ListArray::try_new(item, offsets, values, nulls)?))
    })
}

fn modes(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    whole(args, |arrays, rows| {
        let lists = argument(arrays, 0)?.as_list::<i32>();
        let ordered = Ordered::of(lists);
        let places = (0..rows).map(|row| {
            ordered
                .range(row)
                .map(|of| mode(lists.values(), of))
                .transpose()
        });
        let places: UInt64Array = places.collect::<Result<_>>()?;
        Ok(take(lists.values(), &places, None)?)
    })
}

/// Where the value begins that is there most often; the first one, if there are several.
fn mode(values: &ArrayRef, of: Range<usize>) -> Result<u64> {
    let values = values.slice(of.start, of.len());
    let runs = partition(&[values])?.ranges();
    let longest = runs.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
    let first = runs.iter().find(|run| run.len() == longest);
    Ok((of.start + first.map_or(0, |run| run.start)) as u64)
}
