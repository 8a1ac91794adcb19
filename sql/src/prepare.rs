//! `PREPARE`, `EXECUTE` and `DEALLOCATE` in SQL.
//!
//! Idea: a session keeps statements by name, as syntax; one is planned whenever it is executed, so that it
//! sees the tables as they are, or takes the point path. Invariants: a value is given its parameter's type
//! before anything runs, or refused; a session keeps a bounded number of statements.
//!
//! Non-goals: what a program prepares (`prepared.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    ColumnDef, DataType as SqlDataType, Expr, Ident, SelectItem, SetExpr,
    Statement as SqlStatement, UnaryOperator, Value,
};
use netabase_store::{Error, ErrorKind};
use parking_lot::Mutex;

use crate::blame::{Blame, What};
use crate::declared::kind_name;
use crate::dml::select;
use crate::engine::Engine;
use crate::error::{capacity, conflict, error_from_datafusion, invalid};
use crate::near::hint;
use crate::output::Output;
use crate::point::{self, Known, literal_number};
use crate::prepared::{Typed, takes_parameters};
use crate::running::beginning;
use crate::sql_type::sql_type;
use crate::statement::{ident_of, refuse_given};
use crate::syntax::is_deep;
use crate::upkeep::Parsed;

/// Statements that a session may keep.
const MAX_PREPARED: usize = 1000;

/// The statements of a session, by name.
#[derive(Debug, Default)]
pub(crate) struct PreparedStatements(Mutex<BTreeMap<String, Arc<NamedStatement>>>);

/// A statement with a name.
#[derive(Debug)]
pub(crate) struct NamedStatement {
    pub(crate) name: String,
    /// The beginning of its text.
    pub(crate) text: Arc<str>,
    pub(crate) since: SystemTime,
    statement: SqlStatement,
    /// The types that were given; `None` for those that are checked when they are written.
    declared: Vec<Option<DataType>>,
    /// Those that follow from the tables, as they were when they were last looked at.
    typed: Mutex<Arc<Typed>>,
    /// Whether values become columns, and are given their types as INSERT does it.
    assigned: bool,
    known: Known,
}

/// What is known about a parameter.
#[derive(Debug)]
struct Parameter {
    /// Its type, if there is one.
    data_type: Option<DataType>,
    /// Whether the statement that prepared it says the type.
    declared: bool,
    /// Whether its value becomes a column.
    assigned: bool,
}

impl PreparedStatements {
    /// All of them, by name.
    pub(crate) fn list(&self) -> Vec<Arc<NamedStatement>> {
        self.0.lock().values().cloned().collect()
    }

    fn get(&self, name: &str) -> Result<Arc<NamedStatement>, Error> {
        let known = self.0.lock();
        known.get(name).cloned().ok_or_else(|| {
            let hint = hint(name, known.keys());
            let text = match hint.is_empty() {
                true => "; PREPARE it first".to_owned(),
                false => hint,
            };
            let text = format!("there is no prepared statement \"{name}\"{text}");
            Blame::error(What::Name, name, (ErrorKind::InvalidInput, text))
        })
    }

    fn add(&self, statement: NamedStatement) -> Result<(), Error> {
        let mut known = self.0.lock();
        let name = statement.name.clone();
        if known.contains_key(&name) {
            return Err(exists(&name));
        }
        if known.len() >= MAX_PREPARED {
            return Err(capacity(format!(
                "{MAX_PREPARED} statements are prepared: DEALLOCATE some, or ALL of them"
            )));
        }
        known.insert(name, Arc::new(statement));
        Ok(())
    }
}

fn exists(name: &str) -> Error {
    conflict(format!(
        "statement \"{name}\" is prepared already: DEALLOCATE it first, or choose another name"
    ))
}

impl NamedStatement {
    /// The types of its parameters, as SQL writes them; `any` where any will do.
    pub(crate) fn types(&self) -> String {
        let types = self.parameters().into_iter().map(|parameter| {
            let named = parameter.data_type.as_ref().map(type_name);
            named.unwrap_or_else(|| "any".to_owned())
        });
        types.collect::<Vec<_>>().join(", ")
    }

    fn parameters(&self) -> Vec<Parameter> {
        let inferred = Arc::clone(&self.typed.lock().types);
        let count = inferred.len().max(self.declared.len());
        let parameters = (0..count).map(|place| {
            let declared = self.declared.get(place);
            Parameter {
                data_type: declared.or_else(|| inferred.get(place)).cloned().flatten(),
                declared: declared.is_some(),
                assigned: self.assigned,
            }
        });
        parameters.collect()
    }

