//! Rows of values that are compared with those of a subquery.
//!
//! Idea: `(a, b) IN (SELECT c, d …)` is true where a row is equal, unknown where one may be, NULL being any
//! value, and false otherwise; which EXISTS can say.

use datafusion::sql::sqlparser::ast::{Expr, Query, SelectItem, SetExpr};
use datafusion::sql::sqlparser::parser::Parser;
use netabase_store::Error;

use super::NetabaseDialect;
use crate::error::invalid;

/// Writes an IN of several columns with EXISTS.
pub(super) fn in_subquery(expr: &mut Expr) -> Result<(), Error> {
    let Expr::InSubquery {
        expr: row,
        subquery,
        negated,
    } = expr
    else {
        return Ok(());
    };
    let Expr::Tuple(values) = row.as_ref() else {
        return Ok(());
    };
    if let Some(count) = columns_of(subquery)
        && count != values.len()
    {
        return Err(invalid(format!(
            "the subquery must give {} columns, as many as it is compared with, not {count}",
            values.len()
        )));
    }
    let columns: Vec<String> = (1..=values.len()).map(|nth| format!("__c{nth}")).collect();
    let equal = values.iter().zip(&columns);
    let equal: Vec<String> = equal
        .map(|(value, column)| format!("({value}) = \"__row\".\"{column}\""))
        .collect();
    let equal = equal.join(" AND ");
    let from = from_of(subquery, &columns);
    let text = format!(
        "CASE WHEN EXISTS (SELECT 1 FROM {from} WHERE {equal}) THEN true \
         WHEN EXISTS (SELECT 1 FROM {from} WHERE ({equal}) IS NULL) THEN NULL ELSE false END"
    );
    let is_in = parsed(&text)?;
    *expr = match negated {
        false => Expr::Nested(Box::new(is_in)),
        true => parsed(&format!("(NOT ({text}))"))?,
    };
    Ok(())
}

/// How many columns a query has, where its text tells.
fn columns_of(query: &Query) -> Option<usize> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let named = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
        )
    };
    let items = &select.projection;
    items.iter().all(named).then_some(items.len())
}

/// A query as a source with these columns.
pub(crate) fn from_of(query: &Query, columns: &[String]) -> String {
    let columns: Vec<String> = columns.iter().map(|name| format!("\"{name}\"")).collect();
    format!("({query}) AS \"__row\"({})", columns.join(", "))
}

/// An expression of this crate's own.
pub(crate) fn parsed(text: &str) -> Result<Expr, Error> {
    let parser = Parser::new(&NetabaseDialect).try_with_sql(text);
    let parsed = parser.and_then(|mut parser| parser.parse_expr());
    parsed.map_err(|_| invalid("a row that is compared with a subquery could not be read"))
}
