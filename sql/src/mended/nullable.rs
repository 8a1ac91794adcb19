//! Values that may be NULL though DataFusion thinks they never are.
//!
//! `(SELECT id FROM t LIMIT 1)` is NULL when t is empty, though id never is. DataFusion takes the
//! subquery for a value that is never NULL, so that `… IS NULL` is false without a look, and the NULL breaks the
//! rows that it comes into. The column of such a subquery is handed through [`Nullable`], of whose
//! result nothing is known.
//!
//! What a recursion begins with is never NULL, but what follows may be (`SELECT 1 UNION ALL SELECT … FROM r`). DataFusion
//! asks before it rewrites the second part, which then does not fit. Its first columns are handed through, too.
//!
//! Invariant: values stay as they are. Subqueries that have a row whatever they find (`SELECT
//! count(*) …`) stay as well.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result, exec_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, RecursiveQuery, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Subquery, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

/// Lets the values of subqueries be NULL. See the module.
#[derive(Debug)]
pub(super) struct NullableSubqueries;

impl AnalyzerRule for NullableSubqueries {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let mut found = false;
        let plan = plan.transform_up_with_subqueries(|node| {
            let node = node.map_expressions(|expr| expr.transform_up(may_be_null))?;
            let node = node.transform_data(with_nulls)?;
            found |= node.transformed;
            match found {
                // Whatever is above may be NULL, too.
                true => node.map_data(LogicalPlan::recompute_schema),
                false => Ok(node),
            }
        });
        plan.data()
    }

    fn name(&self) -> &str {
        "nullable_subqueries"
    }
}

fn may_be_null(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::ScalarSubquery(subquery) = expr else {
        return Ok(Transformed::no(expr));
    };
    let plan = &subquery.subquery;
    let [field] = plan.schema().fields().as_ref() else {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    };
    if field.is_nullable() || has_row(plan) {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    }
    Ok(Transformed::yes(Expr::ScalarSubquery(Subquery {
        subquery: nullable_columns(plan)?,
        ..subquery
    })))
}

/// A recursion whose first rows may have NULLs.
fn with_nulls(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::RecursiveQuery(query) if has_values(&query.static_term) => {
            let query = RecursiveQuery::try_new(
                query.name,
                nullable_columns(&query.static_term)?,
                query.recursive_term,
                query.is_distinct,
            )?;
            Ok(Transformed::yes(LogicalPlan::RecursiveQuery(query)))
        }
        node => Ok(Transformed::no(node)),
    }
}

/// Whether a column is never NULL.
fn has_values(plan: &LogicalPlan) -> bool {
    let mut fields = plan.schema().fields().iter();
    fields.any(|field| !field.is_nullable())
}

/// The same rows, of whose columns any may be NULL.
fn nullable_columns(plan: &Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
    let columns: Vec<Expr> = plan
        .schema()
        .iter()
        .map(|(qualifier, field)| {
            let column = Expr::Column(Column::from((qualifier, field)));
            match field.is_nullable() {
                true => column,
                false => ScalarUDF::from(Nullable::new())
                    .call(vec![column])
                    .alias_qualified(qualifier.cloned(), field.name()),
            }
        })
        .collect();
    let plan = LogicalPlanBuilder::from(Arc::unwrap_or_clone(Arc::clone(plan)))
        .project(columns)?
        .build()?;
    Ok(Arc::new(plan))
}

/// Whether it has a row whatever it finds.
fn has_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        LogicalPlan::Projection(projection) => has_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_row(&alias.input),
        LogicalPlan::Sort(sort) => sort.fetch.is_none() && has_row(&sort.input),
        _ => false,
    }
}

/// Gives its argument, which may be NULL as far as anybody knows.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Nullable {
    signature: Signature,
}

impl Nullable {
    pub(crate) fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Nullable {
    fn name(&self) -> &str {
        "nullable"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        internal_err!("the type of nullable() is that of its argument")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match args.arg_fields {
            [field] => Ok(Arc::new(field.as_ref().clone().with_nullable(true))),
            _ => internal_err!("nullable() has one argument"),
        }
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.pop() {
            Some(value) => Ok(value),
            None => exec_err!("nullable() has one argument"),
        }
    }
}
