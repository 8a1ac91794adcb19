//! What holds for the rows of a table: defaults, generated columns, checks, keys that nobody gave.
//!
//! Idea: a statement brings some of the columns; [`RowRules::complete`] makes whole rows of them,
//! batch by batch, whichever statement it is. Invariants: a generated column holds its expression,
//! whatever a row brings; a row that fails a check is never written. Non-goal: NOT NULL and keys
//! that come twice, which are looked at for all rows of a statement together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryBuilder, RecordBatch,
    RecordBatchOptions, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::sql::sqlparser::ast::ExprWithAlias;
use netabase_store::{Error, TableDef};

use super::rewrite::parse_expr;
use crate::checked::checked_arithmetic;
use crate::declared;
use crate::engine::Engine;
use crate::error::{error_from_datafusion, error_to_datafusion, from_arrow, invalid};
use crate::exact;
use crate::functions::text_casts;
use crate::mended::{mended_alone, read_alone};
use crate::sql_type::type_name;

/// The hidden key of a table that was made without one.
pub(crate) const ROW_ID: &str = "_rowid";
/// Bytes of a hidden key: a time, a random number, and a count.
pub(crate) const ROW_ID_BYTES: i32 = 24;

/// Makes whole rows.
pub(crate) struct RowRules {
    def: Arc<TableDef>,
    /// All columns under the names that they have now; any may be NULL.
    schema: SchemaRef,
    defaults: Vec<Option<Arc<dyn PhysicalExpr>>>,
    generated: Vec<(usize, Arc<dyn PhysicalExpr>)>,
    checks: Vec<(String, Arc<dyn PhysicalExpr>)>,
    ids: RowIds,
}

impl RowRules {
    /// The rules of a table, ready to be applied. Fails with `InvalidInput` if one of them cannot be
    /// planned.
    pub(crate) fn of(engine: &Engine, def: &Arc<TableDef>) -> Result<Self, Error> {
        let schema = named_schema(def);
        let mut rules = Self {
            def: Arc::clone(def),
            defaults: vec![None; schema.fields().len()],
            schema,
            generated: Vec::new(),
            checks: Vec::new(),
            ids: RowIds::new(engine.store().clock().now().0),
        };
        if !def.options.rules.columns.is_empty() || !def.options.rules.checks.is_empty() {
            let mut state = engine.context().state();
            state.mark_start_execution();
            rules.plan(&state).map_err(error_from_datafusion)?;
        }
        Ok(rules)
    }

    fn plan(&mut self, state: &SessionState) -> Result<(), DataFusionError> {
        let all = DFSchema::try_from(Arc::clone(&self.schema))?;
        let none = DFSchema::empty();
        for column in 0..self.schema.fields().len() {
            let Some(rules) = self.def.column_rules(column) else {
                break;
            };
            let target = self.schema.field(column).data_type();
            if let Some(text) = &rules.default {
                let default = planned(state, text, &none, target)?;
                if let Some(place) = self.defaults.get_mut(column) {
                    *place = Some(default);
                }
            }
            if let Some(text) = &rules.generated {
                let value = planned(state, text, &all, target)?;
                self.generated.push((column, value));
            }
        }
        for check in &self.def.options.rules.checks {
            let condition = planned(state, &check.condition, &all, &DataType::Boolean)?;
            self.checks.push((check.name.clone(), condition));
        }
        Ok(())
    }

    /// Whole rows out of rows that have these columns of the table, in this order, with the types of
    /// the table; values are brought into the form in which they are kept before anything is computed
    /// from them. Fails with `InvalidInput` for a row that a check or a declared type refuses, and with
    /// whatever an expression fails with.
    pub(crate) fn complete(
        &self,
        given: &[usize],
        rows: &RecordBatch,
    ) -> Result<RecordBatch, Error> {
        let kept = declared::checked_given(&self.def, given, rows.clone(), |_| String::new())?;
        self.complete_kept(given, &kept)
    }

    /// The same for rows whose values have the form in which they are kept.
    pub(crate) fn complete_kept(
        &self,
        given: &[usize],
        rows: &RecordBatch,
    ) -> Result<RecordBatch, Error> {
        let count = rows.num_rows();
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for column in 0..self.schema.fields().len() {
            let place = given.iter().position(|given| *given == column);
            columns.push(match place.and_then(|place| rows.columns().get(place)) {
                Some(values) => Arc::clone(values),
                None => self.missing(column, count)?,
            });
        }
        let defaults = |column: usize| !given.contains(&column);
        let mut whole = self.kept(defaults, self.batch(columns, count)?)?;
        if !self.generated.is_empty() {
            let mut columns = whole.columns().to_vec();
            for (column, value) in &self.generated {
                let values = evaluated(value, &whole).map_err(error_from_datafusion)?;
                if let Some(place) = columns.get_mut(*column) {
                    *place = values;
                }
            }
            let generated = |column| self.generated.iter().any(|(other, _)| *other == column);
            whole = self.kept(generated, self.batch(columns, count)?)?;
        }
        for (name, condition) in &self.checks {
            self.check(name, condition, &whole)?;
        }
        Ok(whole)
    }

