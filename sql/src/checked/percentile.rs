//! `percentile_cont` that is exact between two values.
//!
//! Purpose: DataFusion's cuts the weight of the upper value to six digits: 0.95 of 0, 10 and 20 is 18.99999 there.
//!
//! Idea: values are gathered as DataFusion does, and in the same state; only the last step is another. Where
//! values leave a frame, the rest stays sorted. Invariant: NULLs do not count; of no values the result is NULL.

use std::mem::{size_of, take};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, EmitTo, GroupsAccumulator,
};

use super::sliding::internal;

pub(super) const NAME: &str = "percentile_cont";
/// Values that are put into, or taken from, sorted ones one by one. More are sorted first.
const FEW: usize = 8;

/// `percentile_cont` over one that is not exact.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Percentile {
    inner: Arc<AggregateUDF>,
}

impl Percentile {
    pub(super) fn new(inner: Arc<AggregateUDF>) -> Self {
        Self { inner }
    }
}

impl AggregateUDFImpl for Percentile {
    as_inner_aggregate!();

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let (asked, is_distinct) = (Asked::of(&args), args.is_distinct);
        // This one also refuses what is not between 0 and 1.
        let inner = self.inner.accumulator(args)?;
        let Some(asked) = asked else {
            return Ok(inner);
        };
        if is_distinct {
            return Ok(Box::new(Distinct { inner, asked }));
        }
        Ok(Box::new(Gathered::new(asked)))
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        self.accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let asked = Asked::of(&args);
        let inner = self.inner.create_groups_accumulator(args)?;
        match asked {
            Some(asked) => Ok(Box::new(Groups { inner, asked })),
            None => Ok(inner),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
struct Asked {
    /// The part of the values that is not above the result.
    part: f64,
    /// Whether the values are counted from the greatest one.
    descending: bool,
    /// The type of the values and of the result.
    kind: DataType,
}

impl Asked {
    /// `None` if the values are no floats, or there is no part: DataFusion's own says what is wrong.
    fn of(args: &AccumulatorArgs<'_>) -> Option<Self> {
        let kind = args.expr_fields.first()?.data_type().clone();
        let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let part = match args.exprs.get(1)?.evaluate(&nothing).ok()? {
            ColumnarValue::Scalar(ScalarValue::Float64(Some(part))) => part,
            ColumnarValue::Scalar(ScalarValue::Float32(Some(part))) => f64::from(part),
            _ => return None,
        };
        let descending = (args.order_bys.first()).is_some_and(|sort| sort.options.descending);
        kind.is_floating().then_some(Self {
            part,
            descending,
            kind,
        })
    }

    /// Where the two values are that the result is between, in ascending order, and the weight of the second.
    fn places(&self, count: usize) -> Option<(usize, usize, f64)> {
        let last = count.checked_sub(1)?;
        let place = self.part * last as f64;
        let lower = (place.floor() as usize).min(last);
        let weight = place - lower as f64;
        let upper = (lower + usize::from(weight > 0.0)).min(last);
        Some(if self.descending {
            (last - lower, last - upper, weight)
        } else {
            (lower, upper, weight)
        })
    }

    fn in_sorted(&self, values: &[f64]) -> Option<f64> {
        let (first, second, weight) = self.places(values.len())?;
        Some(between(*values.get(first)?, *values.get(second)?, weight))
    }

    /// Changes the order of the values.
    fn in_any(&self, values: &mut [f64]) -> Option<f64> {
        let (first, second, weight) = self.places(values.len())?;
        let (below, high, _) = values.select_nth_unstable_by(first.max(second), f64::total_cmp);
        let high = *high;
        if first == second {
            return Some(high);
        }
        let low = below.iter().copied().max_by(f64::total_cmp)?;
        Some(if first < second {
            between(low, high, weight)
        } else {
            between(high, low, weight)
        })
    }

    fn result(&self, value: Option<f64>) -> Result<ScalarValue> {
        ScalarValue::Float64(value).cast_to(&self.kind)
    }
}

fn between(first: f64, second: f64, weight: f64) -> f64 {
    if weight <= 0.0 || first.total_cmp(&second).is_eq() {
        return first;
    }
    let distance = second - first;
    if distance.is_finite() {
        first + distance * weight
    } else {
        first * (1.0 - weight) + second * weight
    }
}

fn floats(values: &dyn Array) -> Result<Float64Array> {
    let values = cast(values, &DataType::Float64)?;
    let values = values.as_primitive_opt::<Float64Type>().cloned();
    values.ok_or_else(|| internal("percentile_cont got something else than floats"))
}

fn first(values: &[ArrayRef]) -> Result<&ArrayRef> {
    let first = values.first();
    first.ok_or_else(|| internal("percentile_cont got nothing"))
}

/// What is known of the order of gathered values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Unknown,
    /// It is not known, and a result has been asked for: another one will be.
    Wanted,
    Sorted,
}

/// The values of one group or frame.
#[derive(Debug)]
struct Gathered {
    values: Vec<f64>,
    order: Order,
    asked: Asked,
}

impl Gathered {
    fn new(asked: Asked) -> Self {
        Self {
            values: Vec::new(),
            order: Order::Unknown,
            asked,
        }
    }

