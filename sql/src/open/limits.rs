//! LIMIT and OFFSET that are queries.
//!
//! Idea: such a query is run before the statement is planned, once, and the number that it gives stands in
//! its place. Invariant: it sees the same WITH as it would there, and no row of the statement. Non-goal:
//! views, which are planned where nothing can be run.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, LimitClause, Offset, OffsetRows, Query, Statement as SqlStatement, Value, Visit, VisitMut,
};
use netabase_store::Error;

use super::{Ctes, Look, MAX_PLACES, find_in, put_in, too_many};
use crate::dml::{item, select};
use crate::engine::refuse_writes;
use crate::error::{error_from_datafusion, invalid};
use crate::query;
use crate::syntax::has_query;

/// How the number is called in its query.
const NUMBER: &str = "number";

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Limit,
    Offset,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Limit => "LIMIT",
            Self::Offset => "OFFSET",
        }
    }
}

/// Puts numbers in the places of such queries.
pub(super) async fn settle<T: VisitMut + Visit>(
    look: &Look<'_>,
    statement: &mut T,
) -> Result<(), Error> {
    for _ in 0..MAX_PLACES {
        let found = find_in(statement, |query, ctes| {
            let (place, expr) = place_in(query)?;
            Some(query_for(place, expr, ctes))
        })?;
        let Some(found) = found.transpose()? else {
            return Ok(());
        };
        let (place, number) = number_of(look, found).await?;
        put_in(statement, |query| {
            place_in(query)?;
            put(query, place, number);
            Some(())
        });
    }
    Err(too_many())
}

/// Takes such queries out of a statement of which only the columns matter.
pub(crate) fn forget(statement: &mut impl VisitMut) {
    put_in(statement, |query| -> Option<()> {
        while let Some((place, _)) = place_in(query) {
            put(query, place, None);
        }
        None
    });
}

/// Fails for a view whose LIMIT is a query.
pub(crate) fn refuse_in_view(query: &mut Query) -> Result<(), Error> {
    let found = put_in(query, |query| place_in(query).map(|(place, _)| place));
    match found {
        None => Ok(()),
        Some(place) => Err(invalid(format!(
            "a view whose {} is a query is not supported: write a number, count rows with row_number() and \
             compare that, or create a MATERIALIZED VIEW",
            place.name()
        ))),
    }
}

/// The first of the two that is a query.
fn place_in(query: &Query) -> Option<(Place, &Expr)> {
    let (limit, offset) = match query.limit_clause.as_ref()? {
        LimitClause::LimitOffset { limit, offset, .. } => {
            (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
        }
        LimitClause::OffsetCommaLimit { offset, limit } => (Some(limit), Some(offset)),
    };
    let places = [(Place::Limit, limit), (Place::Offset, offset)];
    let mut queries = places.into_iter().filter_map(|(place, expr)| {
        let expr = expr?;
        has_query(expr).then_some((place, expr))
    });
    queries.next()
}

/// The query for the number alone.
fn query_for(place: Place, expr: &Expr, ctes: &Ctes) -> Result<(Place, Query), Error> {
    let mut query = select(vec![item(expr.clone(), NUMBER)], Vec::new(), None)?;
    query.with = ctes.with()?;
    Ok((place, query))
}

/// The number; `None` if it is NULL.
async fn number_of(
    look: &Look<'_>,
    (place, query): (Place, Query),
) -> Result<(Place, Option<u64>), Error> {
    let statement = Statement::Statement(Box::new(SqlStatement::Query(Box::new(query))));
    let planning = look.engine.plan_in(look.state, statement, look.deadline);
    let plan = Box::pin(planning).await?;
    refuse_writes(&plan)?;
    let rows = query::run(look.engine, &plan, *look.deadline).await?;
    let batches = rows.collect().await?;
    let row = batches.iter().find(|batch| batch.num_rows() > 0);
    let column = row.and_then(|row| row.columns().first());
    let column = column.ok_or_else(|| invalid(format!("{} has no value", place.name())))?;
    let value = ScalarValue::try_from_array(column, 0).map_err(error_from_datafusion)?;
    Ok((place, whole(place, &value)?))
}

fn whole(place: Place, value: &ScalarValue) -> Result<Option<u64>, Error> {
    if value.is_null() {
        return Ok(None);
    }
    let refused = |why: &str| {
        invalid(format!(
            "{} is a whole number that is not negative, and its query gives {value}{why}",
            place.name()
        ))
    };
    if !value.data_type().is_numeric() {
        return Err(refused(", which is no number"));
    }
    let number = value.cast_to(&DataType::Int64).map_err(|_| refused(""))?;
    let back = number.cast_to(&value.data_type());
    match number {
        ScalarValue::Int64(Some(number)) if back.is_ok_and(|back| back == *value) => {
            u64::try_from(number).map(Some).map_err(|_| refused(""))
        }
        _ => Err(refused("")),
    }
}

fn put(query: &mut Query, place: Place, number: Option<u64>) {
    let Some(clause) = query.limit_clause.take() else {
        return;
    };
    let (mut limit, mut offset, limit_by) = match clause {
        LimitClause::LimitOffset {
            limit,
            offset,
            limit_by,
        } => (limit, offset, limit_by),
        LimitClause::OffsetCommaLimit { offset, limit } => {
            let rows = OffsetRows::None;
            (
                Some(limit),
                Some(Offset {
                    value: offset,
                    rows,
                }),
                Vec::new(),
            )
        }
    };
    let value = number.map(|number| Expr::Value(Value::Number(number.to_string(), false).into()));
    match place {
        Place::Limit => limit = value,
        Place::Offset => {
            offset = value.map(|value| Offset {
                value,
                rows: OffsetRows::None,
            });
        }
    }
    query.limit_clause = Some(LimitClause::LimitOffset {
        limit,
        offset,
        limit_by,
    });
}
