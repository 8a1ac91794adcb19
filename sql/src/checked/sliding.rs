//! Aggregates over frames whose start moves, without taking anything back.
//!
//! Purpose: DataFusion subtracts what leaves a frame. A NaN or an infinity then stays in a sum for ever, small values
//! that were lost beside a large one never come back, and variances become negative; and `bool_and` and the like,
//! which cannot be subtracted, have no such frames at all.
//!
//! Idea: two stacks ("General incremental sliding-window aggregation", Tangwongsan et al., VLDB 2015). Rows come to
//! the back, which keeps them and their total. Rows leave the front, where each has the total of itself and of the
//! rows behind it in the front. When the front has no more, the rows of the back become the front, from the last to
//! the first; so each row is turned over once at most.
//!
//! Invariant: the result is that of the frame's rows alone, but for how floats are rounded. Integers, decimals and
//! intervals, whose subtraction is exact, and DISTINCT are left to the function itself.

use std::fmt::Debug;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator};

use super::moments::Statistic;

/// The functions that are wrapped. `sum` has a wrapper already, which asks for [`sum`].
pub(super) const NAMES: &[&str] = &[
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "covar_pop",
    "covar_samp",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "var",
    "var_pop",
];

/// An aggregate over one that takes back what leaves a frame.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Sliding {
    inner: Arc<AggregateUDF>,
}

impl Sliding {
    pub(super) fn new(inner: Arc<AggregateUDF>) -> Self {
        Self { inner }
    }
}

impl AggregateUDFImpl for Sliding {
    as_inner_aggregate!();

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        match two_stacks(self.inner.name(), &args) {
            Some(ours) => Ok(ours),
            None => self.inner.create_sliding_accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }
}

/// The accumulator of a function for such frames; `None` if its own is exact, or knows more.
fn two_stacks(name: &str, args: &AccumulatorArgs<'_>) -> Option<Box<dyn Accumulator>> {
    match name {
        "avg" => of_floats(Sums::Average, args),
        "bool_and" | "bit_and" => of_bits(|a, b| a & b, args),
        "bool_or" | "bit_or" => of_bits(|a, b| a | b, args),
        "bit_xor" => of_bits(|a, b| a ^ b, args),
        _ => of_floats(Statistic::named(name)?, args),
    }
}

/// The accumulator of `sum` for such frames; `None` if it does not add floats.
pub(super) fn sum(args: &AccumulatorArgs<'_>) -> Option<Box<dyn Accumulator>> {
    of_floats(Sums::Sum, args)
}

fn of_floats<F: Slides>(function: F, args: &AccumulatorArgs<'_>) -> Option<Box<dyn Accumulator>> {
    let mut types = args.expr_fields.iter().map(|field| field.data_type());
    let floats = types.all(|data_type| *data_type == DataType::Float64);
    if args.is_distinct || !floats {
        return None;
    }
    Some(Box::new(Stacks::new(function)))
}

fn of_bits(
    operate: fn(i64, i64) -> i64,
    args: &AccumulatorArgs<'_>,
) -> Option<Box<dyn Accumulator>> {
    let kind = args.expr_fields.first()?.data_type().clone();
    if args.is_distinct || !(kind == DataType::Boolean || kind.is_integer()) {
        return None;
    }
    Some(Box::new(Stacks::new(Bits { operate, kind })))
}

/// An aggregate that is made of the parts of its rows.
pub(super) trait Slides: Debug + Send + Sync + 'static {
    /// What is known of some rows; of none by default.
    type Part: Copy + Debug + Default + Send + Sync + 'static;

    /// Adds a part for each row, also for those that do not count.
    fn read(&self, values: &[ArrayRef], rows: &mut Vec<Self::Part>) -> Result<()>;

    /// What is known of some rows and of those after them.
    fn join(&self, earlier: Self::Part, later: Self::Part) -> Self::Part;

    /// The result.
    fn tell(&self, total: Self::Part) -> Result<ScalarValue>;
}

/// The two stacks. See the module.
#[derive(Debug)]
struct Stacks<F: Slides> {
    function: F,
    /// The totals of all that is here from a row on, the first row last.
    front: Vec<F::Part>,
    /// The rows behind the front, in their order.
    back: Vec<F::Part>,
    /// The total of the back.
    total: F::Part,
}

impl<F: Slides> Stacks<F> {
    fn new(function: F) -> Self {
        Self {
            function,
            front: Vec::new(),
            back: Vec::new(),
            total: F::Part::default(),
        }
    }

    /// Makes the rows of the back the front, without the first ones.
    fn turn_over(&mut self, without: usize) {
        let mut total = F::Part::default();
        for row in self.back.drain(..).skip(without).rev() {
            total = self.function.join(row, total);
            self.front.push(total);
        }
        self.total = F::Part::default();
    }
}

