//! Which rows a predicate can want, in terms of an order that some file is sorted by.
//!
//! Idea: the operands of the predicate's ANDs say of single columns that they equal one of some
//! values, or lie between two. Where they do so for the first columns of the primary key or of an
//! index, the rows that can pass are a few ranges of encoded keys.
//!
//! Invariant: every row that passes the predicate lies in the ranges of every access. What is not
//! understood (other types, expressions, dynamic filters) narrows nothing, and the predicate is then
//! checked for the rows afterwards. Ranges that are called exact hold no other rows.
//!
//! Not here: how many rows a range has, and which access is the best.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, IsNullExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use netabase_store::{IndexDef, KeyRange, TableDef};

use crate::like::like_prefix;

/// The most ranges of one access: longer lists of values are scanned for.
pub(crate) const MAX_RANGES: usize = 1000;

/// An order of a table's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// That of the segments themselves; `unique`: the ranges are whole keys.
    PrimaryKey {
        /// Whether each range holds one row at most.
        unique: bool,
    },
    /// That of an index.
    Index(IndexDef),
}

impl Order {
    /// For people.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::PrimaryKey { .. } => "primary key",
            Self::Index(index) => &index.name,
        }
    }
}

/// A way to the rows that can pass.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) order: Order,
    /// Disjoint.
    pub(crate) ranges: Vec<KeyRange>,
    /// How many of the order's first columns have one value in each range.
    pub(crate) fixed: usize,
    /// Whether the column after them has bounds, which no NULL is within.
    pub(crate) bounded: bool,
    /// Whether every row in the ranges passes.
    pub(crate) exact: bool,
}

impl Access {
    /// Whether the ranges leave rows out.
    fn narrows(&self) -> bool {
        self.fixed > 0 || self.bounded
    }
}

/// All ways to the rows of a table that can pass a predicate which leave out others.
pub(crate) fn accesses(def: &TableDef, predicate: Option<&Arc<dyn PhysicalExpr>>) -> Vec<Access> {
    let mut all = all_accesses(def, predicate);
    all.retain(Access::narrows);
    all
}

/// The ways to exactly the rows of a table that pass a predicate; without one, to all rows.
pub(crate) fn exact_accesses(
    def: &TableDef,
    predicate: Option<&Arc<dyn PhysicalExpr>>,
) -> Vec<Access> {
    let mut all = all_accesses(def, predicate);
    all.retain(|access| access.exact);
    all
}

fn all_accesses(def: &TableDef, predicate: Option<&Arc<dyn PhysicalExpr>>) -> Vec<Access> {
    let wanted = predicate.map(|predicate| Wanted::of(predicate, &def.schema));
    let wanted = wanted.unwrap_or_default();
    let mut all = Vec::new();
    let order = Order::PrimaryKey { unique: false };
    if let Some(mut access) = wanted.access(order, &def.primary_key) {
        let unique = access.fixed == def.primary_key.len();
        access.order = Order::PrimaryKey { unique };
        all.push(access);
    }
    for index in &def.options.indexes {
        let columns: Vec<usize> = index.columns.iter().map(|c| *c as usize).collect();
        all.extend(wanted.access(Order::Index(index.clone()), &columns));
    }
    all
}

/// What is wanted of one column.
#[derive(Debug)]
struct OfColumn {
    /// One of these, in order, each once.
    points: Option<Vec<ScalarValue>>,
    lower: Bound<ScalarValue>,
    upper: Bound<ScalarValue>,
}

/// What is wanted of columns.
#[derive(Debug, Default)]
struct Wanted {
    /// By their indices.
    columns: HashMap<usize, OfColumn>,
    /// Whether the predicate asks for more than that.
    more: bool,
}

