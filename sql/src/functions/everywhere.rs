//! `array_remove` and `array_replace`, which change every element that is meant.
//!
//! DataFusion's change the first one alone, and have others for all of them. Here both change all, as in PostgreSQL;
//! `array_remove_n` and `array_replace_n` change as many as they are told. Non-goal: `array_remove` of NULL, which gives
//! NULL.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, DocumentationBuilder, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, scalar_doc_sections::DOC_SECTION_ARRAY,
};

use crate::checked::as_inner;

/// A function of the first element, the one of all, how it is called, and what it does.
const FUNCTIONS: [(&str, &str, &str, &str); 2] = [
    (
        "array_remove",
        "array_remove_all",
        "array_remove(array, element)",
        "A list without the elements that are equal to a value",
    ),
    (
        "array_replace",
        "array_replace_all",
        "array_replace(array, from, to)",
        "A list with another value in the place of each element that is equal to one",
    ),
];

/// Puts them in the place of DataFusion's. A registry without these has nothing to mend.
pub(super) fn register(session: &mut dyn FunctionRegistry) -> Result<()> {
    for (first, all, call, about) in FUNCTIONS {
        if let (Ok(inner), Ok(all)) = (session.udf(first), session.udf(all)) {
            let about = DocumentationBuilder::new_with_details(DOC_SECTION_ARRAY, about, call);
            session.register_udf(Arc::new(ScalarUDF::new_from_impl(Everywhere {
                inner,
                all,
                about: about.build(),
            })))?;
        }
    }
    Ok(())
}

/// A function that is called as one, and computes as another.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Everywhere {
    inner: Arc<ScalarUDF>,
    all: Arc<ScalarUDF>,
    about: Documentation,
}

impl ScalarUDFImpl for Everywhere {
    as_inner!();

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.all.invoke_with_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.about)
    }
}
