//! Joins that make one column of two.
//!
//! Idea: of the columns that USING and NATURAL merge, the planner shows one of the two as it is: for a
//! name, the left one; for a `*`, that of the table whose name sorts first. Where the other one should
//! be seen, which is where the shown one may be NULL, the answer would be wrong.
//!
//! Invariant: what is not refused shows the right one.

use datafusion::sql::sqlparser::ast::{
    Ident, Join, JoinConstraint, JoinOperator, Select, SelectItem, TableFactor, TableWithJoins,
};
use netabase_store::Error;

use crate::error::invalid;
use crate::statement::ident_of;

/// Fails for joins whose merged column may come from the right alone.
pub(super) fn check_joins(tables: &TableWithJoins) -> Result<(), Error> {
    use JoinOperator::{FullOuter, Right, RightOuter};
    let wrong = |join: &Join| match &join.join_operator {
        Right(on) | RightOuter(on) | FullOuter(on) => merges(on),
        _ => false,
    };
    match tables.joins.iter().any(wrong) {
        false => Ok(()),
        true => Err(invalid(
            "RIGHT and FULL JOIN with USING or NATURAL are not supported: write ON a.x = b.x, and \
             coalesce(a.x, b.x) for the column",
        )),
    }
}

/// Fails for a `*` that would show the right column of a LEFT JOIN.
pub(super) fn check_stars(select: &Select) -> Result<(), Error> {
    let is_star = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
    if !select.projection.iter().any(is_star) {
        return Ok(());
    }
    for tables in &select.from {
        let mut left = vec![name_of(&tables.relation)];
        for join in &tables.joins {
            let right = name_of(&join.relation);
            if let JoinOperator::Left(on) | JoinOperator::LeftOuter(on) = &join.join_operator
                && merges(on)
                && left.iter().any(|name| *name > right)
            {
                return Err(invalid(
                    "* over this LEFT JOIN with USING or NATURAL is not supported: write the columns, or \
                     table.* for each table",
                ));
            }
            left.push(right);
        }
    }
    Ok(())
}

fn merges(on: &JoinConstraint) -> bool {
    matches!(on, JoinConstraint::Using(_) | JoinConstraint::Natural)
}

/// What a source's columns are qualified by; nothing sorts before everything else.
fn name_of(source: &TableFactor) -> Option<String> {
    let named = |alias: &Ident| Some(ident_of(alias));
    match source {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        } => named(&alias.name),
        TableFactor::Table { name, .. } => named(name.0.last()?.as_ident()?),
        _ => None,
    }
}
