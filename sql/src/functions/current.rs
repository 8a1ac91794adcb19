//! `current_schema()` and `current_database()`: where a session is.
//!
//! Invariant: both are constants by the time that a plan is made, so that no other peer has to know them.

use arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::catalog::{CATALOG, SCHEMA};
use crate::own_settings::OwnSettings;

/// One of the functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Current {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    schema: bool,
}

impl Current {
    fn new(name: &'static str, aliases: &[&str], schema: bool) -> Self {
        Self {
            name,
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            signature: Signature::nullary(Volatility::Stable),
            schema,
        }
    }

    /// `current_schema()`.
    pub(crate) fn schema() -> Self {
        Self::new("current_schema", &[], true)
    }

    /// `current_database()`.
    pub(crate) fn database() -> Self {
        Self::new("current_database", &["current_catalog"], false)
    }
}

impl ScalarUDFImpl for Current {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn simplify(&self, _: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let name = match self.schema {
            true => {
                let path = OwnSettings::path_in(context.config_options());
                let first = path.as_deref().and_then(|path| path.first()).cloned();
                first.unwrap_or_else(|| SCHEMA.to_owned())
            }
            false => CATALOG.to_owned(),
        };
        let value = ScalarValue::Utf8(Some(name));
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(value, None)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!(
            "{} is known when a query is planned, and not later",
            self.name
        )
    }

    fn documentation(&self) -> Option<&Documentation> {
        None
    }
}
