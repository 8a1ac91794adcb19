//! Pieces of statements, as queries.
//!
//! Purpose: what INSERT, UPDATE, DELETE and MERGE have in common when they are turned into a query: the
//! table that they change, its columns, and a query to be filled in. Invariant: names are those that
//! the statement uses, so that a message about them is understood.

use datafusion::common::Column;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    Expr as PlanExpr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast,
};
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, BinaryOperator, CaseWhen, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SetExpr, Statement, TableAlias, TableFactor, TableWithJoins, Value, With,
};
use datafusion::sql::sqlparser::parser::Parser;
use netabase_store::{Error, ErrorKind, TableDef};

use crate::blame::{Blame, What};
use crate::catalog::{CATALOG, KEYED_SCHEMA};
use crate::error::{error_from_datafusion, invalid};
use crate::exact;
use crate::near::hint;
use crate::provenance;
use crate::scoped;
use crate::statement::ident_of;
use crate::syntax::{self, NetabaseDialect, from_of, outside_queries};

/// The table that a statement changes, as it is named there.
pub(crate) struct Changed {
    /// Its name.
    pub(crate) name: ObjectName,
    /// How its columns are qualified.
    qualifier: Vec<Ident>,
    from: TableWithJoins,
}

impl Changed {
    /// Fails unless it is a table, perhaps with an alias, and perhaps joined to others.
    pub(crate) fn of(from: TableWithJoins) -> Result<Self, Error> {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = &from.relation
        else {
            return Err(invalid(format!(
                "{} cannot be changed: name a table",
                from.relation
            )));
        };
        let parts = || name.0.iter().filter_map(|part| part.as_ident().cloned());
        let qualifier = match alias {
            Some(alias) if alias.columns.is_empty() => vec![alias.name.clone()],
            Some(alias) => {
                return Err(invalid(format!(
                    "the columns of {name} cannot be renamed here: write AS {}",
                    alias.name
                )));
            }
            None => parts().collect(),
        };
        Ok(Self {
            name: name.clone(),
            qualifier,
            from,
        })
    }

    /// How the table is called in the statement.
    pub(crate) fn label(&self) -> Ident {
        let last = self.qualifier.last().cloned();
        last.unwrap_or_else(|| quoted("t"))
    }

    /// What to read, so that a hidden key is seen, too, and what a WITH calls so is not.
    pub(crate) fn into_from(self, def: &TableDef, with: Option<&With>) -> TableWithJoins {
        let label = self.label();
        let ctes = with.map_or(&[][..], |with| with.cte_tables.as_slice());
        // The planner looks for a WITH by the whole name, schema and all.
        let parts = self.name.0.iter().filter_map(|part| part.as_ident());
        let written: Vec<String> = parts.map(ident_of).collect();
        let written = written.join(".");
        let mut names = ctes.iter().map(|cte| ident_of(&cte.alias.name));
        let is_of_with = names.any(|cte| cte == written);
        let mut from = self.from;
        if is_of_with || def.primary_key.iter().any(|column| def.is_hidden(*column)) {
            from.relation = keyed(def, label);
        }
        from
    }

    /// A column of it.
    pub(crate) fn column(&self, name: &str) -> Expr {
        let mut parts = self.qualifier.clone();
        parts.push(quoted(name));
        Expr::CompoundIdentifier(parts)
    }
}

/// A table with its hidden key, if it has one. One that nobody sees yet goes by its id.
pub(crate) fn keyed(def: &TableDef, alias: Ident) -> TableFactor {
    let id = def.options.rules.unfinished.then(|| def.id.to_string());
    let parts = [CATALOG, KEYED_SCHEMA, id.as_ref().unwrap_or(&def.name)];
    let parts = parts.map(|part| ObjectNamePart::Identifier(quoted(part)));
    scoped::table(ObjectName(parts.to_vec()), alias)
}

