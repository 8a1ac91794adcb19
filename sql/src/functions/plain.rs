//! Functions that are told in a table: a name, what it takes and gives, and how a value is computed.
//!
//! Invariant: what a function gives depends on its arguments alone, and a call whose arguments are all constant
//! gives a constant. Non-goals: aggregates, and functions that know of the session.

use std::hash::{Hash, Hasher};

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::scalar_doc_sections::{
    DOC_SECTION_DATETIME, DOC_SECTION_OTHER, DOC_SECTION_STRING,
};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion_functions_json::json_field_metadata;

/// What the reference lists a function under.
#[derive(Debug, Clone, Copy)]
pub(super) enum Section {
    Text,
    Time,
    Json,
    Other,
}

/// A function.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    pub(super) name: &'static str,
    pub(super) aliases: &'static [&'static str],
    /// The types that the arguments are brought to; `None` if it does not take them.
    pub(super) takes: fn(&[DataType]) -> Option<Vec<DataType>>,
    /// The type of its values, by the types of its arguments.
    pub(super) gives: fn(&[DataType]) -> DataType,
    pub(super) compute: fn(&ScalarFunctionArgs) -> Result<ColumnarValue>,
    pub(super) section: Section,
    /// How it is called, and what it does; nothing for what statements are rewritten to.
    pub(super) about: Option<(&'static str, &'static str)>,
}

impl Plain {
    /// What a session registers.
    pub(super) fn function(self) -> ScalarUDF {
        let section: DocSection = match self.section {
            Section::Text => DOC_SECTION_STRING,
            Section::Time => DOC_SECTION_DATETIME,
            Section::Json | Section::Other => DOC_SECTION_OTHER,
        };
        let documentation = self
            .about
            .map(|(syntax, does)| Documentation::builder(section, does, syntax).build());
        ScalarUDF::new_from_impl(Function {
            plain: self,
            aliases: self
                .aliases
                .iter()
                .map(|alias| (*alias).to_owned())
                .collect(),
            signature: Signature::user_defined(Volatility::Immutable),
            documentation,
        })
    }
}

struct Function {
    plain: Plain,
    aliases: Vec<String>,
    signature: Signature,
    documentation: Option<Documentation>,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.plain.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.plain.name == other.plain.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.plain.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.plain.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.plain.takes)(arg_types) {
            Some(types) => Ok(types),
            None => {
                let given: Vec<String> = arg_types.iter().map(ToString::to_string).collect();
                let (name, given) = (self.plain.name, given.join(", "));
                match self.plain.about {
                    Some((syntax, _)) => plan_err!(
                        "function \"{name}\" does not take ({}); it is called as {syntax}",
                        crate::sql_types::in_sql(&given)
                    ),
                    None => plan_err!("Function '{name}' requires other arguments than {given}"),
                }
            }
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok((self.plain.gives)(arg_types))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types = args
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone());
        let types: Vec<DataType> = types.collect();
        let field = Field::new(self.plain.name, (self.plain.gives)(&types), true);
        Ok(match self.plain.section {
            Section::Json => field.with_metadata(json_field_metadata()).into(),
            _ => field.into(),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        (self.plain.compute)(&args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.documentation.as_ref()
    }
}

/// Computes a call as a whole. All arrays have as many rows as there are; constants are given once if there is
/// nothing else.
pub(super) fn whole(
    args: &ScalarFunctionArgs,
    compute: impl FnOnce(&[ArrayRef], usize) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    let constant = args
        .args
        .iter()
        .all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
    let rows = if constant { 1 } else { args.number_rows };
    let arrays = args.args.iter().map(|argument| argument.to_array(rows));
    let arrays: Vec<ArrayRef> = arrays.collect::<Result<_>>()?;
    let made = compute(&arrays, rows)?;
    match constant {
        true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
            &made, 0,
        )?)),
        false => Ok(ColumnarValue::Array(made)),
    }
}

/// An argument that is there.
pub(super) fn argument(arrays: &[ArrayRef], at: usize) -> Result<&ArrayRef> {
    arrays
        .get(at)
        .ok_or_else(|| DataFusionError::Execution("an argument is missing".to_owned()))
}

/// Whether a type is one of texts, or NULL.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null
    )
}

/// An error in the values of a call.
pub(super) fn wrong<T>(why: impl std::fmt::Display) -> Result<T> {
    Err(DataFusionError::Execution(why.to_string()))
}
