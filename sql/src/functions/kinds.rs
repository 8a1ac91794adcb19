//! Columns of `JSON`, `UUID` and `VARCHAR(n)`, which queries see as texts, where it matters what they are.
//!
//! Idea: `typeof(doc)` and `json_build_object('doc', doc)` depend on what a column was declared as, which types do not
//! tell. It is looked up in the table that the column comes from, along the plan. Invariant: what is found is right;
//! where a column passes something that may change it, such as UNION, it is a text.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Distinct, Expr, JoinType, LogicalPlan, cast, lit};
use datafusion::optimizer::AnalyzerRule;

use super::json::{AS_JSON, takes_json};
use super::type_of::TYPE_OF;
use crate::by_type::in_any_expression;
use crate::provider::ShardTable;

/// Tells functions what columns were declared as. See the module.
#[derive(Debug)]
pub(crate) struct KnownKinds;

impl AnalyzerRule for KnownKinds {
    fn name(&self) -> &str {
        "known_kinds"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(tell_in_node)?.data)
    }
}

fn tell_in_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if !in_any_expression(&plan, asks_for_kinds)? {
        return Ok(Transformed::no(plan));
    }
    let inputs: Vec<LogicalPlan> = plan.inputs().into_iter().cloned().collect();
    let names = NamePreserver::new(&plan);
    let told = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let told = expr.transform_up(|expr| Ok(tell(expr, &inputs)))?;
        Ok(told.update_data(|expr| name.restore(expr)))
    })?;
    told.map_data(LogicalPlan::recompute_schema)
}

fn asks_for_kinds(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) => call.name() == TYPE_OF.name || takes_json(call.name()),
        _ => false,
    }
}

fn tell(expr: Expr, inputs: &[LogicalPlan]) -> Transformed<Expr> {
    if !asks_for_kinds(&expr) {
        return Transformed::no(expr);
    }
    let Expr::ScalarFunction(mut call) = expr else {
        return Transformed::no(expr);
    };
    let kind = |expr: &Expr| inputs.iter().find_map(|input| through(expr, input));
    if call.name() == TYPE_OF.name {
        return match call.args.first().and_then(kind) {
            Some(kind) => Transformed::yes(lit(kind)),
            None => Transformed::no(Expr::ScalarFunction(call)),
        };
    }
    let marked = |arg: Expr| match kind(&arg).as_deref() {
        Some("JSON") => {
            let function = Arc::new(AS_JSON.function());
            let text = cast(arg, DataType::Utf8);
            Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![text]))
        }
        _ => arg,
    };
    call.args = call.args.into_iter().map(marked).collect();
    Transformed::yes(Expr::ScalarFunction(call))
}

/// What an expression over a plan was declared as, if it is a column of a table.
fn through(expr: &Expr, input: &LogicalPlan) -> Option<String> {
    match expr {
        Expr::Column(column) => kind_of(input, column),
        Expr::Alias(alias) => through(&alias.expr, input),
        // Of the same values, in another form.
        Expr::Cast(of) if matches!(of.field.data_type(), DataType::Utf8 | DataType::Utf8View) => {
            through(&of.expr, input).filter(|kind| kind == "JSON")
        }
        _ => None,
    }
}

fn kind_of(plan: &LogicalPlan, column: &Column) -> Option<String> {
    let place = plan.schema().maybe_index_of_column(column)?;
    kind_at(plan, place)
}

fn kind_at(plan: &LogicalPlan, place: usize) -> Option<String> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source).ok()?;
            let table = provider.downcast_ref::<ShardTable>()?;
            table.kind(scan.projected_schema.field(place).name())
        }
        LogicalPlan::SubqueryAlias(of) => kind_at(&of.input, place),
        LogicalPlan::Filter(of) => kind_at(&of.input, place),
        LogicalPlan::Sort(of) => kind_at(&of.input, place),
        LogicalPlan::Limit(of) => kind_at(&of.input, place),
        LogicalPlan::Repartition(of) => kind_at(&of.input, place),
        LogicalPlan::Distinct(Distinct::All(input)) => kind_at(input, place),
        LogicalPlan::Projection(of) => through(of.expr.get(place)?, &of.input),
        LogicalPlan::Aggregate(of) => through(of.group_expr.get(place)?, &of.input),
        LogicalPlan::Window(of) => match place < of.input.schema().fields().len() {
            true => kind_at(&of.input, place),
            false => None,
        },
        LogicalPlan::Join(of) => {
            let left = match of.join_type {
                JoinType::RightSemi | JoinType::RightAnti => 0,
                _ => of.left.schema().fields().len(),
            };
            match place.checked_sub(left) {
                None => kind_at(&of.left, place),
                Some(place) if place < of.right.schema().fields().len() => {
                    kind_at(&of.right, place)
                }
                Some(_) => None,
            }
        }
        _ => None,
    }
}