impl Wanted {
    fn of(predicate: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Self {
        let mut wanted = Self::default();
        for operand in split_conjunction(predicate) {
            let column = if let Some((column, values)) = points(operand, schema) {
                wanted.narrow_to(column, values);
                column
            } else if let Some((column, op, value)) = comparison(operand, schema) {
                wanted.bound(column, op, value);
                column
            } else if let Some(like) = like_prefix(operand, schema) {
                wanted.bound(like.column, Operator::GtEq, like.lower);
                if let Some(upper) = like.upper {
                    wanted.bound(like.column, Operator::Lt, upper);
                }
                wanted.more |= !like.exact;
                like.column
            } else {
                wanted.more = true;
                continue;
            };
            let field = schema.fields().get(column);
            wanted.more |= !field.is_some_and(|field| compares_like_keys(field.data_type()));
        }
        wanted
    }

    fn column(&mut self, column: usize) -> &mut OfColumn {
        self.columns.entry(column).or_insert(OfColumn {
            points: None,
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
        })
    }

    fn narrow_to(&mut self, column: usize, mut values: Vec<ScalarValue>) {
        values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        values.dedup();
        let known = &mut self.column(column).points;
        match known {
            // Both are in order.
            Some(known) => known.retain(|value| {
                let place = |other: &ScalarValue| {
                    let order = other.partial_cmp(value);
                    order.unwrap_or(Ordering::Equal)
                };
                values
                    .binary_search_by(place)
                    .is_ok_and(|at| values.get(at) == Some(value))
            }),
            None => *known = Some(values),
        }
    }

    fn bound(&mut self, column: usize, op: Operator, value: ScalarValue) {
        let known = self.column(column);
        let (side, tighter, new) = match op {
            Operator::Gt => {
                let value = zero_as(value, true);
                (&mut known.lower, Ordering::Greater, Bound::Excluded(value))
            }
            Operator::GtEq => {
                let value = zero_as(value, false);
                (&mut known.lower, Ordering::Greater, Bound::Included(value))
            }
            Operator::Lt => {
                let value = zero_as(value, false);
                (&mut known.upper, Ordering::Less, Bound::Excluded(value))
            }
            _ => {
                let value = zero_as(value, true);
                (&mut known.upper, Ordering::Less, Bound::Included(value))
            }
        };
        let order = match (&new, &*side) {
            (
                Bound::Included(new) | Bound::Excluded(new),
                Bound::Included(old) | Bound::Excluded(old),
            ) => new.partial_cmp(old),
            _ => Some(tighter),
        };
        let equal_but_tighter = order == Some(Ordering::Equal) && matches!(new, Bound::Excluded(_));
        if order == Some(tighter) || equal_but_tighter {
            *side = new;
        }
        self.more |= order.is_none();
    }

    /// The way to the rows in an order by these columns. `None` if something has no place in it.
    fn access(&self, order: Order, columns: &[usize]) -> Option<Access> {
        let mut prefixes: Vec<Vec<ArrayRef>> = vec![Vec::new()];
        let mut depth = 0;
        for column in columns {
            let points = self.points_of(*column);
            let Some(points) = points.filter(|p| p.len() * prefixes.len() <= MAX_RANGES) else {
                break;
            };
            let values: Vec<ArrayRef> = points.iter().map(array).collect::<Option<_>>()?;
            let longer = |prefix: Vec<ArrayRef>| {
                let with = |value: &ArrayRef| {
                    let mut longer = prefix.clone();
                    longer.push(Arc::clone(value));
                    longer
                };
                values.iter().map(with).collect::<Vec<_>>()
            };
            prefixes = prefixes.into_iter().flat_map(longer).collect();
            depth += 1;
        }
        let next = columns
            .get(depth)
            .and_then(|column| self.columns.get(column));
        let between = next.and_then(OfColumn::bounds);
        let range = |prefix: Vec<ArrayRef>| match &between {
            Some((lower, upper)) => KeyRange::between(&prefix, lower.as_ref(), upper.as_ref()),
            None => KeyRange::prefix(&prefix),
        };
        let ranges = prefixes.into_iter().map(range).collect::<Result<_, _>>();
        let bounded = between.is_some();
        Some(Access {
            order,
            ranges: ranges.ok()?,
            fixed: depth,
            bounded,
            exact: !self.more && self.is_covered_by(columns, depth, bounded),
        })
    }

    fn points_of(&self, column: usize) -> Option<&Vec<ScalarValue>> {
        self.columns.get(&column)?.points.as_ref()
    }

    /// Whether nothing else is wanted than values of the first `fixed` columns and, if `bounded`,
    /// bounds of the next one.
    fn is_covered_by(&self, columns: &[usize], fixed: usize, bounded: bool) -> bool {
        let place = |column: &usize| columns.iter().position(|other| other == column);
        self.columns.iter().all(|(column, of)| match place(column) {
            Some(place) if place < fixed => !of.has_bounds(),
            Some(place) => bounded && place == fixed && of.points.is_none(),
            None => false,
        })
    }
}

impl OfColumn {
    fn has_bounds(&self) -> bool {
        !matches!(
            (&self.lower, &self.upper),
            (Bound::Unbounded, Bound::Unbounded)
        )
    }

