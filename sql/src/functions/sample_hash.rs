//! `sample_hash(seed, value, …)`: where a row stands among others, as if by chance.
//!
//! Invariant: the same seed and values give the same number on every peer and in every release; over
//! different values, numbers are spread evenly. So a sample by it does not depend on where the rows lie.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array};
use arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use netabase_store::arrow_row::{RowConverter, SortField};
use twox_hash::XxHash3_64;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct SampleHash {
    signature: Signature,
}

impl SampleHash {
    pub(crate) fn new() -> Self {
        Self {
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for SampleHash {
    fn name(&self) -> &str {
        "sample_hash"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::UInt64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((ColumnarValue::Scalar(ScalarValue::Int64(Some(seed))), values)) =
            args.args.split_first()
        else {
            return exec_err!("sample_hash takes a number first, and then values");
        };
        if values.is_empty() {
            return exec_err!("sample_hash takes values behind its seed");
        }
        let rows = args.number_rows;
        let values = values.iter().map(|value| value.to_array(rows));
        let values: Vec<ArrayRef> = values.collect::<Result<_>>()?;
        let fields = values.iter().map(|v| SortField::new(v.data_type().clone()));
        let encoded = RowConverter::new(fields.collect())?.convert_columns(&values)?;
        let seed = seed.cast_unsigned();
        let hash = |row| XxHash3_64::oneshot_with_seed(seed, encoded.row(row).data());
        let hashes = UInt64Array::from_iter_values((0..rows).map(hash));
        Ok(ColumnarValue::Array(Arc::new(hashes)))
    }
}