    /// Whole rows with some of their columns in the form in which they are kept.
    fn kept(
        &self,
        chosen: impl Fn(usize) -> bool,
        whole: RecordBatch,
    ) -> Result<RecordBatch, Error> {
        let schema = self.def.schema.as_ref();
        declared::checked_at(&self.def, (schema, chosen), whole, |_| String::new())
    }

    fn batch(&self, columns: Vec<ArrayRef>, count: usize) -> Result<RecordBatch, Error> {
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(from_arrow)
    }

    /// Values of a column that the rows do not bring.
    fn missing(&self, column: usize, count: usize) -> Result<ArrayRef, Error> {
        let field = self.def.schema.field(column);
        if let Some(Some(default)) = self.defaults.get(column) {
            let options = RecordBatchOptions::new().with_row_count(Some(count));
            let nothing =
                RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
                    .map_err(from_arrow)?;
            return evaluated(default, &nothing).map_err(error_from_datafusion);
        }
        if self.def.is_hidden(column) {
            if self.def.primary_key.contains(&column) {
                return self.ids.next(count);
            }
            if !field.is_nullable() {
                // The column was dropped: nobody sees the value.
                let value = ScalarValue::new_default(field.data_type());
                return value
                    .and_then(|value| value.to_array_of_size(count))
                    .map_err(error_from_datafusion);
            }
        }
        Ok(new_null_array(field.data_type(), count))
    }

    fn check(
        &self,
        name: &str,
        condition: &Arc<dyn PhysicalExpr>,
        rows: &RecordBatch,
    ) -> Result<(), Error> {
        let met = evaluated(condition, rows).map_err(error_from_datafusion)?;
        let met: &BooleanArray = met.as_boolean();
        let failed = (0..met.len()).find(|row| met.is_valid(*row) && !met.value(*row));
        let Some(row) = failed else { return Ok(()) };
        let known = &self.def.options.rules.checks;
        let text = known.iter().find(|check| check.name == name);
        Err(invalid(format!(
            "the row {} of table \"{}\" violates check \"{name}\": {}",
            described(&self.def, rows, row),
            self.def.name,
            text.map_or("", |check| check.condition.as_str()),
        )))
    }
}

/// Fails with `InvalidInput` if an expression of a definition is not allowed where it is: one that
/// aggregates, one that gives another value each time where it must not, or one over columns that
/// are generated themselves.
pub(crate) fn check_expressions(engine: &Engine, def: &TableDef) -> Result<(), Error> {
    let state = engine.context().state();
    let all = DFSchema::try_from(named_schema(def)).map_err(error_from_datafusion)?;
    let none = DFSchema::empty();
    let plan = |text: &str, schema: &DFSchema| {
        let expr = logical(&state, text, schema, None);
        expr.map_err(error_from_datafusion)
    };
    for (column, rules) in def.options.rules.columns.iter().enumerate() {
        let name = def.column_name(column);
        if let Some(text) = &rules.default {
            let what = format!("DEFAULT of column \"{name}\"");
            check_expression(&what, &plan(text, &none)?, true)?;
        }
        if let Some(text) = &rules.generated {
            let what = format!("generated column \"{name}\"");
            let expr = plan(text, &all)?;
            check_expression(&what, &expr, false)?;
            for used in expr.column_refs() {
                let used = def.column_named(&used.name);
                let generated = used.and_then(|used| def.column_rules(used));
                if generated.is_none_or(|rules| rules.generated.is_none()) && used.is_some() {
                    continue;
                }
                return Err(invalid(format!(
                    "{what} uses a generated or hidden column: write its expression instead"
                )));
            }
        }
    }
    for check in &def.options.rules.checks {
        let what = format!("check \"{}\"", check.name);
        let condition = plan(&check.condition, &all)?;
        check_expression(&what, &condition, false)?;
        // What has no type yet fails where the rules are planned.
        match condition.get_type(&all) {
            Ok(DataType::Boolean | DataType::Null) | Err(_) => {}
            Ok(other) => {
                return Err(invalid(format!(
                    "{what} is {}, and not BOOLEAN: write a condition, as in a <> 0",
                    type_name(&other)
                )));
            }
        }
    }
    Ok(())
}