    /// The bounds as arrays of one value; `None` if there are none.
    fn bounds(&self) -> Option<(Bound<ArrayRef>, Bound<ArrayRef>)> {
        let bound = |side: &Bound<ScalarValue>| match side {
            Bound::Included(value) => Some(Bound::Included(array(value)?)),
            Bound::Excluded(value) => Some(Bound::Excluded(array(value)?)),
            Bound::Unbounded => Some(Bound::Unbounded),
        };
        if !self.has_bounds() {
            return None;
        }
        Some((bound(&self.lower)?, bound(&self.upper)?))
    }
}

fn array(value: &ScalarValue) -> Option<ArrayRef> {
    value.to_array().ok()
}

/// A column and a literal in the column's type.
pub(crate) fn column_and_value(
    column: &Arc<dyn PhysicalExpr>,
    value: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
) -> Option<(usize, ScalarValue)> {
    let column = column.downcast_ref::<Column>()?.index();
    let value = value.downcast_ref::<Literal>()?.value();
    let value = fitting(value, schema.fields().get(column)?.data_type())?;
    Some((column, value))
}

/// Whether SQL compares values of a type exactly as the bytes of their keys compare. Not so floats:
/// keys tell the signs of zero apart.
pub(crate) fn compares_like_keys(data_type: &DataType) -> bool {
    data_type.is_integer()
        || data_type.is_temporal() && !matches!(data_type, DataType::Interval(_))
        || data_type.is_decimal()
        || data_type.is_string()
        || data_type.is_binary()
        || *data_type == DataType::Boolean
}

/// The value in a column's type, if nothing is lost by that; NULL fits nowhere.
fn fitting(value: &ScalarValue, wanted: &DataType) -> Option<ScalarValue> {
    let is_text =
        |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let given = value.data_type();
    if value.is_null() {
        None
    } else if given == *wanted {
        Some(value.clone())
    } else if is_text(&given) && is_text(wanted) {
        value.cast_to(wanted).ok()
    } else {
        None
    }
}

/// `column op literal`, or the other way round.
fn comparison(
    operand: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
) -> Option<(usize, Operator, ScalarValue)> {
    let binary = operand.downcast_ref::<BinaryExpr>()?;
    let op = *binary.op();
    if !matches!(
        op,
        Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
    ) {
        return None;
    }
    let (left, right) = (binary.left(), binary.right());
    if let Some((column, value)) = column_and_value(left, right, schema) {
        return Some((column, op, value));
    }
    let (column, value) = column_and_value(right, left, schema)?;
    Some((column, op.swap()?, value))
}

/// The values that one column must have one of: `=`, `IN`, `IS NULL`, and ORs of them.
fn points(operand: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<(usize, Vec<ScalarValue>)> {
    if let Some(list) = operand.downcast_ref::<InListExpr>() {
        if list.negated() || list.list().len() > MAX_RANGES {
            return None;
        }
        let mut all = Vec::with_capacity(list.list().len());
        for value in list.list() {
            let is_null = |literal: &Literal| literal.value().is_null();
            if value.downcast_ref::<Literal>().is_some_and(is_null) {
                continue;
            }
            all.extend(signs_of_zero(
                column_and_value(list.expr(), value, schema)?.1,
            ));
        }
        return Some((list.expr().downcast_ref::<Column>()?.index(), all));
    }
    if let Some(null) = operand.downcast_ref::<IsNullExpr>() {
        let column = null.arg().downcast_ref::<Column>()?.index();
        let data_type = schema.fields().get(column)?.data_type();
        return Some((column, vec![ScalarValue::try_from(data_type).ok()?]));
    }
    let binary = operand.downcast_ref::<BinaryExpr>()?;
    let (left, right) = (binary.left(), binary.right());
    match binary.op() {
        Operator::Eq => {
            let found = column_and_value(left, right, schema);
            let (column, value) = found.or_else(|| column_and_value(right, left, schema))?;
            Some((column, signs_of_zero(value)))
        }
        // `a IN (6, NULL)` is planned as `a = 6 OR NULL`.
        Operator::Or if passes_nothing(right) => points(left, schema),
        Operator::Or if passes_nothing(left) => points(right, schema),
        Operator::Or => {
            let (column, mut values) = points(left, schema)?;
            let (other, more) = points(right, schema)?;
            values.extend(more);
            (column == other && values.len() <= MAX_RANGES).then_some((column, values))
        }
        _ => None,
    }
}

/// Whether this is FALSE or NULL.
fn passes_nothing(operand: &Arc<dyn PhysicalExpr>) -> bool {
    let literal = operand.downcast_ref::<Literal>().map(Literal::value);
    literal.is_some_and(|v| v.is_null() || *v == ScalarValue::Boolean(Some(false)))
}

/// Zero with the wanted sign, which keys tell apart and comparisons may not; other values unchanged.
fn zero_as(value: ScalarValue, positive: bool) -> ScalarValue {
    match value {
        ScalarValue::Float32(Some(0.0)) => {
            ScalarValue::Float32(Some(if positive { 0.0 } else { -0.0 }))
        }
        ScalarValue::Float64(Some(0.0)) => {
            ScalarValue::Float64(Some(if positive { 0.0 } else { -0.0 }))
        }
        other => other,
    }
}

fn signs_of_zero(value: ScalarValue) -> Vec<ScalarValue> {
    match value {
        ScalarValue::Float32(Some(0.0)) | ScalarValue::Float64(Some(0.0)) => {
            vec![zero_as(value.clone(), false), zero_as(value, true)]
        }
        other => vec![other],
    }
}
