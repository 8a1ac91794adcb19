//! Checking a predicate, cheap parts first.
//!
//! Purpose: [`Filter`] holds a predicate cut at its ANDs. Each part names the columns it reads, so
//! that a column is fetched only if rows are left when its part's turn comes.
//!
//! Invariant: a row passes when every part is true for it. NULL is not true.
//!
//! Non-goal: finding the best order; kinds of expressions are ranked once, data is not looked at.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ScalarValue, exec_datafusion_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};

/// A part is checked only for the rows that are left when they are fewer than one in this many;
/// otherwise picking them out costs more than checking all.
const SPARSE: usize = 8;

/// A predicate over a table's rows.
#[derive(Debug)]
pub(crate) struct Filter {
    parts: Vec<Part>,
}

/// One operand of the predicate's ANDs.
#[derive(Debug)]
struct Part {
    /// Over `schema`, the columns it reads.
    predicate: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    /// The same columns in the table's schema.
    columns: Vec<usize>,
}

impl Filter {
    /// A filter for `predicate` over the columns of `schema`.
    pub(crate) fn new(
        predicate: &Arc<dyn PhysicalExpr>,
        schema: &Schema,
    ) -> Result<Self, DataFusionError> {
        let mut operands = split_conjunction(predicate);
        operands.sort_by_key(|operand| cost(operand, schema));
        let parts = operands.into_iter().map(|part| Part::new(part, schema));
        Ok(Self {
            parts: parts.collect::<Result<_, _>>()?,
        })
    }

    /// Which of `rows` rows pass, of those in `among`; `None`: all. `column` gives their values.
    pub(crate) fn check(
        &self,
        rows: usize,
        among: Option<BooleanBuffer>,
        mut column: impl FnMut(usize) -> Result<ArrayRef, DataFusionError>,
    ) -> Result<Option<BooleanBuffer>, DataFusionError> {
        let mut left = among;
        for part in &self.parts {
            if left.as_ref().is_some_and(|left| !left.has_true()) {
                return Ok(left);
            }
            let columns = part.columns.iter().map(|index| column(*index));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let schema = Arc::clone(&part.schema);
            let input = RecordBatch::try_new_with_options(schema, columns, &options)?;
            left = part.check(&input, left)?;
        }
        Ok(left)
    }
}

impl Part {
    fn new(predicate: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Self, DataFusionError> {
        let mut columns: Vec<usize> = collect_columns(predicate)
            .iter()
            .map(Column::index)
            .collect();
        columns.sort_unstable();
        columns.dedup();
        let schema = schema.project(&columns)?;
        let predicate = reassign_expr_columns(Arc::clone(predicate), &schema)?;
        Ok(Self {
            predicate,
            schema: Arc::new(schema),
            columns,
        })
    }

    /// Those rows of `left` for which this part is true.
    fn check(
        &self,
        input: &RecordBatch,
        left: Option<BooleanBuffer>,
    ) -> Result<Option<BooleanBuffer>, DataFusionError> {
        let sparse = left
            .as_ref()
            .filter(|left| left.count_set_bits() < input.num_rows() / SPARSE);
        let value = match sparse {
            Some(left) => {
                let left = BooleanArray::new(left.clone(), None);
                self.predicate.evaluate_selection(input, &left)?
            }
            None => self.predicate.evaluate(input)?,
        };
        if matches!(
            value,
            ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)))
        ) {
            return Ok(left);
        }
        let value = value.into_array(input.num_rows())?;
        let mask = value
            .as_boolean_opt()
            .ok_or_else(|| exec_datafusion_err!("{} is not boolean", self.predicate))?;
        let mask = true_rows(mask);
        Ok(Some(match left {
            Some(left) => &left & &mask,
            None => mask,
        }))
    }
}

/// The rows that pass; NULL does not.
pub(crate) fn true_rows(mask: &BooleanArray) -> BooleanBuffer {
    match mask.null_count() {
        0 => mask.values().clone(),
        _ => prep_null_mask_filter(mask).values().clone(),
    }
}

/// Ranks expressions by how long they take: numbers, then texts, then lists, then the rest.
fn cost(predicate: &Arc<dyn PhysicalExpr>, schema: &Schema) -> u8 {
    let mut most = 0;
    // The closure never fails, so the traversal does not either.
    let _ = predicate.apply(|expr| {
        most = most.max(cost_of_node(expr, schema));
        Ok(TreeNodeRecursion::Continue)
    });
    most
}

fn cost_of_node(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> u8 {
    if let Some(column) = expr.downcast_ref::<Column>() {
        let fixed = schema
            .fields()
            .get(column.index())
            .is_some_and(|field| field.data_type().is_primitive());
        return u8::from(!fixed);
    }
    let simple = expr.is::<Literal>()
        || expr.is::<NotExpr>()
        || expr.is::<IsNullExpr>()
        || expr.is::<IsNotNullExpr>()
        || expr
            .downcast_ref::<BinaryExpr>()
            .is_some_and(|binary| is_comparison(*binary.op()));
    match (simple, expr.is::<InListExpr>()) {
        (true, _) => 0,
        (_, true) => 2,
        _ => 3,
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{And, Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq, Or};
    matches!(
        op,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom | And | Or
    )
}