fn check_expression(what: &str, expr: &Expr, may_change: bool) -> Result<(), Error> {
    let mut wrong = None;
    // The closure never fails, so the traversal does not either.
    let _ = expr.apply(|expr| {
        wrong = match expr {
            Expr::AggregateFunction(_) => Some("aggregates"),
            Expr::WindowFunction(_) => Some("window functions"),
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) => Some("subqueries"),
            Expr::Placeholder(_) => Some("parameters"),
            Expr::ScalarFunction(function)
                if !may_change && function.func.signature().volatility != Volatility::Immutable =>
            {
                Some("functions whose value changes from call to call")
            }
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    });
    match wrong {
        Some(wrong) => Err(invalid(format!(
            "{what} cannot have {wrong}: it is computed from one row alone"
        ))),
        None => Ok(()),
    }
}

/// A row's key, for an error; the whole of a row whose key is hidden.
fn described(def: &TableDef, rows: &RecordBatch, row: usize) -> String {
    let hidden = def.primary_key.iter().any(|column| def.is_hidden(*column));
    let columns = match hidden {
        true => def.visible_columns(),
        false => def.primary_key.clone(),
    };
    let values = columns.iter().filter_map(|column| {
        let value = rows.columns().get(*column)?.slice(row, 1);
        let text = cast(&value, &DataType::Utf8).ok()?;
        let text = text.as_string_opt::<i32>()?;
        let value = if text.is_null(0) {
            "NULL"
        } else {
            text.value(0)
        };
        Some(format!("{} = {value}", def.column_name(*column)))
    });
    format!("({})", values.collect::<Vec<_>>().join(", "))
}

/// Every column under the name that it has now, and nullable. Those that were dropped have names that
/// nobody can give, for another column may have theirs by now.
pub(crate) fn named_schema(def: &TableDef) -> SchemaRef {
    let fields = def.schema.fields().iter().enumerate();
    let fields = fields.map(|(column, field)| {
        let name = match def.is_hidden(column) && !def.primary_key.contains(&column) {
            true => format!("\u{1}{column}"),
            false => def.column_name(column).to_owned(),
        };
        Field::new(name, field.data_type().clone(), true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A SQL expression of a definition over these columns.
fn logical(
    state: &SessionState,
    text: &str,
    schema: &DFSchema,
    target: Option<&DataType>,
) -> Result<Expr, DataFusionError> {
    let expr = parse_expr(text).map_err(error_to_datafusion)?;
    let expr = match target {
        Some(target) => exact::for_column(expr, target),
        None => expr,
    };
    let expr = ExprWithAlias { expr, alias: None };
    state.create_logical_expr_from_sql_expr(expr, schema)
}

/// A SQL expression over these columns, cast to a type, with the time of the statement in it.
fn planned(
    state: &SessionState,
    text: &str,
    schema: &DFSchema,
    target: &DataType,
) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    let expr = logical(state, text, schema, Some(target))?.cast_to(target, schema)?;
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::clone(state.config_options()))
        .with_query_execution_start_time(state.execution_props().query_execution_start_time)
        .build();
    let simplifier = ExprSimplifier::new(context);
    // The rules that a statement is analyzed with do not see expressions that are planned alone.
    let expr = read_alone(expr, schema)?;
    let expr = text_casts(simplifier.coerce(expr, schema)?, schema)?;
    let expr = checked_arithmetic(expr, schema)?;
    let expr = mended_alone(expr, schema)?;
    let expr = simplifier.simplify(expr)?;
    state.create_physical_expr(expr, schema)
}

fn evaluated(
    expr: &Arc<dyn PhysicalExpr>,
    rows: &RecordBatch,
) -> Result<ArrayRef, DataFusionError> {
    expr.evaluate(rows)?.into_array(rows.num_rows())
}

/// Hidden keys that no other statement, on whichever peer, makes: the time of the statement, 96 random
/// bits, and a count, so that rows of one statement lie together.
struct RowIds {
    time: u64,
    random: [u8; 12],
    next: AtomicU64,
}

impl RowIds {
    fn new(time: u64) -> Self {
        Self {
            time,
            random: rand::random(),
            next: AtomicU64::new(0),
        }
    }

    fn next(&self, count: usize) -> Result<ArrayRef, Error> {
        let first = self.next.fetch_add(count as u64, Ordering::Relaxed);
        let mut ids = FixedSizeBinaryBuilder::with_capacity(count, ROW_ID_BYTES);
        for id in first..first + count as u64 {
            let id = u32::try_from(id)
                .map_err(|_| invalid("a statement writes more than four thousand million rows"))?;
            let mut bytes = [0; ROW_ID_BYTES as usize];
            let (time, rest) = bytes.split_at_mut(8);
            let (random, number) = rest.split_at_mut(12);
            time.copy_from_slice(&self.time.to_be_bytes());
            random.copy_from_slice(&self.random);
            number.copy_from_slice(&id.to_be_bytes());
            ids.append_value(bytes).map_err(from_arrow)?;
        }
        Ok(Arc::new(ids.finish()))
    }
}
