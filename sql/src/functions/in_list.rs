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
use datafusion::common::{DFSchema, ScalarValue, exec_err, plan_err};
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
use crate::by_type::in_any_expression;

/// Makes one expression of long lists, once their types are known. See the module.
#[derive(Debug)]
pub(crate) struct LongLists;

/// The same before other rules walk through them, for integers that a table's own column of their type is
/// compared with: types are known there, and no rule does anything else with these.
#[derive(Debug)]
pub(crate) struct LongListsOfIntegers;

impl AnalyzerRule for LongLists {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let shorter = plan.transform_up_with_subqueries(|node| shorten_in(node, |_| true))?;
        Ok(shorter.data)
    }

    fn name(&self) -> &str {
        "long_lists"
    }
}

impl AnalyzerRule for LongListsOfIntegers {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let shorter = plan.transform_up_with_subqueries(|node| match &node {
            LogicalPlan::Filter(filter) if reads_a_table(&filter.input) => {
                let schema = Arc::clone(filter.input.schema());
                shorten_in(node, |list| are_of_column(list, &schema))
            }
            _ => Ok(Transformed::no(node)),
        })?;
        Ok(shorter.data)
    }

    fn name(&self) -> &str {
        "long_lists_of_integers"
    }
}

/// Whether the columns are a table's. Those of a union, say, are not known before their types are coerced.
fn reads_a_table(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::SubqueryAlias(alias) => reads_a_table(&alias.input),
        LogicalPlan::Filter(filter) => reads_a_table(&filter.input),
        _ => false,
    }
}

/// Whether a list has integers alone, of the type of the column that is on its left.
fn are_of_column(list: &InList, schema: &DFSchema) -> bool {
    let Expr::Column(column) = list.expr.as_ref() else {
        return false;
    };
    let Ok((_, field)) = schema.qualified_field_from_column(column) else {
        return false;
    };
    let is_one = |value: &Expr| match value {
        Expr::Literal(value, _) => !value.is_null() && value.data_type() == *field.data_type(),
        _ => false,
    };
    field.data_type().is_integer() && list.list.iter().all(is_one)
}

/// Makes one expression of each long list in a node that is `wanted`.
fn shorten_in(
    node: LogicalPlan,
    wanted: impl Fn(&InList) -> bool,
) -> Result<Transformed<LogicalPlan>> {
    if !in_any_expression(&node, is_long)? {
        return Ok(Transformed::no(node));
    }
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        // Downwards: then nothing walks through the list any more.
        let expr = expr.transform_down(|expr| shorten(expr, &wanted))?;
        Ok(expr.update_data(|expr| name.restore(expr)))
    })
}

fn is_long(expr: &Expr) -> bool {
    matches!(expr, Expr::InList(list) if list.list.len() > MAX_RANGES)
}

fn shorten(expr: Expr, wanted: impl Fn(&InList) -> bool) -> Result<Transformed<Expr>> {
    match expr {
        Expr::InList(list) if list.list.len() > MAX_RANGES && wanted(&list) => {
            match values(&list.list)? {
                Some(values) => Ok(Transformed::yes(as_function(list, values))),
                None => Ok(Transformed::no(Expr::InList(list))),
            }
        }
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
        shorten(Expr::InList(list), |_| true).unwrap().data
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

    #[test]
    fn integers_are_known_to_be_of_a_column() {
        let field = |name, data_type| Field::new(name, data_type, true);
        let fields = vec![field("k", DataType::Int64), field("d", DataType::Float64)];
        let schema = DFSchema::try_from(Schema::new(fields)).unwrap();
        let known = |left: Expr, values: Vec<Expr>| {
            are_of_column(&InList::new(Box::new(left), values, false), &schema)
        };
        assert!(known(col("k"), vec![lit(1_i64), lit(-2_i64)]));
        let null = lit(ScalarValue::Int64(None));
        for (left, other) in [
            (col("k"), null),
            (col("k"), lit(ScalarValue::Null)),
            (col("k"), lit(1_i32)),
            (col("k"), lit("1")),
            (col("k"), col("k")),
            (col("d"), lit(1_i64)),
            (col("k") + lit(1_i64), lit(1_i64)),
            (col("none"), lit(1_i64)),
        ] {
            assert!(
                !known(left.clone(), vec![lit(1_i64), other.clone()]),
                "{left} IN {other}"
            );
        }
    }
}
