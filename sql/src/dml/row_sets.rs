//! `UPDATE … SET (a, b) = (SELECT x, y …)`.
//!
//! Idea: the query gives one struct for each row, which a query around it takes apart. Two queries, one for each column,
//! could give values of different rows, where the order leaves several first. Invariant: the values come from one row.
//! Non-goal: ON CONFLICT and MERGE, where there is a query for each column.

use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, Query, SelectItem, TableFactor, TableWithJoins,
};
use netabase_store::{Error, TableDef};

use super::rewrite::{Changed, item, parse_expr, quoted, row_columns, select};
use crate::statement::{ident_of, table_alias};
use crate::syntax::from_of;

/// What the query inside is called.
const ROWS: &str = "__rows";

/// The queries of a statement that give several columns.
#[derive(Default)]
pub(super) struct RowSets {
    structs: Vec<SelectItem>,
    /// The columns that they give.
    columns: Vec<String>,
}

impl RowSets {
    /// Lets assignments take their values from structs that queries give.
    pub(super) fn take(assignments: &mut [Assignment]) -> Result<Self, Error> {
        let mut sets = Self::default();
        for assignment in assignments {
            let AssignmentTarget::Tuple(names) = &assignment.target else {
                continue;
            };
            let Expr::Subquery(query) = &assignment.value else {
                continue;
            };
            let own = format!("__set{}", sets.structs.len() + 1);
            let fields = row_columns(names.len());
            let pairs: Vec<String> = fields
                .iter()
                .map(|name| format!("'{name}', \"{name}\""))
                .collect();
            let given = format!(
                "(SELECT named_struct({}) FROM {})",
                pairs.join(", "),
                from_of(query, &fields)
            );
            let field = |name: &String| parse_expr(&format!("get_field(\"{own}\", '{name}')"));
            let values = fields.iter().map(field).collect::<Result<_, _>>()?;
            let parts = names.iter().filter_map(|name| name.0.last()?.as_ident());
            sets.columns.extend(parts.map(ident_of));
            sets.structs.push(item(parse_expr(&given)?, &own));
            assignment.value = Expr::Tuple(values);
        }
        Ok(sets)
    }

    /// What is selected for these columns of the changed rows, with the values that were assigned.
    pub(super) fn items(
        self,
        (def, changed): (&TableDef, &Changed),
        (given, values): (&[usize], &mut [Option<Expr>]),
    ) -> Items {
        let is_apart = !self.structs.is_empty();
        let mut inner = self.structs;
        let mut outer = Vec::new();
        for &column in given {
            let name = def.column_name(column);
            let value = values.get_mut(column).and_then(Option::take);
            let value = item(value.unwrap_or_else(|| changed.column(name)), name);
            if self.columns.iter().any(|given| given == name) {
                outer.push(value);
                continue;
            }
            inner.push(value);
            if is_apart {
                outer.push(item(Expr::Identifier(quoted(name)), name));
            }
        }
        Items { inner, outer }
    }
}

/// What is selected from the rows, and from what that gives, if something has to be taken apart.
pub(super) struct Items {
    inner: Vec<SelectItem>,
    outer: Vec<SelectItem>,
}

impl Items {
    /// The query for rows of these tables.
    pub(super) fn query(
        self,
        from: Vec<TableWithJoins>,
        selection: Option<Expr>,
    ) -> Result<Query, Error> {
        let query = select(self.inner, from, selection)?;
        if self.outer.is_empty() {
            return Ok(query);
        }
        let relation = TableFactor::Derived {
            lateral: false,
            subquery: Box::new(query),
            alias: Some(table_alias(quoted(ROWS))),
            sample: None,
        };
        let joins = Vec::new();
        select(self.outer, vec![TableWithJoins { relation, joins }], None)
    }
}
