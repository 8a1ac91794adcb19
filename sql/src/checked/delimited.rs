//! `string_agg` whose delimiter is short.
//!
//! Idea: what it has gathered is counted after each batch of rows; a long delimiter would make any
//! number of bytes within one. Invariant: a batch makes no more than a call of a bounded function.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    Signature,
};
use datafusion::physical_plan::expressions::Literal;

use crate::error::{capacity, error_to_datafusion};

pub(super) const NAME: &str = "string_agg";
/// The longest delimiter: with batches of 8192 rows, 256 MiB.
const MAX_DELIMITER_BYTES: usize = 32 << 10;

/// `string_agg` over one that takes any delimiter.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Delimited {
    inner: Arc<AggregateUDF>,
}

impl Delimited {
    pub(super) fn new(inner: Arc<AggregateUDF>) -> Self {
        Self { inner }
    }
}

fn check(args: &AccumulatorArgs<'_>) -> Result<()> {
    let delimiter = args
        .exprs
        .get(1)
        .and_then(|expr| expr.downcast_ref::<Literal>());
    let bytes = match delimiter.map(Literal::value) {
        Some(
            ScalarValue::Utf8(Some(text))
            | ScalarValue::LargeUtf8(Some(text))
            | ScalarValue::Utf8View(Some(text)),
        ) => text.len(),
        _ => 0,
    };
    if bytes <= MAX_DELIMITER_BYTES {
        return Ok(());
    }
    Err(error_to_datafusion(capacity(format!(
        "a delimiter of {bytes} bytes is too long for {NAME}, which takes {MAX_DELIMITER_BYTES}"
    ))))
}

impl AggregateUDFImpl for Delimited {
    fn name(&self) -> &str {
        NAME
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        check(&args)?;
        self.inner.accumulator(args)
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        check(&args)?;
        self.inner.create_sliding_accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        check(&args)?;
        self.inner.create_groups_accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        // The other direction would be one without the check.
        ReversedUDAF::NotSupported
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
