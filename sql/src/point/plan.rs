//! A point statement with its names looked up.
//!
//! Invariant: there is a plan only where every column exists and the whole primary key is given, or one
//! column that an index begins with; and only for tables of which this module knows everything that
//! writing to them means ([`is_plain`]). All errors about names are the planner's.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use netabase_store::{
    ColumnRules, IndexDef, KeyPart, RowKey, Store, TableDef, TableReader, TableRules,
};

use super::PointCall;
use super::fit::{comparable, key_part};
use super::syntax::{self, Equal, Operand, PointStatement, negated};
use crate::access::{Order, compares_like_keys};
use crate::declared;
use datafusion::common::ScalarValue;

/// What to do with which table.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) def: Arc<TableDef>,
    pub(super) reader: TableReader,
    pub(super) action: Action,
}

#[derive(Debug)]
pub(super) enum Action {
    Read(Read),
    Search(Search),
    Insert(Insert),
    Update(Update),
    Delete(Delete),
}

impl Action {
    pub(super) fn writes(&self) -> bool {
        matches!(self, Self::Insert(_) | Self::Update(_) | Self::Delete(_))
    }
}

/// The row of a key.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) key: Vec<Operand>,
    pub(super) output: Columns,
    pub(super) limit: Option<Operand>,
}

/// The rows with a value in a column.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) column: usize,
    /// Those that begin with the column: at least one.
    pub(super) orders: Vec<Order>,
    pub(super) value: Operand,
    pub(super) output: Columns,
    pub(super) limit: Option<Operand>,
}

/// Columns of a table, and what they are in an answer.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) projection: Vec<usize>,
    pub(super) schema: SchemaRef,
}

#[derive(Debug)]
pub(super) struct Insert {
    /// For every column of the table its place in the rows; `None`: it is NULL.
    pub(super) places: Vec<Option<usize>>,
    pub(super) rows: Vec<Vec<Operand>>,
}

#[derive(Debug)]
pub(super) struct Update {
    pub(super) key: Vec<Operand>,
    pub(super) whole: Columns,
    pub(super) set: Vec<(usize, SetTo)>,
}

#[derive(Debug)]
pub(super) enum SetTo {
    Value(Operand),
    Plus(usize, Operand),
    Minus(usize, Operand),
}

#[derive(Debug)]
pub(super) struct Delete {
    pub(super) key: Vec<Operand>,
    pub(super) columns: Columns,
}

/// Whether reading the table's columns under their names in the schema is all there is to it. What is
/// added to rules does not compile before it is decided here, and in [`is_plain`].
fn is_read_plainly(def: &TableDef) -> bool {
    let TableRules {
        columns,
        view,
        checks: _,
        comment: _,
        unique: _,
        frozen_until: _,
        replaces: _,
        unfinished: _,
        replaced_by: _,
    } = &def.options.rules;
    let as_it_is = |column: &ColumnRules| {
        let ColumnRules {
            name,
            hidden,
            default: _,
            generated: _,
            comment: _,
        } = column;
        name.is_none() && !hidden
    };
    view.is_none() && columns.iter().all(as_it_is)
}

/// Whether writing a row of the table means no more than that: no defaults, conditions, computed
/// columns or the like.
fn is_plain(def: &TableDef) -> bool {
    let TableRules {
        columns,
        checks,
        unique,
        frozen_until,
        view: _,
        comment: _,
        replaces: _,
        unfinished: _,
        replaced_by: _,
    } = &def.options.rules;
    let given = |column: &ColumnRules| column.default.is_none() && column.generated.is_none();
    let free = checks.is_empty() && unique.is_empty() && frozen_until.is_none();
    let kinds = declared::has_kinds(&def.schema);
    is_read_plainly(def) && free && !kinds && columns.iter().all(given)
}

impl Plan {
    pub(super) fn of(
        statement: &PointStatement,
        def: &Arc<TableDef>,
        store: &Store,
    ) -> Option<Self> {
        let action = match &statement.action {
            syntax::Action::Select {
                columns,
                equal,
                limit,
            } => {
                if !is_read_plainly(def) {
                    return None;
                }
                let output = match columns {
                    Some(columns) => Columns::named(def, columns)?,
                    None => Columns::all(def),
                };
                select(def, equal, output, limit.clone())?
            }
            _ if !is_plain(def) => return None,
            syntax::Action::Insert { columns, rows } => {
                Action::Insert(insert(def, columns.as_deref(), rows)?)
            }
            syntax::Action::Update { set, equal } => Action::Update(Update {
                key: key(def, equal)?,
                whole: Columns::all(def),
                set: assignments(def, set)?,
            }),
            syntax::Action::Delete { equal } => Action::Delete(Delete {
                key: key(def, equal)?,
                columns: Columns {
                    projection: def.primary_key.clone(),
                    schema: def.key_schema(),
                },
            }),
        };
        Some(Self {
            def: Arc::clone(def),
            reader: store.reader(def.id).ok()?,
            action,
        })
    }
}

impl Columns {
    fn all(def: &TableDef) -> Self {
        Self {
            projection: (0..def.schema.fields().len()).collect(),
            schema: Arc::clone(&def.schema),
        }
    }