    fn sort(&mut self) {
        if self.order != Order::Sorted {
            self.values.sort_unstable_by(f64::total_cmp);
            self.order = Order::Sorted;
        }
    }

    fn add(&mut self, values: &dyn Array) -> Result<()> {
        let values = floats(values)?;
        let count = values.len() - values.null_count();
        let reserved = self.values.try_reserve(count);
        reserved.map_err(|error| DataFusionError::ResourcesExhausted(error.to_string()))?;
        if self.order == Order::Sorted && count <= FEW {
            for value in values.iter().flatten() {
                let at = (self.values).partition_point(|known| known.total_cmp(&value).is_lt());
                self.values.insert(at, value);
            }
            return Ok(());
        }
        if self.order == Order::Sorted {
            self.order = Order::Wanted;
        }
        if values.null_count() == 0 {
            self.values.extend_from_slice(values.values());
        } else {
            self.values.extend(values.iter().flatten());
        }
        Ok(())
    }

    /// Removes values that are there, from sorted ones. Whether all of them were.
    fn remove(&mut self, mut gone: Vec<f64>) -> bool {
        if gone.len() <= FEW {
            return gone.into_iter().all(|value| {
                let found = self
                    .values
                    .binary_search_by(|known| known.total_cmp(&value));
                found.map(|at| self.values.remove(at)).is_ok()
            });
        }
        gone.sort_unstable_by(f64::total_cmp);
        let mut gone = gone.into_iter().peekable();
        self.values.retain(|known| {
            let next = gone.next_if(|value| value.total_cmp(known).is_eq());
            next.is_none()
        });
        gone.next().is_none()
    }
}

impl Accumulator for Gathered {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(first(values)?)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(lists) = first(states)?.as_list_opt::<i32>() else {
            return Err(internal("a state of percentile_cont is no list"));
        };
        for values in lists.iter().flatten() {
            self.add(&values)?;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let gone = floats(first(values)?)?.iter().flatten().collect();
        self.sort();
        if self.remove(gone) {
            return Ok(());
        }
        Err(internal("values left a frame that they were not in"))
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = if self.order == Order::Unknown {
            // The result of a group is asked for once, and then its values need not be sorted.
            self.order = Order::Wanted;
            self.asked.in_any(&mut self.values)
        } else {
            self.sort();
            self.asked.in_sorted(&self.values)
        };
        self.asked.result(value)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        if i32::try_from(self.values.len()).is_err() {
            let text = "percentile_cont has more values than a list can hold";
            return Err(DataFusionError::ResourcesExhausted(text.to_string()));
        }
        self.order = Order::Unknown;
        let values = Float64Array::from(take(&mut self.values));
        let values = cast(&values, &self.asked.kind)?;
        Ok(vec![
            SingleRowListArrayBuilder::new(values).build_list_scalar(),
        ])
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.values.capacity() * size_of::<f64>()
    }
}

/// Of different values: DataFusion's collects them.
#[derive(Debug)]
struct Distinct {
    inner: Box<dyn Accumulator>,
    asked: Asked,
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut values: Vec<f64> = Vec::new();
        for state in self.inner.state()? {
            if let ScalarValue::List(list) = state {
                values.extend(floats(list.values())?.iter().flatten());
            }
        }
        self.asked.result(self.asked.in_any(&mut values))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.inner.size()
    }
}

