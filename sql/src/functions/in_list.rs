//! `in_list(value, list)`: IN of a long list of values, as one expression.
//!
//! Idea: every rule of the planner walks through every expression, and a list of ten thousand literals
//! is ten thousand of them: planning took several times as long as the query. So the analyzer makes one
//! literal of the list ([`LongLists`]), which is walked past.
//!
//! Invariant: the answer is that of IN, for NULLs as well. Non-goal: lists short enough for an index,
//! or for a comparison with the least and greatest values of a segment; they stay as they are.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, InListExpr};
use parking_lot::Mutex;

use crate::access::MAX_RANGES;

/// Makes one expression of long lists, once their types are known. See the module.
#[derive(Debug)]
pub(crate) struct LongLists;

impl AnalyzerRule for LongLists {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let shorter = plan.transform_up_with_subqueries(|node| {
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let expr = expr.transform_up(shorten)?;
                Ok(expr.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(shorter.data)
    }

    fn name(&self) -> &str {
        "long_lists"
    }
}

fn shorten(expr: Expr) -> Result<Transformed<Expr>> {
    match expr {
        Expr::InList(list) if list.list.len() > MAX_RANGES => match values(&list.list)? {
            Some(values) => Ok(Transformed::yes(as_function(list, values))),
            None => Ok(Transformed::no(Expr::InList(list))),
        },
        other => Ok(Transformed::no(other)),
    }
}

fn as_function(list: InList, values: ArrayRef) -> Expr {
    let values = SingleRowListArrayBuilder::new(values).build_list_scalar();
    let function = Arc::new(ScalarUDF::from(IsListed::default()));
    let call = ScalarFunction::new_udf(function, vec![*list.expr, lit(values)]);
    let found = Expr::ScalarFunction(call);
    match list.negated {
        true => Expr::Not(Box::new(found)),
        false => found,
    }
}

/// The values of a list, if all are literals of one type.
fn values(list: &[Expr]) -> Result<Option<ArrayRef>> {
    let mut values = Vec::with_capacity(list.len());
    for expr in list {
        match expr {
            Expr::Literal(value, _) => values.push(value.clone()),
            Expr::Cast(Cast { expr, field }) => match expr.as_ref() {
                Expr::Literal(value, _) => values.push(value.cast_to(field.data_type())?),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        }
    }
    let types = |value: &ScalarValue| value.data_type();
    let one_type = values.windows(2).all(|pair| match pair {
        [a, b] => types(a) == types(b),
        _ => true,
    });
    match one_type {
        true => ScalarValue::iter_to_array(values).map(Some),
        false => Ok(None),
    }
}

/// Its name.
pub(crate) const IS_LISTED: &str = "in_list";

/// The function.
#[derive(Debug)]
pub(crate) struct IsListed {
    signature: Signature,
    /// The list that was asked for last, ready for searching.
    ready: Mutex<Option<Ready>>,
}

/// A list, and IN of it over a first column.
#[derive(Debug, Clone)]
struct Ready {
    list: Arc<ListArray>,
    search: Arc<InListExpr>,
}

impl Default for IsListed {
    fn default() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Immutable),
            ready: Mutex::default(),
        }
    }
}

impl PartialEq for IsListed {
    fn eq(&self, other: &Self) -> bool {
        self.signature == other.signature
    }
}

impl Eq for IsListed {}

impl Hash for IsListed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.signature.hash(state);
    }
}

impl IsListed {
    /// Searching takes a table of the values, which is made once for all batches of a query.
    fn search(&self, list: &Arc<ListArray>) -> Result<Arc<InListExpr>> {
        let mut ready = self.ready.lock();
        if let Some(ready) = ready.as_ref()
            && Arc::ptr_eq(&ready.list, list)
        {
            return Ok(Arc::clone(&ready.search));
        }
        let values = list.value(0);
        let schema = schema_of(values.data_type());
        let column = Arc::new(Column::new("value", 0));
        let search = InListExpr::try_new_from_array(column, values, false, &schema)?;
        let search = Arc::new(search);
        *ready = Some(Ready {
            list: Arc::clone(list),
            search: Arc::clone(&search),
        });
        Ok(search)
    }

    /// As IN would be shown, but for the values.
    fn shown(args: &[Expr], show: impl Fn(&Expr) -> String) -> String {
        let mut text = String::new();
        if let Some(value) = args.first() {
            text.push_str(&show(value));
        }
        if let Some(Expr::Literal(list, _)) = args.get(1)
            && let ScalarValue::List(values) = list
        {
            // Lists that differ have names that differ.
            let mut hasher = DefaultHasher::new();
            list.hash(&mut hasher);
            let (count, hash) = (values.value_length(0), hasher.finish());
            // Writing to a text does not fail.
            let _ = write!(text, " IN ({count} values, {hash:016x})");
        }
        text
    }
}

impl ScalarUDFImpl for IsListed {
    fn name(&self) -> &str {
        IS_LISTED
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(Self::shown(args, Expr::to_string))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(Self::shown(args, |expr| expr.schema_name().to_string()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [value, DataType::List(values)] if value == values.data_type() => Ok(DataType::Boolean),
            _ => plan_err!("in_list takes a value, and a list of such values"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, ColumnarValue::Scalar(ScalarValue::List(list))] = args.args.as_slice() else {
            return exec_err!("in_list takes a value, and a list that is the same for all rows");
        };
        if list.is_null(0) {
            return Ok(ColumnarValue::Scalar(ScalarValue::Boolean(None)));
        }
        let search = self.search(list)?;
        let value = value.to_array(args.number_rows)?;
        let schema = Arc::new(schema_of(value.data_type()));
        search.evaluate(&RecordBatch::try_new(schema, vec![value])?)
    }
}

fn schema_of(value: &DataType) -> Schema {
    Schema::new(vec![Field::new("value", value.clone(), true)])
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::col;

    use super::*;

    fn long(values: impl Iterator<Item = Expr>, negated: bool) -> Expr {
        let list = InList::new(Box::new(col("k")), values.collect(), negated);
        shorten(Expr::InList(list)).unwrap().data
    }

    #[test]
    fn long_lists_of_literals_are_one_expression() {
        let count = MAX_RANGES as i64 + 1;
        let found = long((0..count).map(lit), false);
        let shown = found.schema_name().to_string();
        assert!(shown.starts_with("k IN (1001 values, "), "{shown}");
        let other = long((1..=count).map(lit), false);
        assert_ne!(shown, other.schema_name().to_string());
        assert!(matches!(long((0..count).map(lit), true), Expr::Not(_)));
        // Short ones, and such as are computed, stay.
        assert!(matches!(long((1..count).map(lit), false), Expr::InList(_)));
        let computed = (0..count).map(|n| col("v") + lit(n));
        assert!(matches!(long(computed, false), Expr::InList(_)));
    }
}