    fn named(def: &TableDef, columns: &[(String, String)]) -> Option<Self> {
        let index = |(column, _): &(String, String)| def.schema.index_of(column).ok();
        let projection = columns.iter().map(index).collect::<Option<Vec<_>>>()?;
        let field = |(index, (_, name)): (&usize, &(String, String))| {
            def.schema.field(*index).clone().with_name(name.as_str())
        };
        let fields: Vec<Field> = projection.iter().zip(columns).map(field).collect();
        let schema = Schema::new_with_metadata(fields, def.schema.metadata().clone());
        Some(Self {
            projection,
            schema: Arc::new(schema),
        })
    }
}

fn select(
    def: &TableDef,
    equal: &[Equal],
    output: Columns,
    limit: Option<Operand>,
) -> Option<Action> {
    if let Some(key) = key(def, equal) {
        return Some(Action::Read(Read { key, output, limit }));
    }
    let [(column, value)] = equal else {
        return None;
    };
    let column = def.schema.index_of(column).ok()?;
    if !compares_like_keys(def.schema.fields().get(column)?.data_type()) {
        return None;
    }
    let mut orders = Vec::new();
    if def.primary_key.first() == Some(&column) {
        orders.push(Order::PrimaryKey { unique: false });
    }
    let begins = |index: &&IndexDef| index.columns.first().map(|c| *c as usize) == Some(column);
    let indexes = def.options.indexes.iter().filter(begins);
    orders.extend(indexes.cloned().map(Order::Index));
    (!orders.is_empty()).then(|| {
        Action::Search(Search {
            column,
            orders,
            value: value.clone(),
            output,
            limit,
        })
    })
}

/// The values of the primary key in its order, if they are what a condition compares, and all of it.
fn key(def: &TableDef, equal: &[Equal]) -> Option<Vec<Operand>> {
    if equal.len() != def.primary_key.len() {
        return None;
    }
    let of = |column: &usize| {
        let name = def.schema.fields().get(*column)?.name();
        let (_, value) = equal.iter().find(|(other, _)| other == name)?;
        Some(value.clone())
    };
    def.primary_key.iter().map(of).collect()
}

fn insert(def: &TableDef, columns: Option<&[String]>, rows: &[Vec<Operand>]) -> Option<Insert> {
    let count = def.schema.fields().len();
    let mut places: Vec<Option<usize>> = vec![None; count];
    let width = match columns {
        None => {
            places = (0..count).map(Some).collect();
            count
        }
        Some(columns) => {
            for (place, name) in columns.iter().enumerate() {
                let column = places.get_mut(def.schema.index_of(name).ok()?)?;
                if column.replace(place).is_some() {
                    return None;
                }
            }
            columns.len()
        }
    };
    rows.iter().all(|row| row.len() == width).then(|| Insert {
        places,
        rows: rows.to_vec(),
    })
}

fn assignments(def: &TableDef, set: &[(String, syntax::SetTo)]) -> Option<Vec<(usize, SetTo)>> {
    let column = |name: &str| def.schema.index_of(name).ok();
    let mut found: Vec<(usize, SetTo)> = Vec::with_capacity(set.len());
    for (name, value) in set {
        let index = column(name)?;
        if def.primary_key.contains(&index) || found.iter().any(|(other, _)| *other == index) {
            return None;
        }
        let value = match value {
            syntax::SetTo::Value(value) => SetTo::Value(value.clone()),
            syntax::SetTo::Plus(of, value) => SetTo::Plus(column(of)?, value.clone()),
            syntax::SetTo::Minus(of, value) => SetTo::Minus(column(of)?, value.clone()),
        };
        found.push((index, value));
    }
    Some(found)
}

impl PointCall {
    /// The value of an operand.
    pub(super) fn value(&self, operand: &Operand) -> Option<ScalarValue> {
        match operand {
            Operand::Param(place) => self.values.get(*place).cloned(),
            Operand::Negative(place) => negated(self.values.get(*place)?),
            Operand::Value(value) => Some(value.clone()),
        }
    }

    /// The type of a column.
    pub(super) fn type_of(&self, column: usize) -> Option<&DataType> {
        let field = self.plan.def.schema.fields().get(column)?;
        Some(field.data_type())
    }

    /// The key of these values.
    pub(super) fn key(&self, key: &[Operand]) -> Option<RowKey> {
        let columns = key.iter().zip(&self.plan.def.primary_key);
        let values = columns
            .map(|(operand, column)| comparable(&self.value(operand)?, self.type_of(*column)?));
        let values = values.collect::<Option<Vec<ScalarValue>>>()?;
        let parts = values
            .iter()
            .map(key_part)
            .collect::<Option<Vec<KeyPart<'_>>>>()?;
        self.plan.reader.encoder().key_of(&parts).ok()
    }

    /// How many rows are wanted at most; `None` if that is not for this path.
    pub(super) fn fetch(&self, limit: &Option<Operand>) -> Option<usize> {
        let Some(limit) = limit else {
            return Some(usize::MAX);
        };
        let rows = super::fit::integer(&self.value(limit)?)?;
        usize::try_from(rows).ok().filter(|rows| *rows > 0)
    }
}