/// The values of many groups, which DataFusion's collects.
struct Groups {
    inner: Box<dyn GroupsAccumulator>,
    asked: Asked,
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.inner
            .update_batch(values, group_indices, opt_filter, total_num_groups)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.inner
            .merge_batch(values, group_indices, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let states = self.inner.state(emit_to)?;
        let Some(lists) = first(&states)?.as_list_opt::<i32>() else {
            return Err(internal("a state of percentile_cont is no list"));
        };
        let mut results = Vec::with_capacity(lists.len());
        for values in lists.iter() {
            let mut of_group: Vec<f64> = Vec::new();
            if let Some(values) = values {
                of_group.extend(floats(&values)?.iter().flatten());
            }
            results.push(self.asked.in_any(&mut of_group));
        }
        Ok(cast(&Float64Array::from(results), &self.asked.kind)?)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        // DataFusion's panics if it gets the part of the values, too.
        let values = values.get(..1).unwrap_or(values);
        self.inner.convert_to_state(values, opt_filter)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.inner.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(part: f64, descending: bool) -> Asked {
        Asked {
            part,
            descending,
            kind: DataType::Float64,
        }
    }

    fn array(values: &[f64]) -> ArrayRef {
        Arc::new(Float64Array::from(values.to_vec()))
    }

    #[test]
    fn the_weight_is_exact() {
        let values = [0.0, 10.0, 20.0];
        assert_eq!(asked(0.95, false).in_sorted(&values), Some(19.0));
        assert_eq!(asked(0.95, true).in_sorted(&values), Some(1.0));
        let wide = [0.0, 1e9];
        assert_eq!(asked(0.9999999, false).in_sorted(&wide), Some(999999900.0));
        let great = [-1.5e308, 1.5e308];
        assert_eq!(asked(0.5, false).in_sorted(&great), Some(0.0));
        let infinite = [f64::NEG_INFINITY, 1.0];
        assert_eq!(
            asked(0.5, false).in_sorted(&infinite),
            Some(f64::NEG_INFINITY)
        );
        assert_eq!(asked(0.5, false).in_sorted(&[]), None);
        assert_eq!(asked(0.5, true).in_any(&mut []), None);
    }

    #[test]
    fn the_order_of_values_does_not_matter() {
        let values = [3.0, -1.0, 8.5, f64::INFINITY, 3.0, 0.1, 7.0];
        let mut sorted = values;
        sorted.sort_unstable_by(f64::total_cmp);
        for step in 0..=20 {
            for descending in [false, true] {
                let asked = asked(f64::from(step) / 20.0, descending);
                let expected = asked.in_sorted(&sorted);
                assert_eq!(asked.in_any(&mut values.clone()), expected);
            }
        }
    }

    #[test]
    fn values_leave_a_frame() {
        let values: Vec<f64> = (0..100).map(|i| f64::from((i * 37) % 11)).collect();
        for width in [1, 3, 20] {
            let mut frame = Gathered::new(asked(0.3, false));
            for at in (0..values.len()).step_by(width) {
                frame
                    .update_batch(&[array(&values[at..(at + width).min(100)])])
                    .unwrap();
                if at >= 2 * width {
                    let gone = array(&values[at - 2 * width..at - width]);
                    frame.retract_batch(&[gone]).unwrap();
                }
                let from = at.saturating_sub(width);
                let mut fresh = values[from..(at + width).min(100)].to_vec();
                let expected = asked(0.3, false).in_any(&mut fresh);
                assert_eq!(frame.evaluate().unwrap(), ScalarValue::Float64(expected));
            }
            assert!(frame.retract_batch(&[array(&[99.0])]).is_err());
        }
    }

    #[test]
    fn parts_are_merged() {
        let mut parts = [array(&[0.0, 20.0]), array(&[10.0])].map(|values| {
            let mut part = Gathered::new(asked(0.95, false));
            part.update_batch(&[values]).unwrap();
            part
        });
        let mut whole = Gathered::new(asked(0.95, false));
        for part in &mut parts {
            let state = part.state().unwrap();
            let state: Vec<_> = state.iter().map(|s| s.to_array().unwrap()).collect();
            whole.merge_batch(&state).unwrap();
        }
        assert_eq!(whole.evaluate().unwrap(), ScalarValue::from(19.0));
    }
}
