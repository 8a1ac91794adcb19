//! Arithmetic of integers and of decimals of 38 digits that fails instead of giving what is no value of its type.
//!
//! Idea: the last rule of the analyzer, when all types are known, puts functions in the place of
//! the operators. They are shown as operators, and travel to other peers by their names, which an
//! option of the operators would not.
//!
//! Non-goals: division, casts and dates, which fail as they are; decimals whose results have room.

use datafusion::arrow::array::{ArrayRef, AsArray, Datum};
use datafusion::arrow::compute::kernels::numeric::{add, mul, sub};
use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef,
};
use datafusion::arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr_common::datum::apply;

use crate::by_type::rewrite_by_type;

/// An operator whose result may be out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
}

impl Operation {
    fn of(operator: Operator) -> Option<Self> {
        match operator {
            Operator::Plus => Some(Self::Add),
            Operator::Minus => Some(Self::Subtract),
            Operator::Multiply => Some(Self::Multiply),
            _ => None,
        }
    }

    fn operator(self) -> Operator {
        match self {
            Self::Add => Operator::Plus,
            Self::Subtract => Operator::Minus,
            Self::Multiply => Operator::Multiply,
        }
    }

    /// The name in plans.
    fn name(self) -> &'static str {
        match self {
            Self::Add => "checked_add",
            Self::Subtract => "checked_subtract",
            Self::Multiply => "checked_multiply",
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
        }
    }

    fn compute(self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Add => add(left, right),
            Self::Subtract => sub(left, right),
            Self::Multiply => mul(left, right),
        }
    }
}

/// The functions, by which sessions find them.
pub(super) fn functions() -> impl Iterator<Item = ScalarUDF> {
    [Operation::Add, Operation::Subtract, Operation::Multiply]
        .into_iter()
        .map(|operation| ScalarUDF::new_from_impl(Checked::new(operation)))
}

/// An operator as a function of two integers of one type, or of two decimals.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operation: Operation,
    signature: Signature,
}

impl Checked {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }

    /// As the operator would be shown.
    fn shown(&self, arguments: &[Expr], show: impl Fn(&Expr) -> String) -> String {
        let shown: Vec<String> = arguments.iter().map(show).collect();
        shown.join(&format!(" {} ", self.operation.sign()))
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        self.operation.name()
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(self.shown(args, Expr::to_string))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(self.shown(args, |argument| argument.schema_name().to_string()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let [left, right] = datafusion::common::utils::take_function_args(self.name(), arg_types)?;
        BinaryTypeCoercer::new(left, &self.operation.operator(), right).get_result_type()
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let kinds = args.arg_fields.iter().map(|field| field.data_type());
        let kinds: Vec<DataType> = kinds.cloned().collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Field::new(self.name(), self.return_type(&kinds)?, nullable).into())
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = datafusion::common::utils::take_function_args(self.name(), args.args)?;
        let result = apply(&left, &right, |left, right| {
            self.operation.compute(left, right)
        })?;
        let digits = match &result {
            ColumnarValue::Array(array) => in_digits(array),
            ColumnarValue::Scalar(value) => in_digits(&value.to_array()?),
        };
        match digits {
            true => Ok(result),
            false => Err(DataFusionError::Execution(format!(
                "the result is out of range for {}",
                result.data_type()
            ))),
        }
    }
}

/// Whether decimals have no more digits than their type: 38 of them leave room in 128 bits.
fn in_digits(values: &ArrayRef) -> bool {
    match values.data_type() {
        DataType::Decimal128(precision, _) => {
            let decimals = values.as_primitive::<Decimal128Type>();
            decimals.validate_decimal_precision(*precision).is_ok()
        }
        _ => true,
    }
}

/// Puts checked functions in the place of operators on integers, and on decimals of as many digits as there are.
#[derive(Debug)]
pub(crate) struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_by_type(plan, check)
    }
}

/// The same for one expression whose types are known.
pub(crate) fn checked_arithmetic(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let checked = expr.transform_up(|expr| check(expr, schema))?;
    Ok(checked.data)
}

fn check(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let operation = Operation::of(op);
            if let Some(operation) = operation
                && may_overflow(operation, &left, &right, schema)
            {
                return Ok(Transformed::yes(call(operation, *left, *right)));
            }
            let same = BinaryExpr { left, op, right };
            Ok(Transformed::no(Expr::BinaryExpr(same)))
        }
        Expr::Negative(inner) => {
            let kind = inner.get_type(schema).ok();
            match kind.filter(DataType::is_signed_integer) {
                // The least number has no opposite.
                Some(kind) => {
                    let zero = Expr::Literal(ScalarValue::new_zero(&kind)?, None);
                    let name = Expr::Negative(inner.clone()).schema_name().to_string();
                    let negative = call(Operation::Subtract, zero, *inner);
                    Ok(Transformed::yes(negative.alias(name)))
                }
                None => Ok(Transformed::no(Expr::Negative(inner))),
            }
        }
        other => Ok(Transformed::no(other)),
    }
}

/// What has no type that could be found is left to whoever finds out why.
fn may_overflow(operation: Operation, left: &Expr, right: &Expr, schema: &DFSchema) -> bool {
    let (Ok(left), Ok(right)) = (left.get_type(schema), right.get_type(schema)) else {
        return false;
    };
    match (&left, &right) {
        (
            DataType::Decimal128(left_digits, left_scale),
            DataType::Decimal128(right_digits, right_scale),
        ) => {
            let before = |digits: &u8, scale: &i8| i16::from(*digits) - i16::from(*scale);
            let digits = match operation {
                Operation::Multiply => i16::from(*left_digits) + i16::from(*right_digits),
                Operation::Add | Operation::Subtract => {
                    let most =
                        before(left_digits, left_scale).max(before(right_digits, right_scale));
                    most + i16::from(*left_scale.max(right_scale)) + 1
                }
            };
            digits > DECIMAL128_MAX_PRECISION.into()
        }
        _ => left.is_integer() && right.is_integer(),
    }
}

fn call(operation: Operation, left: Expr, right: Expr) -> Expr {
    let function = ScalarUDF::new_from_impl(Checked::new(operation));
    Expr::ScalarFunction(ScalarFunction::new_udf(function.into(), vec![left, right]))
}
