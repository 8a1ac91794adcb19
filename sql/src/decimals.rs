//! Adding, subtracting and multiplying decimals that are not large.
//!
//! Purpose: a decimal takes 128 bits, and arrow checks each result for overflow: that takes several
//! times as long as the operation (measured: 18 ns a row for `price * (1 - discount)`, two thirds of
//! what the first query of TPC-H computes). Most decimals fit 64 bits, and of such ones no sum,
//! difference or product overflows 128. [`DecimalExpr`] operates on a batch without checks, notes
//! whether a value did not fit, and if so leaves the batch to arrow.
//!
//! Invariant: values, types, NULLs and errors are those of the expression it stands for.
//! Non-goals: division; plans that other peers run parts of, because the expression is not encoded.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::numeric::{add_wrapping, mul_wrapping, sub_wrapping};
use arrow::datatypes::{DataType, Decimal128Type, FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::sort_properties::ExprProperties;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr_common::datum::apply;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use crate::join_filter::runs_here;

/// The greatest power of ten that fits 64 bits.
const MAX_SHIFT: i8 = 18;

/// Puts [`DecimalExpr`] into projections and the arguments of aggregates.
#[derive(Debug)]
pub(crate) struct Decimals;

impl PhysicalOptimizerRule for Decimals {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !runs_here(&plan)? {
            return Ok(plan);
        }
        plan.transform_up(in_node).data()
    }

    fn name(&self) -> &str {
        "Decimals"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn in_node(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let input = projection.input();
        let mut changed = false;
        let mut expressions = Vec::with_capacity(projection.expr().len());
        for ProjectionExpr { expr, alias } in projection.expr() {
            let new = in_expression(Arc::clone(expr), &input.schema())?;
            changed |= new.transformed;
            let alias = alias.clone();
            expressions.push(ProjectionExpr {
                expr: new.data,
                alias,
            });
        }
        if changed {
            let new = ProjectionExec::try_new(expressions, Arc::clone(input))?;
            return Ok(Transformed::yes(Arc::new(new)));
        }
    } else if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        let schema = aggregate.input_schema();
        let mut changed = false;
        let mut functions = Vec::with_capacity(aggregate.aggr_expr().len());
        for function in aggregate.aggr_expr() {
            let new = in_arguments(function, &schema)?;
            changed |= new.is_some();
            functions.push(new.map_or_else(|| Arc::clone(function), Arc::new));
        }
        if changed {
            let new = aggregate.with_new_aggr_exprs(functions);
            return Ok(Transformed::yes(Arc::new(new)));
        }
    }
    Ok(Transformed::no(node))
}

/// The function with other arguments, if one of them changes.
fn in_arguments(
    function: &AggregateFunctionExpr,
    schema: &Schema,
) -> Result<Option<AggregateFunctionExpr>> {
    let all = function.all_expressions();
    // These lose what orders them when they are made anew.
    if !all.order_by_exprs.is_empty() || function.is_reversed() {
        return Ok(None);
    }
    let mut changed = false;
    let mut arguments = Vec::with_capacity(all.args.len());
    for argument in all.args {
        let new = in_expression(argument, schema)?;
        changed |= new.transformed;
        arguments.push(new.data);
    }
    Ok(changed
        .then(|| function.with_new_expressions(arguments, Vec::new()))
        .flatten())
}

fn in_expression(
    expression: Arc<dyn PhysicalExpr>,
    schema: &Schema,
) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    expression.transform_up(|expression| {
        let binary = expression.downcast_ref::<BinaryExpr>();
        Ok(match binary.and_then(|b| DecimalExpr::new(b, schema)) {
            Some(new) => Transformed::yes(Arc::new(new)),
            None => Transformed::no(expression),
        })
    })
}

/// What is done to two decimals, as unscaled integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    /// Multiplies both.
    Product,
    /// Adds the first times one number to the second times another.
    Sum(i64, i64),
}

/// An operation on decimals. See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DecimalExpr {
    /// What this stands for.
    plain: BinaryExpr,
    operation: Operation,
    result: DataType,
}