/// The same, alone in FROM.
pub(crate) fn from_keyed(def: &TableDef, alias: Ident) -> TableWithJoins {
    TableWithJoins {
        relation: keyed(def, alias),
        joins: Vec::new(),
    }
}

/// `alias.name`
pub(crate) fn column(alias: &Ident, name: &str) -> Expr {
    Expr::CompoundIdentifier(vec![alias.clone(), quoted(name)])
}

pub(crate) fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// An expression of a query, under a name.
pub(crate) fn item(expr: Expr, name: &str) -> SelectItem {
    SelectItem::ExprWithAlias {
        expr,
        alias: quoted(name),
    }
}

/// A query for these items, all else is empty.
pub(crate) fn select(
    projection: Vec<SelectItem>,
    from: Vec<TableWithJoins>,
    selection: Option<Expr>,
) -> Result<Query, Error> {
    let mut query = match parsed("SELECT 1")? {
        Some(Statement::Query(query)) => *query,
        _ => return Err(no_skeleton()),
    };
    let select = select_of(&mut query)?;
    select.projection = projection;
    select.from = from;
    select.selection = selection;
    Ok(query)
}

fn select_of(query: &mut Query) -> Result<&mut Select, Error> {
    match query.body.as_mut() {
        SetExpr::Select(select) => Ok(select),
        _ => Err(no_skeleton()),
    }
}

fn parsed(text: &str) -> Result<Option<Statement>, Error> {
    let statements = Parser::parse_sql(&NetabaseDialect, text);
    Ok(statements.map_err(|_| no_skeleton())?.pop())
}

fn no_skeleton() -> Error {
    invalid("this statement could not be read as a query: please report it")
}

/// A table under its name, without its joins, of a FROM clause that may have an alias.
pub(crate) fn alias_of(factor: &TableFactor) -> Option<&TableAlias> {
    match factor {
        TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } => alias.as_ref(),
        _ => None,
    }
}

/// A SQL expression of a definition, which means the same whatever the session has set.
pub(crate) fn parse_expr(text: &str) -> Result<Expr, Error> {
    let mut expr = syntax::read_expr(text)?;
    syntax::mend_expr(&mut expr)?;
    Ok(expr)
}

/// `CASE WHEN … THEN … END`, with the conditions in order.
pub(crate) fn case(branches: Vec<(Expr, Expr)>, otherwise: Expr) -> Expr {
    let conditions = branches
        .into_iter()
        .map(|(condition, result)| CaseWhen { condition, result });
    Expr::Case {
        case_token: datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken::empty(
        ),
        end_token: datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        operand: None,
        conditions: conditions.collect(),
        else_result: Some(Box::new(otherwise)),
    }
}

/// `a AND b AND …`; true for none.
pub(crate) fn all_of(conditions: impl IntoIterator<Item = Expr>) -> Expr {
    let all = conditions.into_iter().reduce(|left, right| Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(left))),
        op: BinaryOperator::And,
        right: Box::new(Expr::Nested(Box::new(right))),
    });
    all.unwrap_or_else(|| Expr::Value(Value::Boolean(true).with_empty_span()))
}

/// `left = right`
pub(crate) fn equal(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::Eq,
        right: Box::new(right),
    }
}

pub(crate) fn number(value: usize) -> Expr {
    Expr::Value(Value::Number(value.to_string(), false).with_empty_span())
}

pub(crate) fn null() -> Expr {
    Expr::Value(Value::Null.with_empty_span())
}