impl<F: Slides> Accumulator for Stacks<F> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let known = self.back.len();
        self.function.read(values, &mut self.back)?;
        for row in self.back.iter().skip(known) {
            self.total = self.function.join(self.total, *row);
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        // Rows leave in the order in which they came, so what they are need not be looked at.
        let gone = values.first().map_or(0, |values| values.len());
        let of_front = gone.min(self.front.len());
        self.front.truncate(self.front.len() - of_front);
        let of_back = gone - of_front;
        if of_back > self.back.len() {
            return Err(internal("rows left a frame that they were not in"));
        }
        if of_back > 0 {
            self.turn_over(of_back);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let front = self.front.last().copied().unwrap_or_default();
        self.function.tell(self.function.join(front, self.total))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Err(internal("the rows of a frame are not aggregated in parts"))
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        Err(internal("the rows of a frame are not aggregated in parts"))
    }

    fn size(&self) -> usize {
        let rows = self.front.capacity() + self.back.capacity();
        size_of::<Self>() + rows * size_of::<F::Part>()
    }
}

/// A mistake of a plan's.
pub(super) fn internal(text: &str) -> DataFusionError {
    DataFusionError::Internal(text.to_string())
}

/// An argument that is of floats.
pub(super) fn floats(values: &[ArrayRef], nth: usize) -> Result<&Float64Array> {
    let values = values.get(nth);
    let values = values.and_then(|values| values.as_primitive_opt::<Float64Type>());
    values.ok_or_else(|| internal("an aggregate of floats got something else"))
}

/// `sum` and `avg` of floats.
#[derive(Debug)]
enum Sums {
    Sum,
    Average,
}

/// The sum of some rows.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    sum: f64,
    /// The rows that are not NULL: without any, the sum is NULL.
    count: u64,
}

impl Slides for Sums {
    type Part = Sum;

    fn read(&self, values: &[ArrayRef], rows: &mut Vec<Sum>) -> Result<()> {
        let values = floats(values, 0)?.iter();
        rows.extend(values.map(|value| Sum {
            sum: value.unwrap_or_default(),
            count: u64::from(value.is_some()),
        }));
        Ok(())
    }

    fn join(&self, earlier: Sum, later: Sum) -> Sum {
        Sum {
            sum: earlier.sum + later.sum,
            count: earlier.count + later.count,
        }
    }

    fn tell(&self, total: Sum) -> Result<ScalarValue> {
        let value = match self {
            Self::Sum => total.sum,
            Self::Average => total.sum / total.count as f64,
        };
        Ok(ScalarValue::Float64((total.count > 0).then_some(value)))
    }
}

/// Aggregates of the bits of integers, and of booleans, which are integers of one bit.
#[derive(Debug)]
struct Bits {
    operate: fn(i64, i64) -> i64,
    kind: DataType,
}

impl Slides for Bits {
    type Part = Option<i64>;

    fn read(&self, values: &[ArrayRef], rows: &mut Vec<Option<i64>>) -> Result<()> {
        let Some(values) = values.first() else {
            return Err(internal("an aggregate of bits got nothing"));
        };
        if let Some(values) = values.as_primitive_opt::<UInt64Type>() {
            rows.extend(values.iter().map(|value| value.map(|bits| bits as i64)));
            return Ok(());
        }
        let values = cast(values, &DataType::Int64)?;
        let Some(values) = values.as_primitive_opt::<Int64Type>() else {
            return Err(internal("an aggregate of bits got something else"));
        };
        rows.extend(values.iter());
        Ok(())
    }

    fn join(&self, earlier: Option<i64>, later: Option<i64>) -> Option<i64> {
        match (earlier, later) {
            (Some(earlier), Some(later)) => Some((self.operate)(earlier, later)),
            (earlier, later) => earlier.or(later),
        }
    }

