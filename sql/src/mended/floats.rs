//! DOUBLE and REAL beside DECIMAL.
//!
//! DataFusion brings them together as DECIMAL(30, 15), or (14, 7) for REAL: 1e-20 becomes 0, and 1e20 and NaN fail. So
//! a UNION, `greatest(d, n)` or `d IN (SELECT n …)` loses what a DOUBLE has. As in PostgreSQL and DuckDB they meet as
//! DOUBLE.
//!
//! Idea: before types are looked at, the DECIMAL is cast. Invariant: what has only one of the two stays, and so does a
//! DECIMAL beside numbers that are written out, and what is computed of those: `n BETWEEN 0.06 - 0.01 AND 0.06 + 0.01`
//! takes in 0.07. Non-goals: lists of VALUES, whose types are found out before; arithmetic, which is right.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, JoinConstraint, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, Case, InList, InSubquery, SetComparison};
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, ExprSchemable, Join, LogicalPlan, Projection, Subquery, Union, cast,
};
use datafusion::optimizer::AnalyzerRule;

use super::digits::is_comparison;
use crate::by_type::rewrite_by_type;

/// What DataFusion's DECIMAL of a DOUBLE has room for.
const LARGEST: f64 = 1e15;
const PLACES: usize = 15;

/// Functions whose arguments get one type.
const OF_ONE_TYPE: [&str; 7] = [
    "coalesce",
    "greatest",
    "ifnull",
    "least",
    "make_array",
    "nullif",
    "nvl",
];

/// Lets both meet as DOUBLE. See the module.
#[derive(Debug)]
pub(super) struct Doubles;

impl AnalyzerRule for Doubles {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let mut changed = false;
        let plan = plan.transform_up_with_subqueries(|node| {
            let node = match node {
                LogicalPlan::Union(union) => united(union)?,
                LogicalPlan::Join(join) => joined(join)?,
                node => Transformed::no(node),
            };
            changed |= node.transformed;
            match changed {
                true => node.map_data(LogicalPlan::recompute_schema),
                false => Ok(node),
            }
        })?;
        rewrite_by_type(plan.data, doubles)
    }

    fn name(&self) -> &str {
        "doubles"
    }
}

/// What one of several values is.
#[derive(Debug, Default, Clone, Copy)]
struct Met {
    float: bool,
    decimal: bool,
}

impl Met {
    fn of(types: impl IntoIterator<Item = DataType>) -> Self {
        types.into_iter().fold(Self::default(), |met, kind| Self {
            float: met.float || kind.is_floating(),
            decimal: met.decimal || kind.is_decimal(),
        })
    }

    fn both(self) -> bool {
        self.float && self.decimal
    }
}

/// The same for one expression, whose parts are done.
pub(super) fn doubles(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mut expr = expr;
    let mut changed = false;
    match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => {
            changed |= meet(vec![left, right], schema);
        }
        Expr::Between(Between {
            expr, low, high, ..
        }) => changed |= meet(vec![expr, low, high], schema),
        Expr::InList(InList { expr, list, .. }) => {
            let values = std::iter::once(expr.as_mut()).chain(list);
            changed |= meet(values.collect(), schema);
        }
        Expr::Case(Case {
            expr,
            when_then_expr,
            else_expr,
        }) => {
            let (mut whens, mut thens) = (Vec::new(), Vec::new());
            for (when, then) in when_then_expr {
                whens.push(when.as_mut());
                thens.push(then.as_mut());
            }
            thens.extend(else_expr.as_deref_mut());
            changed |= meet(thens, schema);
            if let Some(asked) = expr {
                whens.push(asked.as_mut());
                changed |= meet(whens, schema);
            }
        }
        Expr::ScalarFunction(call) if OF_ONE_TYPE.contains(&call.func.name()) => {
            changed |= meet(call.args.iter_mut().collect(), schema);
        }
        Expr::InSubquery(InSubquery { expr, subquery, .. }) => {
            changed |= meet_query(expr, subquery, schema)?;
        }
        Expr::SetComparison(SetComparison { expr, subquery, .. }) => {
            changed |= meet_query(expr, subquery, schema)?;
        }
        _ => {}
    }
    Ok(Transformed::new_transformed(expr, changed))
}

fn type_of(expr: &Expr, schema: &DFSchema) -> DataType {
    expr.get_type(schema).unwrap_or(DataType::Null)
}

/// Casts the DECIMAL values, if there are floats as well; whether there are.
fn meet(values: Vec<&mut Expr>, schema: &DFSchema) -> bool {
    let types: Vec<DataType> = values.iter().map(|value| type_of(value, schema)).collect();
    let weighed = values.iter().zip(&types);
    let weighed = weighed.filter(|(value, kind)| kind.is_decimal() || !is_short(value, schema));
    if !Met::of(weighed.map(|(_, kind)| kind.clone())).both() {
        return false;
    }
    for (value, kind) in values.into_iter().zip(types) {
        if kind.is_decimal() {
            make_double(value);
        }
    }
    true
}