/// Whether it is the word DEFAULT.
pub(crate) fn is_default(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(ident)
        if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// What DEFAULT means for a column.
pub(crate) fn default_of(def: &TableDef, column: usize) -> Result<Expr, Error> {
    match def
        .column_rules(column)
        .and_then(|rules| rules.default.as_deref())
    {
        Some(text) => {
            let value = exact::for_column(parse_expr(text)?, def.schema.field(column).data_type());
            Ok(Expr::Nested(Box::new(value)))
        }
        None => Ok(null()),
    }
}

pub(crate) fn is_generated(def: &TableDef, column: usize) -> bool {
    def.column_rules(column)
        .is_some_and(|rules| rules.generated.is_some())
}

/// The columns that a statement may give values for.
pub(crate) fn writable_columns(def: &TableDef) -> Vec<usize> {
    let visible = def.visible_columns().into_iter();
    visible
        .filter(|column| !is_generated(def, *column))
        .collect()
}

/// The position of a column by its name. Fails with `NotFound`.
pub(crate) fn column_of(def: &TableDef, name: &str) -> Result<usize, Error> {
    def.column_named(name).ok_or_else(|| {
        let missing = || {
            let known = def.visible_columns();
            let text = format!(
                "column \"{name}\" does not exist in table \"{}\"{}",
                def.name,
                hint(name, known.iter().map(|column| def.column_name(*column)))
            );
            Blame::error(What::Name, name, (ErrorKind::NotFound, text))
        };
        provenance::unwritable(def, name).unwrap_or_else(missing)
    })
}

/// The column that a list of an INSERT names.
pub(crate) fn listed_column(def: &TableDef, name: &ObjectName) -> Result<usize, Error> {
    let ident = match name.0.as_slice() {
        [part] => part.as_ident(),
        _ => None,
    };
    let ident = ident.ok_or_else(|| invalid(format!("{name} is not the name of a column")))?;
    column_of(def, &ident_of(ident))
}

/// Values for columns, by their positions: those of SET. Fails with `NotFound` for unknown columns,
/// and with `InvalidInput` for columns of the primary key and those that are assigned twice.
pub(crate) fn assigned(
    def: &TableDef,
    assignments: Vec<Assignment>,
) -> Result<Vec<Option<Expr>>, Error> {
    let mut assigned: Vec<Option<Expr>> = vec![None; def.schema.fields().len()];
    for assignment in assignments {
        for (name, value) in single(assignment)? {
            let column = assignable(def, &name)?;
            let is_default = is_default(&value);
            if is_generated(def, column) {
                if is_default {
                    continue;
                }
                return Err(generated_error(def, column));
            }
            let value = match is_default {
                true => default_of(def, column)?,
                false => exact::for_column(value, def.schema.field(column).data_type()),
            };
            if let Some(place) = assigned.get_mut(column)
                && place.replace(value).is_some()
            {
                return Err(invalid(format!("column \"{name}\" is set twice")));
            }
        }
    }
    Ok(assigned)
}

pub(crate) fn generated_error(def: &TableDef, column: usize) -> Error {
    let name = def.column_name(column);
    invalid(format!(
        "column \"{name}\" of table \"{}\" is generated: leave it out, or write DEFAULT",
        def.name
    ))
}

/// An assignment, or those of `(a, b) = (1, 2)`, by the names of their columns.
fn single(assignment: Assignment) -> Result<Vec<(String, Expr)>, Error> {
    let pairs = match (assignment.target, assignment.value) {
        (AssignmentTarget::ColumnName(name), value) => vec![(name, value)],
        (AssignmentTarget::Tuple(names), Expr::Subquery(query)) => {
            let columns = row_columns(names.len());
            let from = from_of(&query, &columns);
            let value = |column: &String| parse_expr(&format!("(SELECT \"{column}\" FROM {from})"));
            let values: Vec<Expr> = columns.iter().map(value).collect::<Result<_, _>>()?;
            names.into_iter().zip(values).collect()
        }
        (AssignmentTarget::Tuple(names), value) => match values_of(&value, names.len()) {
            Some(values) => names.into_iter().zip(values).collect(),
            None => {
                return Err(invalid(format!(
                    "SET of {} columns at once takes as many values, not {value}: write a = …, b = …",
                    names.len()
                )));
            }
        },
    };
    let named = |(name, value): (ObjectName, Expr)| match name.0.as_slice() {
        [part] => match part.as_ident() {
            Some(ident) => Ok((ident_of(ident), value)),
            None => Err(invalid(format!("{name} is not the name of a column"))),
        },
        _ => Err(invalid(format!(
            "SET {name}: columns of the changed table alone can be set; leave the table's name out"
        ))),
    };
    pairs.into_iter().map(named).collect()
}

/// What the columns are called of a query that gives several.
pub(super) fn row_columns(count: usize) -> Vec<String> {
    (1..=count).map(|nth| format!("__c{nth}")).collect()
}

/// The values of a row, if they are so many: `(1, 2)`, `ROW(1, 2)`, and `(1)` for one.
fn values_of(row: &Expr, count: usize) -> Option<Vec<Expr>> {
    let values = match row {
        Expr::Tuple(values) => values.clone(),
        Expr::Nested(value) if count == 1 => vec![value.as_ref().clone()],
        Expr::Function(function) if is_row(function) => {
            let FunctionArguments::List(list) = &function.args else {
                return None;
            };
            let values = list.args.iter().map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value.clone()),
                _ => None,
            });
            values.collect::<Option<_>>()?
        }
        _ => return None,
    };
    (values.len() == count).then_some(values)
}