    fn tell(&self, total: Option<i64>) -> Result<ScalarValue> {
        match &self.kind {
            DataType::Boolean => Ok(ScalarValue::Boolean(total.map(|bits| bits != 0))),
            DataType::UInt64 => Ok(ScalarValue::UInt64(total.map(|bits| bits as u64))),
            kind => ScalarValue::Int64(total).cast_to(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Int32Array, UInt64Array};
    use arrow::datatypes::{Field, FieldRef, Schema};
    use datafusion::functions_aggregate::all_default_aggregate_functions;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::super::sum::CheckedSum;
    use super::*;

    const ROWS: usize = 60;

    fn function(name: &str) -> Arc<AggregateUDF> {
        let all = all_default_aggregate_functions();
        let found = all.into_iter().find(|function| function.name() == name);
        found.expect("a function of DataFusion")
    }

    fn wrapped(name: &str) -> AggregateUDF {
        match name {
            "sum" => AggregateUDF::new_from_impl(CheckedSum::new(function(name))),
            _ => AggregateUDF::new_from_impl(Sliding::new(function(name))),
        }
    }

    fn same(ours: &ScalarValue, theirs: &ScalarValue) -> bool {
        let (ScalarValue::Float64(Some(a)), ScalarValue::Float64(Some(b))) = (ours, theirs) else {
            return ours == theirs;
        };
        let close = (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-3);
        (a.is_nan() && b.is_nan()) || a == b || close
    }

    /// Frames that move through the rows at random, each compared with an aggregate of its rows alone.
    fn check(name: &str, columns: &[ArrayRef], random: &mut StdRng) {
        let types: Vec<DataType> = columns.iter().map(|c| c.data_type().clone()).collect();
        let fields: Vec<FieldRef> = types
            .iter()
            .map(|data_type| Arc::new(Field::new("x", data_type.clone(), true)))
            .collect();
        let (inner, ours) = (function(name), wrapped(name));
        let kind = inner.return_type(&types).unwrap();
        assert_eq!(ours.return_type(&types).unwrap(), kind);
        let schema = Schema::empty();
        let args = AccumulatorArgs {
            return_field: Arc::new(Field::new(name, kind.clone(), true)),
            schema: &schema,
            ignore_nulls: false,
            order_bys: &[],
            is_reversed: false,
            name,
            is_distinct: false,
            exprs: &[],
            expr_fields: &fields,
        };
        let mut sliding = ours.create_sliding_accumulator(args.clone()).unwrap();
        assert!(sliding.supports_retract_batch());
        let part = |from: usize, to: usize| -> Vec<ArrayRef> {
            columns.iter().map(|c| c.slice(from, to - from)).collect()
        };
        let (mut start, mut end) = (0, 0);
        for _ in 0..2 * ROWS {
            let next_end = (end + random.random_range(0..4_usize)).min(ROWS);
            sliding.update_batch(&part(end, next_end)).unwrap();
            end = next_end;
            let next_start = (start + random.random_range(0..4_usize)).min(end);
            sliding.retract_batch(&part(start, next_start)).unwrap();
            start = next_start;
            let mut fresh = inner.accumulator(args.clone()).unwrap();
            fresh.update_batch(&part(start, end)).unwrap();
            let (ours, theirs) = (sliding.evaluate().unwrap(), fresh.evaluate().unwrap());
            assert_eq!(ours.data_type(), kind, "{name}");
            assert!(
                same(&ours, &theirs),
                "{name} of {:?}: {ours:?}, not {theirs:?}",
                part(start, end)
            );
        }
        assert!(sliding.size() > 0);
    }

    fn column(from: &[Option<f64>], random: &mut StdRng) -> ArrayRef {
        let values = (0..ROWS).map(|_| from[random.random_range(0..from.len())]);
        Arc::new(values.collect::<Float64Array>())
    }

    #[test]
    fn sums_and_variances_are_those_of_the_frame_alone() {
        let wild = [
            None,
            Some(f64::NAN),
            Some(f64::INFINITY),
            Some(1e16),
            Some(0.1),
            Some(0.1),
            Some(1.0),
            Some(2.0),
            Some(-3.5),
        ];
        for seed in 0..40 {
            let random = &mut StdRng::seed_from_u64(seed);
            for name in ["sum", "avg", "var", "var_pop", "stddev", "stddev_pop"] {
                let values = column(&wild, random);
                check(name, &[values], random);
            }
        }
    }

    #[test]
    fn pairs_are_those_of_the_frame_alone() {
        let some = [
            None,
            Some(f64::NAN),
            Some(0.1),
            Some(0.1),
            Some(0.1),
            Some(1.0),
            Some(2.0),
            Some(7.25),
        ];
        let of_pairs = |name: &&&str| ["co", "regr_"].iter().any(|start| name.starts_with(*start));
        let names: Vec<&&str> = NAMES.iter().filter(of_pairs).collect();
        assert_eq!(names.len(), 12);
        for seed in 0..40 {
            let random = &mut StdRng::seed_from_u64(seed);
            for name in &names {
                let columns = [column(&some, random), column(&some, random)];
                check(name, &columns, random);
            }
        }
    }

    #[test]
    fn bits_are_those_of_the_frame_alone() {
        for seed in 0..40 {
            let random = &mut StdRng::seed_from_u64(seed);
            let booleans: BooleanArray = (0..ROWS)
                .map(|_| {
                    [None, Some(true), Some(true), Some(false)][random.random_range(0..4_usize)]
                })
                .collect();
            let small: Int32Array = (0..ROWS)
                .map(|_| [None, Some(-1), Some(6), Some(i32::MIN)][random.random_range(0..4_usize)])
                .collect();
            let large: UInt64Array = (0..ROWS)
                .map(|_| {
                    [None, Some(u64::MAX), Some(6), Some(1 << 63)][random.random_range(0..4_usize)]
                })
                .collect();
            for name in ["bool_and", "bool_or"] {
                check(name, &[Arc::new(booleans.clone())], random);
            }
            for name in ["bit_and", "bit_or", "bit_xor"] {
                check(name, &[Arc::new(small.clone())], random);
                check(name, &[Arc::new(large.clone())], random);
            }
        }
    }

    #[test]
    fn equal_values_do_not_vary() {
        let mut stacks = Stacks::new(Statistic::named("stddev_pop").expect("a statistic"));
        let values: ArrayRef = Arc::new(Float64Array::from(vec![0.1; 7]));
        stacks.update_batch(&[Arc::clone(&values)]).unwrap();
        stacks.retract_batch(&[values.slice(0, 3)]).unwrap();
        stacks.update_batch(&[values]).unwrap();
        assert_eq!(stacks.evaluate().unwrap(), ScalarValue::from(0.0));
    }
}