    /// Finds the types anew if one of the tables is another one by now.
    async fn follow_tables(&self, engine: &Engine) -> Result<(), Error> {
        let typed = Arc::clone(&self.typed.lock());
        if !typed.is_current(engine) {
            let typed = engine.typed_of(self.statement.clone()).await?;
            *self.typed.lock() = Arc::new(typed);
        }
        Ok(())
    }

    /// The values in their parameters' types.
    fn bind(&self, values: Vec<ScalarValue>) -> Result<Vec<ScalarValue>, Error> {
        let parameters = self.parameters();
        if values.len() != parameters.len() {
            return Err(invalid(format!(
                "prepared statement \"{}\" has {} parameters, but {} values are given",
                self.name,
                parameters.len(),
                values.len()
            )));
        }
        let typed = parameters.iter().zip(values).enumerate();
        let typed = typed.map(|(place, (parameter, value))| {
            let fits = parameter.bind(&value);
            fits.ok_or_else(|| {
                let wanted = parameter.data_type.as_ref().map(type_name);
                invalid(format!(
                    "parameter ${} of \"{}\" is {}, and {} is none",
                    place + 1,
                    self.name,
                    wanted.unwrap_or_default(),
                    shown(&value)
                ))
            })
        });
        typed.collect()
    }
}

impl Parameter {
    /// The value in this type; `None` if it has none.
    fn bind(&self, value: &ScalarValue) -> Option<ScalarValue> {
        let Some(wanted) = &self.data_type else {
            return Some(value.clone());
        };
        if value.is_null() {
            return ScalarValue::try_from(wanted).ok();
        }
        let strict = self.declared || self.assigned;
        let is_text = value.data_type().is_string();
        // What is compared keeps its digits.
        let as_it_is = || (!strict).then(|| value.clone());
        if is_text && wanted.is_temporal() && !self.declared {
            return point::lossless(value, wanted);
        }
        if let Some(typed) = point::assignable(value, wanted) {
            let back = typed.cast_to(&value.data_type());
            let reads = value.data_type().is_decimal() && *wanted == DataType::Float64;
            let exact = is_text || reads || back.is_ok_and(|back| back == *value);
            return match strict || exact {
                true => Some(typed),
                false => as_it_is(),
            };
        }
        if is_text && (strict || !wanted.is_decimal()) {
            let cast = value.cast_to(wanted).ok();
            return cast.filter(|value| !value.is_null());
        }
        if strict && value.data_type().is_temporal() && wanted.is_temporal() {
            return value.cast_to(wanted).ok().filter(|value| !value.is_null());
        }
        as_it_is()
    }
}

fn type_name(data_type: &DataType) -> String {
    sql_type(data_type).unwrap_or_else(|| data_type.to_string())
}

fn shown(value: &ScalarValue) -> String {
    match value.data_type().is_string() {
        true => format!("'{value}'"),
        false => value.to_string(),
    }
}

/// `PREPARE name (types) AS statement`.
pub(crate) async fn prepare(
    engine: &Engine,
    (name, types): (&Ident, Vec<SqlDataType>),
    statement: SqlStatement,
) -> Result<Output, Error> {
    let name = ident_of(name);
    if engine.prepared().0.lock().contains_key(&name) {
        return Err(exists(&name));
    }
    if !takes_parameters(&statement) {
        return Err(invalid(
            "PREPARE takes one query, INSERT, UPDATE, DELETE or MERGE, and nothing else",
        ));
    }
    if is_deep(&statement) {
        return Err(invalid(
            "a statement with so many UNIONs cannot be prepared: put the rows into a table, or use VALUES",
        ));
    }
    crate::engine::check_tables(&mut Statement::Statement(Box::new(statement.clone())))?;
    let typed = engine.typed_of(statement.clone()).await?;
    engine.prepared().add(NamedStatement {
        name,
        text: beginning(&statement).into(),
        since: SystemTime::now(),
        declared: declared_types(engine, types)?,
        typed: Mutex::new(Arc::new(typed)),
        assigned: is_list(&statement),
        known: engine.recognise_statement(&statement),
        statement,
    })?;
    Ok(Output::empty())
}

/// Whether it is an INSERT of values, each of which becomes a column.
fn is_list(statement: &SqlStatement) -> bool {
    match statement {
        SqlStatement::Insert(insert) => insert
            .source
            .as_ref()
            .is_some_and(|source| matches!(source.body.as_ref(), SetExpr::Values(_))),
        _ => false,
    }
}