/// What does not make a DECIMAL beside it a DOUBLE: no float, or computed of numbers that are written out, of which a
/// DECIMAL has all digits.
fn is_short(value: &Expr, schema: &DFSchema) -> bool {
    let all = |values: &[Expr]| values.iter().all(|value| is_short(value, schema));
    match value {
        Expr::Literal(ScalarValue::Float64(number), _) => number.is_none_or(has_place),
        Expr::Alias(alias) => is_short(&alias.expr, schema),
        Expr::Negative(inner) => is_short(inner, schema),
        Expr::BinaryExpr(BinaryExpr { left, right, .. }) => {
            is_short(left, schema) && is_short(right, schema)
        }
        Expr::Case(case) => {
            let thens = case.when_then_expr.iter().map(|(_, then)| then);
            let mut results = thens.chain(&case.else_expr);
            results.all(|result| is_short(result, schema))
        }
        Expr::ScalarFunction(call) if OF_ONE_TYPE.contains(&call.func.name()) => all(&call.args),
        Expr::ScalarSubquery(query) => gives_short(&query.subquery, 0),
        value => !type_of(value, schema).is_floating(),
    }
}

/// Whether DataFusion's DECIMAL of a DOUBLE has all of a number.
fn has_place(number: f64) -> bool {
    let digits = number.to_string();
    let behind = digits.split_once('.').map_or(0, |(_, behind)| behind.len());
    number.abs() < LARGEST && behind <= PLACES
}

/// The same as [`is_short`] for a column of a query.
fn gives_short(plan: &LogicalPlan, place: usize) -> bool {
    match plan {
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            let given = expr.get(place);
            given.is_some_and(|given| is_short(given, input.schema()))
        }
        LogicalPlan::Union(union) => union.inputs.iter().all(|input| gives_short(input, place)),
        LogicalPlan::Distinct(Distinct::All(_))
        | LogicalPlan::Filter(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::SubqueryAlias(_) => {
            let inputs = plan.inputs();
            inputs.iter().all(|input| gives_short(input, place))
        }
        plan => {
            let fields = plan.schema().fields();
            let field = fields.get(place);
            field.is_some_and(|field| !field.data_type().is_floating())
        }
    }
}

fn make_double(value: &mut Expr) {
    let decimal = std::mem::take(value);
    *value = cast(decimal, DataType::Float64);
}

/// The same for a value and what a query gives.
fn meet_query(value: &mut Expr, subquery: &mut Subquery, schema: &DFSchema) -> Result<bool> {
    let own = type_of(value, schema);
    let [field] = subquery.subquery.schema().fields().as_ref() else {
        return Ok(false);
    };
    let given = field.data_type().clone();
    if !Met::of([own.clone(), given]).both()
        || is_short(value, schema) && gives_short(&subquery.subquery, 0)
    {
        return Ok(false);
    }
    match own.is_decimal() {
        true => make_double(value),
        false => subquery.subquery = with_doubles(&subquery.subquery, |_| true)?,
    }
    Ok(true)
}

/// A plan of which some columns are DOUBLE where they were DECIMAL.
fn with_doubles(
    plan: &Arc<LogicalPlan>,
    is_meant: impl Fn(usize) -> bool,
) -> Result<Arc<LogicalPlan>> {
    let columns = plan.schema().iter().enumerate();
    let columns = columns.map(|(place, (qualifier, field))| {
        let column = Expr::from((qualifier, field));
        match is_meant(place) && field.data_type().is_decimal() {
            true => cast(column, DataType::Float64)
                .alias_qualified(qualifier.cloned(), field.name().clone()),
            false => column,
        }
    });
    let columns = columns.collect();
    let projection = Projection::try_new(columns, Arc::clone(plan))?;
    Ok(Arc::new(LogicalPlan::Projection(projection)))
}

fn united(union: Union) -> Result<Transformed<LogicalPlan>> {
    let width = union.schema.fields().len();
    let kind = |input: &Arc<LogicalPlan>, place: usize| {
        let fields = input.schema().fields();
        fields.get(place).map(|field| field.data_type().clone())
    };
    let meets = |place: usize| {
        let kinds = union.inputs.iter().filter_map(|input| kind(input, place));
        let is_float = !union.inputs.iter().all(|input| gives_short(input, place));
        is_float && Met::of(kinds).both()
    };
    let meets: Vec<bool> = (0..width).map(meets).collect();
    if !meets.contains(&true) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let is_met = |place: usize| meets.get(place).copied().unwrap_or(false);
    let inputs = union.inputs.iter();
    let inputs = inputs.map(|input| with_doubles(input, is_met));
    let inputs = inputs.collect::<Result<_>>()?;
    let union = Union::try_new_with_loose_types(inputs)?;
    Ok(Transformed::yes(LogicalPlan::Union(union)))
}

fn joined(mut join: Join) -> Result<Transformed<LogicalPlan>> {
    let mut changed = false;
    for (left, right) in &mut join.on {
        let of_left = type_of(left, join.left.schema());
        let of_right = type_of(right, join.right.schema());
        let is_float = !is_short(left, join.left.schema()) || !is_short(right, join.right.schema());
        if !is_float || !Met::of([of_left.clone(), of_right]).both() {
            continue;
        }
        make_double(match of_left.is_decimal() {
            true => left,
            false => right,
        });
        changed = true;
    }
    if changed {
        // USING is of columns alone; its names are found by now.
        join.join_constraint = JoinConstraint::On;
    }
    Ok(Transformed::new_transformed(
        LogicalPlan::Join(join),
        changed,
    ))
}