/// Whether a call is that of ROW.
fn is_row(function: &Function) -> bool {
    match function.name.0.as_slice() {
        [part] => part
            .as_ident()
            .is_some_and(|name| name.quote_style.is_none() && ident_of(name) == "row"),
        _ => false,
    }
}

fn assignable(def: &TableDef, name: &str) -> Result<usize, Error> {
    let column = column_of(def, name)?;
    if def.primary_key.contains(&column) {
        return Err(invalid(format!(
            "column \"{name}\" is part of the primary key of table \"{}\" and cannot be updated: a \
             row with another key is another row; INSERT it, and DELETE the old one",
            def.name
        )));
    }
    Ok(column)
}

/// Says of which table the columns are that an expression names without one, where two tables have
/// them; subqueries have names of their own.
pub(crate) fn qualify(def: &TableDef, label: &Ident, expr: &mut Expr) {
    outside_queries(expr, |expr| {
        if let Expr::Identifier(ident) = expr
            && def.column_named(&ident_of(ident)).is_some()
        {
            *expr = Expr::CompoundIdentifier(vec![label.clone(), ident.clone()]);
        }
    });
}

/// The columns of a query, cast to the types of these columns of the table. Fails with
/// `InvalidInput` if they are not as many, or cannot be cast.
pub(crate) fn as_rows(
    def: &TableDef,
    query: LogicalPlan,
    given: &[usize],
) -> Result<LogicalPlan, Error> {
    let schema = query.schema().clone();
    if schema.fields().len() != given.len() {
        return Err(invalid(format!(
            "{} columns of table \"{}\" are to be written, but the query gives {}",
            given.len(),
            def.name,
            schema.fields().len()
        )));
    }
    let fields = def.schema.fields();
    // The types that the parts of a union have together are found out later.
    let unsure = query
        .exists(|node| Ok(matches!(node, LogicalPlan::Union(_))))
        .unwrap_or(true);
    let row = given.iter().enumerate().filter_map(|(place, column)| {
        let value = PlanExpr::Column(Column::from(schema.qualified_field(place)));
        let to = fields.get(*column)?.data_type();
        let sure = value.clone().cast_to(to, &schema);
        let value = sure.map(|sure| match unsure {
            true => cast(value, to.clone()),
            false => sure,
        });
        Some(value.map(|value| value.alias(def.column_name(*column))))
    });
    let row = row.collect::<Result<Vec<_>, DataFusionError>>();
    row.and_then(|row| LogicalPlanBuilder::from(query).project(row)?.build())
        .map_err(error_from_datafusion)
}