/// The types in a PREPARE; `None` for those whose values are texts that are checked when they are written.
fn declared_types(
    engine: &Engine,
    types: Vec<SqlDataType>,
) -> Result<Vec<Option<DataType>>, Error> {
    let columns = types
        .into_iter()
        .enumerate()
        .map(|(place, data_type)| ColumnDef {
            name: Ident::with_quote('"', format!("${}", place + 1)),
            data_type,
            options: Vec::new(),
        });
    let schema = engine.schema_of_columns(columns.collect());
    let schema = schema.map_err(error_from_datafusion)?;
    let types = schema.fields().iter().map(|field| match kind_name(field) {
        Some(_) => None,
        None => Some(field.data_type().clone()),
    });
    Ok(types.collect())
}

/// `EXECUTE name (values)`.
pub(crate) async fn execute(engine: &Engine, statement: SqlStatement) -> Result<Output, Error> {
    let SqlStatement::Execute {
        name,
        parameters,
        immediate,
        into,
        using,
        output,
        default,
        ..
    } = statement
    else {
        return Err(invalid("this is not EXECUTE"));
    };
    let values_follow = "write EXECUTE name (values)";
    let clauses = [
        ("IMMEDIATE", immediate, values_follow),
        ("INTO", !into.is_empty(), values_follow),
        ("USING", !using.is_empty(), values_follow),
        ("OUTPUT", output, values_follow),
        ("DEFAULT", default, values_follow),
    ];
    refuse_given("EXECUTE … ", &clauses)?;
    let name = name.as_ref().and_then(|name| match name.0.as_slice() {
        [part] => part.as_ident().map(ident_of),
        _ => None,
    });
    let name = name.ok_or_else(|| invalid("EXECUTE needs the name of a prepared statement"))?;
    let prepared = engine.prepared().get(&name)?;
    prepared.follow_tables(engine).await?;
    let values = prepared.bind(values_of(engine, parameters).await?)?;
    if let Some(call) = engine.point_call(&prepared.known, (&prepared.text, &values))
        && let Some(output) = call.run_inside().await?
    {
        return Ok(output);
    }
    let statement = Statement::Statement(Box::new(prepared.statement.clone()));
    let with_values = engine.with_parameters(values);
    let run = Box::pin(with_values.execute(Parsed::Sql(statement))).await;
    // Its places are those in the text of the PREPARE.
    run.map_err(|error| Error::new(error.kind(), error.to_string()))
}

/// What expressions are.
async fn values_of(engine: &Engine, exprs: Vec<Expr>) -> Result<Vec<ScalarValue>, Error> {
    if let Some(values) = exprs.iter().map(literal).collect() {
        return Ok(values);
    }
    let items = exprs.into_iter().enumerate();
    let items = items.map(|(place, expr)| SelectItem::ExprWithAlias {
        expr,
        alias: Ident::with_quote('"', format!("${}", place + 1)),
    });
    let query = select(items.collect(), Vec::new(), None)?;
    let query = SqlStatement::Query(Box::new(query));
    let (plan, deadline) = engine.plan_query(query).await?;
    let rows = crate::query::run(engine, &plan, deadline).await?;
    let batches = rows.collect().await?;
    let row = batches.iter().find(|batch| batch.num_rows() > 0);
    let row = row.ok_or_else(|| invalid("a value of EXECUTE gives no row"))?;
    let values = row
        .columns()
        .iter()
        .map(|column| ScalarValue::try_from_array(column, 0).map_err(error_from_datafusion));
    values.collect()
}

/// The value of a literal, as the planner reads it.
fn literal(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, false) => literal_number(digits),
            Value::SingleQuotedString(text) => Some(ScalarValue::Utf8(Some(text.clone()))),
            Value::Boolean(value) => Some(ScalarValue::Boolean(Some(*value))),
            Value::Null => Some(ScalarValue::Null),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => point::negated(&literal(expr)?),
        _ => None,
    }
}

/// `DEALLOCATE name` and `DEALLOCATE ALL`.
pub(crate) fn deallocate(engine: &Engine, name: &Ident) -> Result<Output, Error> {
    let known = engine.prepared();
    if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all") {
        known.0.lock().clear();
        return Ok(Output::empty());
    }
    let name = ident_of(name);
    known.get(&name)?;
    known.0.lock().remove(&name);
    Ok(Output::empty())
}