impl DecimalExpr {
    /// `None` if the expression is something else, or arrow gives it a type that is not expected.
    fn new(plain: &BinaryExpr, schema: &Schema) -> Option<Self> {
        let scale_of = |side: &Arc<dyn PhysicalExpr>| match side.data_type(schema) {
            Ok(DataType::Decimal128(_, scale)) => Some(scale),
            _ => None,
        };
        let (left, right) = (scale_of(plain.left())?, scale_of(plain.right())?);
        let factor = |scale: i8| {
            let shift = left.max(right).checked_sub(scale)?;
            let shift = u32::try_from(shift).ok().filter(|_| shift <= MAX_SHIFT)?;
            10_i64.checked_pow(shift)
        };
        let (operation, scale) = match plain.op() {
            Operator::Multiply => (Operation::Product, left.checked_add(right)?),
            Operator::Plus => {
                let sum = Operation::Sum(factor(left)?, factor(right)?);
                (sum, left.max(right))
            }
            Operator::Minus => {
                let difference = Operation::Sum(factor(left)?, -factor(right)?);
                (difference, left.max(right))
            }
            _ => return None,
        };
        let result = plain.data_type(schema).ok()?;
        matches!(result, DataType::Decimal128(_, s) if s == scale).then(|| Self {
            plain: plain.clone(),
            operation,
            result,
        })
    }

    /// `None` if a value does not fit 64 bits, or one side is not an array of decimals.
    fn fast(&self, left: &ColumnarValue, right: &ColumnarValue) -> Option<ArrayRef> {
        let (left, right) = (Side::of(left)?, Side::of(right)?);
        let values = match self.operation {
            Operation::Product => combine(&left, &right, |a, b| i128::from(a) * i128::from(b)),
            Operation::Sum(p, q) => combine(&left, &right, move |a, b| {
                i128::from(a) * i128::from(p) + i128::from(b) * i128::from(q)
            }),
        };
        let nulls = NullBuffer::union(left.nulls(), right.nulls());
        let array = Decimal128Array::try_new(values?.into(), nulls).ok()?;
        Some(Arc::new(array.with_data_type(self.result.clone())))
    }
}

/// One side of an operation.
enum Side<'a> {
    Array(&'a Decimal128Array),
    Number(i64),
}

impl<'a> Side<'a> {
    fn of(value: &'a ColumnarValue) -> Option<Self> {
        match value {
            ColumnarValue::Array(array) => {
                Some(Self::Array(array.as_primitive_opt::<Decimal128Type>()?))
            }
            ColumnarValue::Scalar(ScalarValue::Decimal128(Some(number), _, _)) => {
                Some(Self::Number(i64::try_from(*number).ok()?))
            }
            ColumnarValue::Scalar(_) => None,
        }
    }

    fn nulls(&self) -> Option<&NullBuffer> {
        match self {
            Self::Array(array) => array.nulls(),
            Self::Number(_) => None,
        }
    }
}

/// The results of all rows; `None` if a value does not fit 64 bits, if there is no array, or if
/// there are two of different lengths.
fn combine(
    left: &Side<'_>,
    right: &Side<'_>,
    operate: impl Fn(i64, i64) -> i128,
) -> Option<Vec<i128>> {
    // Of every value, the bits that differ from what they would be if it fit.
    let mut misfit = 0_i64;
    let mut low = |value: &i128| {
        let (low, high) = (*value as i64, (*value >> 64) as i64);
        misfit |= high ^ (low >> 63);
        low
    };
    let results: Vec<i128> = match (left, right) {
        (Side::Array(left), Side::Array(right)) if left.len() == right.len() => {
            let pairs = left.values().iter().zip(right.values());
            pairs.map(|(a, b)| operate(low(a), low(b))).collect()
        }
        (Side::Array(left), Side::Number(b)) => {
            let values = left.values().iter();
            values.map(|a| operate(low(a), *b)).collect()
        }
        (Side::Number(a), Side::Array(right)) => {
            let values = right.values().iter();
            values.map(|b| operate(*a, low(b))).collect()
        }
        _ => return None,
    };
    (misfit == 0).then_some(results)
}

impl fmt::Display for DecimalExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is around this sets brackets around plain operations only.
        write!(f, "({})", self.plain)
    }
}

impl PhysicalExpr for DecimalExpr {
    fn data_type(&self, _input_schema: &Schema) -> Result<DataType> {
        Ok(self.result.clone())
    }

    fn nullable(&self, input_schema: &Schema) -> Result<bool> {
        self.plain.nullable(input_schema)
    }

