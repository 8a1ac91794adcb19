//! Which values an INSERT may put into a column.
//!
//! Purpose: DataFusion casts whatever it gets to the column's type, which would store `1.5` in an
//! integer column as 1. Casts that silently change a value are refused here; who wants one writes
//! it. A NULL written out for a NOT NULL column is named here too, because DataFusion would only know
//! its position.
//!
//! Non-goal: values that do not fit (overflow, text that is no number) fail in the cast itself.

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{DFSchema, ExprSchema, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable, Limit, LogicalPlan, Sort};
use netabase_store::{Error, TableDef};

use crate::error::{error_from_datafusion, invalid};
use crate::sql_type::type_name;
use crate::write::null_error;

/// Refuses rows for these columns of a table whose values would be changed by a cast.
pub(crate) fn check_assignments(
    def: &TableDef,
    given: &[usize],
    input: &LogicalPlan,
) -> Result<(), Error> {
    let LogicalPlan::Projection(projection) = input else {
        return Ok(());
    };
    let mut source = projection.input.as_ref();
    // What cuts or orders a list.
    while let LogicalPlan::Limit(Limit { input, .. }) | LogicalPlan::Sort(Sort { input, .. }) =
        source
    {
        source = input.as_ref();
    }
    for (&place, expr) in given.iter().zip(&projection.expr) {
        let field = def.schema.fields().get(place);
        let target = field.map_or(&DataType::Null, |field| field.data_type());
        let name = def.column_name(place);
        let Some(column) = source_column(expr) else {
            continue;
        };
        let from = source
            .schema()
            .field_from_column(column)
            .map_err(error_from_datafusion)?;
        check_value(def, place, from.data_type())?;
        if let (LogicalPlan::Values(values), Some(position)) =
            (source, source.schema().maybe_index_of_column(column))
        {
            let listed = || values.values.iter().filter_map(|row| row.get(position));
            if let Some(literal) = listed().filter_map(changed_literal).next() {
                return Err(refused(def, name, target, &literal));
            }
            let needed = field.is_some_and(|field| !field.is_nullable());
            if needed && listed().any(is_null) {
                return Err(null_error(def, name, ""));
            }
        }
    }
    Ok(())
}

/// Refuses values of a type for a column of a table, if the cast to its type would change them.
pub(super) fn check_value(def: &TableDef, column: usize, from: &DataType) -> Result<(), Error> {
    let field = def.schema.fields().get(column);
    let target = field.map_or(&DataType::Null, |field| field.data_type());
    if !changes_values(from, target) {
        return Ok(());
    }
    let what = format!("{} values", type_name(from));
    Err(refused(def, def.column_name(column), target, &what))
}

/// A NULL in VALUES.
fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(cast) => is_null(&cast.expr),
        Expr::Literal(literal, _) => literal.is_null(),
        _ => false,
    }
}

fn refused(def: &TableDef, column: &str, target: &DataType, what: &str) -> Error {
    invalid(format!(
        "column \"{column}\" of table \"{}\" is {}: {what} would be changed; write the CAST you \
         want",
        def.name,
        type_name(target)
    ))
}

/// The column of the source that an output column is made of.
fn source_column(expr: &Expr) -> Option<&datafusion::common::Column> {
    match expr {
        Expr::Alias(alias) => source_column(&alias.expr),
        Expr::Cast(cast) => source_column(&cast.expr),
        Expr::Column(column) => Some(column),
        _ => None,
    }
}

/// What in VALUES its cast to the column's type changes.
fn changed_literal(expr: &Expr) -> Option<String> {
    let Expr::Cast(cast) = expr else { return None };
    let target = cast.field.data_type();
    let value = match cast.expr.as_ref() {
        Expr::Negative(inner) => inner.as_ref(),
        value => value,
    };
    let Expr::Literal(literal, _) = value else {
        // What is computed is told by its type, as in a query.
        let from = cast.expr.get_type(&DFSchema::empty()).ok()?;
        let what = || format!("{} values", type_name(&from));
        return changes_values(&from, target).then(what);
    };
    let whole = match literal {
        ScalarValue::Float64(Some(value)) => value.fract() == 0.0,
        ScalarValue::Float32(Some(value)) => value.fract() == 0.0,
        _ => false,
    };
    let changes = changes_values(&literal.data_type(), target) && !(whole && target.is_integer());
    changes.then(|| format!("the value {literal}"))
}

/// Whether a cast between the types may succeed with another value.
pub(super) fn changes_values(from: &DataType, to: &DataType) -> bool {
    match (items_of(from), items_of(to)) {
        (Some(from), Some(to)) => return changes_values(from.data_type(), to.data_type()),
        (None, Some(to)) => return changes_values(from, to.data_type()),
        _ => {}
    }
    if let (DataType::Struct(from), DataType::Struct(to)) = (from, to) {
        return changes_fields(from, to);
    }
    let fraction = from.is_floating()
        || matches!(
            from,
            DataType::Decimal32(_, scale)
                | DataType::Decimal64(_, scale)
                | DataType::Decimal128(_, scale)
                | DataType::Decimal256(_, scale) if *scale > 0
        );
    let number = |t: &DataType| t.is_numeric();
    (fraction && to.is_integer())
        || (*from == DataType::Boolean && number(to))
        || (number(from) && *to == DataType::Boolean)
        || (number(from) && to.is_temporal())
        || (from.is_temporal() && number(to))
}

/// What a list is made of; the entries of a map.
fn items_of(list: &DataType) -> Option<&FieldRef> {
    match list {
        DataType::List(items)
        | DataType::LargeList(items)
        | DataType::ListView(items)
        | DataType::LargeListView(items)
        | DataType::FixedSizeList(items, _)
        | DataType::Map(items, _) => Some(items),
        _ => None,
    }
}

/// The same for structs, whose fields are cast by name if they have one in common, or else by place.
fn changes_fields(from: &Fields, to: &Fields) -> bool {
    let named = |to: &Field| from.iter().find(|from| from.name() == to.name());
    let by_name = to.iter().any(|to| named(to).is_some());
    to.iter().enumerate().any(|(place, to)| {
        let from = match by_name {
            true => named(to),
            false => from.get(place),
        };
        from.is_some_and(|from| changes_values(from.data_type(), to.data_type()))
    })
}
