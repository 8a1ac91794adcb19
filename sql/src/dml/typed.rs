//! The values that a query gives for columns of a table, in the types of that table.
//!
//! Purpose: of several values that a row may get, each is cast by itself, where the planner would bring
//! them to a type that they have in common, and lose digits on the way.
//! Invariant: a value that its cast would change is refused, as by INSERT. Non-goal: what the values
//! are, which the query says.

use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Case, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use netabase_store::{Error, TableDef};

use super::assign::check_value;
use crate::error::{error_from_datafusion, invalid};

/// The columns of a query by their names.
pub(super) struct Typed<'a> {
    def: &'a TableDef,
    query: &'a LogicalPlan,
}

impl<'a> Typed<'a> {
    pub(super) fn of(def: &'a TableDef, query: &'a LogicalPlan) -> Self {
        Self { def, query }
    }

    /// A column of the query.
    pub(super) fn column(&self, name: &str) -> Result<Expr, Error> {
        let place = self.query.schema().index_of_column_by_name(None, name);
        let place = place.ok_or_else(|| {
            invalid(format!(
                "{name} is not in this statement's query: please report it"
            ))
        })?;
        let column = Column::from(self.query.schema().qualified_field(place));
        Ok(Expr::Column(column))
    }

    /// The same, as a value for a column of the table. Fails with `InvalidInput` if it has no value of
    /// that type, or would be changed.
    pub(super) fn value(&self, place: usize, name: &str) -> Result<Expr, Error> {
        let to = self.def.schema.field(place).data_type();
        let value = self.column(name)?;
        let schema = self.query.schema();
        let from = value.get_type(schema).map_err(error_from_datafusion)?;
        if from == DataType::Null {
            return self.null(place);
        }
        check_value(self.def, place, &from)?;
        value.cast_to(to, schema).map_err(error_from_datafusion)
    }

    /// NULL for a column of the table.
    pub(super) fn null(&self, place: usize) -> Result<Expr, Error> {
        let to = self.def.schema.field(place).data_type();
        let null = ScalarValue::try_new_null(to).map_err(error_from_datafusion)?;
        Ok(Expr::Literal(null, None))
    }

    /// The first of some values whose condition holds.
    pub(super) fn case(branches: Vec<(Expr, Expr)>, otherwise: Expr) -> Expr {
        if branches.is_empty() {
            return otherwise;
        }
        let boxed = |(when, then)| (Box::new(when), Box::new(then));
        Expr::Case(Case {
            expr: None,
            when_then_expr: branches.into_iter().map(boxed).collect(),
            else_expr: Some(Box::new(otherwise)),
        })
    }
}

/// A query over another one.
pub(super) fn projected(query: LogicalPlan, row: Vec<Expr>) -> Result<LogicalPlan, Error> {
    LogicalPlanBuilder::from(query)
        .project(row)
        .and_then(LogicalPlanBuilder::build)
        .map_err(error_from_datafusion)
}