    fn return_field(&self, input_schema: &Schema) -> Result<FieldRef> {
        self.plain.return_field(input_schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let left = self.plain.left().evaluate(batch)?;
        let right = self.plain.right().evaluate(batch)?;
        if let Some(array) = self.fast(&left, &right) {
            return Ok(ColumnarValue::Array(array));
        }
        match self.plain.op() {
            Operator::Multiply => apply(&left, &right, mul_wrapping),
            Operator::Plus => apply(&left, &right, add_wrapping),
            _ => apply(&left, &right, sub_wrapping),
        }
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.plain.children()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        // Other children may have other types.
        Arc::new(self.plain.clone()).with_new_children(children)
    }

    fn get_properties(&self, children: &[ExprProperties]) -> Result<ExprProperties> {
        self.plain.get_properties(children)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plain.fmt_sql(f)
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;
    use datafusion::physical_expr::expressions::{Column, lit};
    use proptest::prelude::*;

    use super::*;

    fn column(values: &[Option<i128>], precision: u8, scale: i8) -> ArrayRef {
        let array = Decimal128Array::from_iter(values.iter().copied());
        Arc::new(array.with_data_type(DataType::Decimal128(precision, scale)))
    }

    /// `a op b` and, where it is a number, `a op literal`, both ways.
    fn compare(
        op: Operator,
        pairs: &[(Option<i128>, Option<i128>)],
        (left_scale, right_scale): (i8, i8),
    ) -> std::result::Result<(), TestCaseError> {
        let (left, right): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
        let columns = [
            ("a", column(&left, 38, left_scale)),
            ("b", column(&right, 38, right_scale)),
        ];
        let fields = columns
            .iter()
            .map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let arrays = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
        let a: Arc<dyn PhysicalExpr> = Arc::new(Column::new("a", 0));
        let b: Arc<dyn PhysicalExpr> = Arc::new(Column::new("b", 1));
        let number = lit(ScalarValue::Decimal128(
            right.first().copied().flatten(),
            20,
            right_scale,
        ));
        for (left, right) in [(&a, &b), (&a, &number), (&number, &b), (&a, &a)] {
            let plain = BinaryExpr::new(Arc::clone(left), op, Arc::clone(right));
            let Some(fast) = DecimalExpr::new(&plain, &schema) else {
                continue;
            };
            let wanted = plain
                .evaluate(&batch)
                .and_then(|v| v.into_array(pairs.len()));
            let found = fast
                .evaluate(&batch)
                .and_then(|v| v.into_array(pairs.len()));
            match (wanted, found) {
                (Ok(wanted), Ok(found)) => prop_assert_eq!(&wanted, &found),
                (Err(wanted), Err(found)) => {
                    prop_assert_eq!(wanted.to_string(), found.to_string());
                }
                (wanted, found) => prop_assert!(false, "{:?}, not {:?}", found, wanted),
            }
        }
        Ok(())
    }

    fn number() -> impl Strategy<Value = Option<i128>> {
        let small = any::<i64>().prop_map(i128::from);
        let edge = prop::sample::select(vec![
            0,
            1,
            -1,
            i128::from(i64::MAX),
            i128::from(i64::MIN),
            i128::from(i64::MAX) + 1,
            i128::from(i64::MIN) - 1,
            i128::MAX,
            i128::MIN,
        ]);
        prop_oneof![
            20 => small.prop_map(Some),
            1 => edge.prop_map(Some),
            1 => Just(None),
        ]
    }

    proptest! {
        #[test]
        fn results_are_those_of_arrow(
            pairs in prop::collection::vec((number(), number()), 1..40),
            scales in (0..20_i8, 0..20_i8),
        ) {
            for op in [Operator::Multiply, Operator::Plus, Operator::Minus] {
                compare(op, &pairs, scales)?;
            }
        }
    }

    #[test]
    fn numbers_that_fit_take_the_fast_way() {
        let schema = Schema::new(vec![Field::new("a", DataType::Decimal128(15, 2), true)]);
        let a: Arc<dyn PhysicalExpr> = Arc::new(Column::new("a", 0));
        let one = lit(ScalarValue::Decimal128(Some(1), 20, 0));
        let plain = BinaryExpr::new(one, Operator::Minus, a);
        let fast = DecimalExpr::new(&plain, &schema).unwrap();
        let side = |values: &[Option<i128>]| ColumnarValue::Array(column(values, 15, 2));
        let one = ColumnarValue::Scalar(ScalarValue::Decimal128(Some(1), 20, 0));
        let found = fast.fast(&one, &side(&[Some(7), None])).unwrap();
        let wanted = column(&[Some(93), None], 23, 2);
        assert_eq!(&found, &wanted);
        assert!(fast.fast(&one, &side(&[Some(1 << 64)])).is_none());
        // Other types and operators are left alone.
        let divided = BinaryExpr::new(lit(1), Operator::Divide, lit(2));
        assert_eq!(DecimalExpr::new(&divided, &schema), None);
        let integers = BinaryExpr::new(lit(1), Operator::Plus, lit(2));
        assert_eq!(DecimalExpr::new(&integers, &schema), None);
    }
}
