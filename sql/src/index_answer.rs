//! What an index answers besides which rows can pass: which of them come first, and how many they are.
//!
//! Purpose: the files of an index, and the segments themselves, are sorted. So the first rows of
//! `ORDER BY … LIMIT` lie next to each other in each of them, and `count(*)` is a difference of
//! positions. [`IndexAnswer`] is the plan for one of the two, made from a scan's predicate.
//!
//! Invariant: there is an answer only where ranges of the order hold exactly the rows that pass the
//! predicate: no row that it counts, or takes for one of the first, is dropped afterwards.
//!
//! Not here: reading (`index_rows`), and which plans want such an answer (`index_rule`).

use std::fmt;
use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::physical_expr::PhysicalExpr;
use netabase_store::{KeyRange, TableDef};

use crate::access::{Access, Order, exact_accesses};

/// What an index, or the primary key, answers of a scan.
#[derive(Debug, Clone)]
pub struct IndexAnswer {
    pub(crate) order: Order,
    pub(crate) question: Question,
}

#[derive(Debug, Clone)]
pub(crate) enum Question {
    /// Which rows come first in each segment.
    First(First),
    /// How many rows lie in these ranges, which are disjoint.
    Count(Vec<KeyRange>),
}

/// The first rows of a segment in some order.
#[derive(Debug, Clone)]
pub(crate) struct First {
    /// How many.
    pub(crate) rows: usize,
    /// Whether the order is walked backwards.
    pub(crate) descending: bool,
    /// Each list is walked until there are enough rows; their union has the first ones.
    pub(crate) walks: Vec<Vec<KeyRange>>,
    /// Columns whose NULLs are wanted at the other end of their neighbours than where they are:
    /// where there are any, the order is another one.
    pub(crate) without_nulls: Vec<usize>,
}

impl fmt::Display for IndexAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.question {
            Question::First(first) => write!(f, "top={} by ", first.rows)?,
            Question::Count(_) => f.write_str("counted by ")?,
        }
        f.write_str(self.order.name())
    }
}

impl IndexAnswer {
    /// Whether it is a number of rows alone, without any column.
    pub(crate) fn is_count(&self) -> bool {
        matches!(self.question, Question::Count(_))
    }

    /// The ways to count the rows of a table that pass a predicate.
    pub(crate) fn counts(def: &TableDef, predicate: &Arc<dyn PhysicalExpr>) -> Vec<Self> {
        let count = |access: Access| Self {
            order: access.order,
            question: Question::Count(access.ranges),
        };
        let all = exact_accesses(def, Some(predicate));
        all.into_iter().map(count).collect()
    }

    /// The ways to the first `rows` rows of a table that pass a predicate, in an order by `wanted`.
    pub(crate) fn firsts(
        def: &TableDef,
        predicate: Option<&Arc<dyn PhysicalExpr>>,
        wanted: &[(usize, SortOptions)],
        rows: usize,
    ) -> Vec<Self> {
        let first = |access: Access| {
            let question = Question::First(first(def, &access, wanted, rows)?);
            let order = access.order;
            Some(Self { order, question })
        };
        let all = exact_accesses(def, predicate);
        all.into_iter().filter_map(first).collect()
    }
}

/// How the rows of an access come in the wanted order; `None` if they lie in another one.
fn first(
    def: &TableDef,
    access: &Access,
    wanted: &[(usize, SortOptions)],
    rows: usize,
) -> Option<First> {
    let sorted = sorted_by(def, &access.order);
    // Within a range the fixed columns are equal, so that the order may begin after any of them.
    let (place, columns) = (0..=access.fixed).find_map(|place| {
        let columns = sorted.get(place..place + wanted.len())?;
        let same = columns.iter().zip(wanted).all(|(a, (b, _))| a == b);
        same.then_some((place, columns))
    })?;
    let moving = columns.iter().zip(wanted).enumerate();
    let moving = moving.filter(|(offset, _)| place + offset >= access.fixed);
    let mut descending = None;
    let mut split = None;
    let mut without_nulls = Vec::new();
    for (offset, (column, (_, options))) in moving {
        if *descending.get_or_insert(options.descending) != options.descending {
            return None;
        }
        // NULLs are the least values of a key.
        let in_place = options.nulls_first != options.descending;
        let next = place + offset == access.fixed;
        // In keys, NULLs within a value come first, too; nobody looks whether there are any.
        if !in_place && is_nested(def, *column) {
            return None;
        }
        if in_place || never_null(def, *column) || (next && access.bounded) {
            continue;
        }
        match next {
            true => split = Some(*column),
            false => without_nulls.push(*column),
        }
    }
    let descending = descending.unwrap_or(false);
    let walk = |range: &KeyRange| {
        let Some(column) = split else {
            return Some(vec![range.clone()]);
        };
        let data_type = def.schema.fields().get(column)?.data_type();
        // What cannot be cut is read as it lies.
        let (nulls, others) = range.split_nulls(data_type).ok()?;
        Some(match descending {
            false => vec![others, nulls],
            true => vec![nulls, others],
        })
    };
    Some(First {
        rows,
        descending,
        walks: access.ranges.iter().map(walk).collect::<Option<_>>()?,
        without_nulls,
    })
}

/// The columns that rows are sorted by in an order: those of equal columns in an index are sorted by
/// the primary key.
fn sorted_by(def: &TableDef, order: &Order) -> Vec<usize> {
    let of_index: &[u32] = match order {
        Order::PrimaryKey { .. } => &[],
        Order::Index(index) => &index.columns,
    };
    let of_index = of_index.iter().map(|column| *column as usize);
    of_index.chain(def.primary_key.iter().copied()).collect()
}

fn is_nested(def: &TableDef, column: usize) -> bool {
    let field = def.schema.fields().get(column);
    field.is_none_or(|field| field.data_type().is_nested())
}

fn never_null(def: &TableDef, column: usize) -> bool {
    let field = def.schema.fields().get(column);
    def.primary_key.contains(&column) || field.is_some_and(|field| !field.is_nullable())
}
