//! `sum` of integers and wide decimals that fails instead of wrapping around.
//!
//! Invariant: for what cannot wrap around (floats, decimals of up to 28 digits, intervals) it is
//! DataFusion's own, but for floats in frames whose start moves (see `sliding`). A sum whose parts
//! are out of range fails even if others would bring it back.

use std::fmt::Debug;
use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowNumericType, AsArray, BooleanArray, PrimitiveArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, FieldRef, Int64Type,
    UInt64Type,
};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator,
    ReversedUDAF, SetMonotonicity, Signature, StatisticsArgs,
};

use crate::error::{error_to_datafusion, invalid};

pub(super) const NAME: &str = "sum";
/// Sums of so many digits cannot be out of range before 10^10 values have been added.
const SAFE_DIGITS: u8 = DECIMAL128_MAX_PRECISION - 10;

fn out_of_range(kind: &DataType) -> DataFusionError {
    let kind = crate::sql_types::in_sql(&kind.to_string());
    let wider = if kind.starts_with("DECIMAL") {
        "DOUBLE"
    } else {
        "DECIMAL(38, 0)"
    };
    let text = format!("the sum is out of range for {kind}: CAST what is added to {wider}");
    error_to_datafusion(invalid(text))
}

/// `sum` over one that may wrap around.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CheckedSum {
    inner: Arc<AggregateUDF>,
}

impl CheckedSum {
    pub(super) fn new(inner: Arc<AggregateUDF>) -> Self {
        Self { inner }
    }
}

