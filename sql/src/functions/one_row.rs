//! `one_row(value, rows)`: the value of a subquery that may have one row.
//!
//! Invariant: it is the value where there is one row, and an error where there are more.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct OneRow {
    signature: Signature,
}

impl OneRow {
    pub(crate) fn new() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for OneRow {
    fn name(&self) -> &str {
        "one_row"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types.first() {
            Some(value) => Ok(value.clone()),
            None => exec_err!("one_row takes a value and a number of rows"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, rows] = args.args.as_slice() else {
            return exec_err!("one_row takes a value and a number of rows");
        };
        let rows = rows.to_array(args.number_rows)?;
        let Some(rows) = rows.as_primitive_opt::<Int64Type>() else {
            return exec_err!("one_row takes the number of rows as a BIGINT");
        };
        let several = |at: usize| rows.is_valid(at) && rows.value(at) > 1;
        match (0..rows.len()).any(several) {
            true => exec_err!(
                "the subquery gives several rows where one value is wanted: add LIMIT 1, or an aggregate"
            ),
            false => Ok(value.clone()),
        }
    }
}