/// Whether sums of this type may wrap around.
fn wraps(args: &AccumulatorArgs<'_>) -> bool {
    match args.return_field.data_type() {
        DataType::Int64 | DataType::UInt64 => true,
        DataType::Decimal128(..) => {
            let digits = args.expr_fields.first().map(|field| field.data_type());
            matches!(digits, Some(DataType::Decimal128(digits, _)) if *digits > SAFE_DIGITS)
        }
        _ => false,
    }
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let kind = args.return_field.data_type().clone();
        match (wraps(&args), args.is_distinct) {
            (false, _) => self.inner.accumulator(args),
            (true, false) => Ok(Box::new(Total::new(kind))),
            (true, true) => Ok(Box::new(Distinct {
                inner: self.inner.accumulator(args)?,
                kind,
            })),
        }
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        let kind = args.return_field.data_type().clone();
        match (wraps(&args), args.is_distinct) {
            (true, false) => Ok(Box::new(Total::new(kind))),
            _ => match super::sliding::sum(&args) {
                Some(floats) => Ok(floats),
                None => self.inner.create_sliding_accumulator(args),
            },
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let kind = args.return_field.data_type().clone();
        if !wraps(&args) {
            return self.inner.create_groups_accumulator(args);
        }
        Ok(match kind {
            DataType::UInt64 => Box::new(Totals::<UInt64Type>::new(kind)),
            DataType::Decimal128(..) => Box::new(Totals::<Decimal128Type>::new(kind)),
            _ => Box::new(Totals::<Int64Type>::new(kind)),
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn value_from_stats(&self, statistics_args: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.inner.value_from_stats(statistics_args)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// One sum, wider than what it adds.
#[derive(Debug)]
struct Total {
    sum: i128,
    /// Values that were added and not taken back: without any, the sum is NULL.
    count: u64,
    kind: DataType,
}

impl Total {
    fn new(kind: DataType) -> Self {
        Self {
            sum: 0,
            count: 0,
            kind,
        }
    }

    fn change(&mut self, values: &ArrayRef, change: fn(i128, i128) -> Option<i128>) -> Result<u64> {
        let sum = match values.data_type() {
            DataType::UInt64 => total::<UInt64Type>(self.sum, values, change),
            DataType::Decimal128(..) => total::<Decimal128Type>(self.sum, values, change),
            _ => total::<Int64Type>(self.sum, values, change),
        };
        self.sum = sum.ok_or_else(|| out_of_range(&self.kind))?;
        Ok((values.len() - values.null_count()) as u64)
    }

    fn value(&self) -> Result<ScalarValue> {
        if self.count == 0 {
            return ScalarValue::try_from(&self.kind);
        }
        let wrong = || out_of_range(&self.kind);
        Ok(match self.kind {
            DataType::UInt64 => {
                ScalarValue::UInt64(Some(u64::try_from(self.sum).map_err(|_| wrong())?))
            }
            DataType::Decimal128(precision, scale) => {
                let fits = Decimal128Type::validate_decimal_precision(self.sum, precision, scale);
                fits.map_err(|_| wrong())?;
                ScalarValue::Decimal128(Some(self.sum), precision, scale)
            }
            _ => ScalarValue::Int64(Some(i64::try_from(self.sum).map_err(|_| wrong())?)),
        })
    }
}

/// A sum and all values that are not NULL.
fn total<T: ArrowNumericType>(
    sum: i128,
    values: &ArrayRef,
    change: fn(i128, i128) -> Option<i128>,
) -> Option<i128>
where
    T::Native: Into<i128>,
{
    let values = values.as_primitive_opt::<T>()?;
    if values.null_count() == 0 {
        return values
            .values()
            .iter()
            .try_fold(sum, |sum, value| change(sum, (*value).into()));
    }
    values
        .iter()
        .flatten()
        .try_fold(sum, |sum, value| change(sum, value.into()))
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for values in values.iter().take(1) {
            self.count += self.change(values, i128::checked_add)?;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for values in values.iter().take(1) {
            let taken = self.change(values, i128::checked_sub)?;
            self.count = self.count.saturating_sub(taken);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.value()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value()?])
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// The sum of different values: DataFusion's collects them.
#[derive(Debug)]
struct Distinct {
    inner: Box<dyn Accumulator>,
    kind: DataType,
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut total = Total::new(self.kind.clone());
        for state in self.inner.state()? {
            if let ScalarValue::List(list) = state {
                total.update_batch(&[Arc::clone(list.values())])?;
            }
        }
        total.value()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.inner.size()
    }
}

/// One sum for each group.
struct Totals<T: ArrowNumericType> {
    sums: Vec<T::Native>,
    /// Whether a group has had a value: without any, its sum is NULL.
    some: Vec<bool>,
    kind: DataType,
}

impl<T: ArrowNumericType> Totals<T> {
    fn new(kind: DataType) -> Self {
        Self {
            sums: Vec::new(),
            some: Vec::new(),
            kind,
        }
    }

    fn add(&mut self, group: usize, value: T::Native) -> Result<()> {
        let (Some(sum), Some(some)) = (self.sums.get_mut(group), self.some.get_mut(group)) else {
            return Err(DataFusionError::Internal(format!("no group {group}")));
        };
        match sum.add_checked(value) {
            Ok(next) => *sum = next,
            Err(_) => return Err(out_of_range(&self.kind)),
        }
        *some = true;
        Ok(())
    }

    fn add_all(
        &mut self,
        values: &PrimitiveArray<T>,
        groups: &[usize],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let rows = groups.iter().zip(values.values().iter());
        let kept = kept(values, filter);
        match kept {
            None => rows
                .into_iter()
                .try_for_each(|(group, value)| self.add(*group, *value)),
            Some(kept) => rows
                .zip(kept.iter())
                .filter(|(_, kept)| *kept)
                .try_for_each(|((group, value), _)| self.add(*group, *value)),
        }
    }

    fn take(&mut self, emit: EmitTo) -> ArrayRef {
        let sums = emit.take_needed(&mut self.sums);
        let some = emit.take_needed(&mut self.some);
        let nulls = NullBuffer::from(some);
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        let sums = PrimitiveArray::<T>::new(sums.into(), nulls);
        Arc::new(sums.with_data_type(self.kind.clone()))
    }

    fn primitive(values: &[ArrayRef]) -> Result<&PrimitiveArray<T>> {
        let values = values
            .first()
            .and_then(|values| values.as_primitive_opt::<T>());
        values.ok_or_else(|| DataFusionError::Internal("sum got another type".to_string()))
    }
}

/// The rows that count: those that are not NULL and pass the filter. `None`: all.
fn kept<T: ArrowNumericType>(
    values: &PrimitiveArray<T>,
    filter: Option<&BooleanArray>,
) -> Option<NullBuffer> {
    let passed = filter.map(|filter| match filter.nulls() {
        Some(nulls) => NullBuffer::new(filter.values() & nulls.inner()),
        None => NullBuffer::new(filter.values().clone()),
    });
    let kept = NullBuffer::union(values.nulls(), passed.as_ref());
    kept.filter(|kept| kept.null_count() > 0)
}

impl<T: ArrowNumericType + Send + Debug> GroupsAccumulator for Totals<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.sums.resize(total_num_groups, T::Native::default());
        self.some.resize(total_num_groups, false);
        self.add_all(Self::primitive(values)?, group_indices, opt_filter)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.update_batch(values, group_indices, None, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.take(emit_to);
        if let DataType::Decimal128(precision, _) = self.kind
            && let Some(sums) = sums.as_primitive_opt::<Decimal128Type>()
        {
            let fits = sums.validate_decimal_precision(precision);
            fits.map_err(|_| out_of_range(&self.kind))?;
        }
        Ok(sums)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.take(emit_to)])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = Self::primitive(values)?;
        let nulls = kept(values, opt_filter);
        let state = PrimitiveArray::<T>::new(values.values().clone(), nulls);
        Ok(vec![Arc::new(state.with_data_type(self.kind.clone()))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<T::Native>() + self.some.capacity()
    }
}
