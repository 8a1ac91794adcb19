//! MERGE … RETURNING, as PostgreSQL 17 has it.
//!
//! Idea: what was decided is two tables of one statement, the changed rows and those of the source beside
//! them, joined by their number. Invariants: a row that was inserted or updated is as it is now, one
//! that was deleted as it was; `*` is the columns of the source and then those of the table;
//! `merge_action()` is INSERT, UPDATE or DELETE.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, OutputClause,
    SelectItem, SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, VisitMut, VisitorMut,
    WildcardAdditionalOptions, With,
};
use netabase_store::{Error, TableDef};

use super::rewrite::{column, item, select};
use super::with::add_with;
use super::{collect, named_schema, plan_query};
use crate::deadline::Deadline;
use crate::engine::Engine;
use crate::error::{error_from_datafusion, from_arrow, invalid};
use crate::scoped::{Scoped, relation};
use crate::statement::ident_of;

/// What was done with a row, beside the columns of its source.
pub(super) const ACTION: &str = "$action";
/// The number of a row, in both tables.
const ROW: &str = "$row";
/// The names of the tables in the query's own catalog.
const CHANGED: &str = "changed";
const SOURCE: &str = "source";

/// What RETURNING asks for.
pub(super) struct Returning {
    items: Vec<SelectItem>,
    /// How the table and the source are called.
    label: Ident,
    source: Ident,
    /// The columns of the source.
    pub(super) columns: Vec<String>,
}

/// Rows, and beside each the columns of its source and what was done with it.
#[derive(Debug, Clone)]
pub(super) struct Decided {
    pub(super) rows: RecordBatch,
    pub(super) beside: RecordBatch,
}

impl Decided {
    /// The same with other rows of the table.
    pub(super) fn map(
        self,
        change: impl FnOnce(&RecordBatch) -> Result<RecordBatch, Error>,
    ) -> Result<Self, Error> {
        let rows = change(&self.rows)?;
        Ok(Self { rows, ..self })
    }
}

impl Returning {
    /// Reads the clause of a MERGE into a table and from a source of these names.
    pub(super) async fn of(
        engine: &Engine,
        (output, label, source): (Option<OutputClause>, Ident, Ident),
        (from, with): (&TableFactor, Option<&With>),
        deadline: &Deadline,
    ) -> Result<Option<Self>, Error> {
        let items = match output {
            None => return Ok(None),
            Some(OutputClause::Returning { select_items, .. }) => select_items,
            Some(OutputClause::Output { .. }) => {
                return Err(invalid(
                    "MERGE … OUTPUT is not supported: write RETURNING at the end",
                ));
            }
        };
        let all = SelectItem::Wildcard(WildcardAdditionalOptions::default());
        let from = TableWithJoins {
            relation: from.clone(),
            joins: Vec::new(),
        };
        let mut query = select(vec![all], vec![from], None)?;
        add_with(&mut query, with.cloned());
        let plan = plan_query(engine, query, None, deadline).await?;
        let columns = plan.schema().fields().iter();
        Ok(Some(Self {
            columns: columns.map(|field| field.name().clone()).collect(),
            items,
            label,
            source,
        }))
    }

    /// What the items give for these rows.
    pub(super) async fn answer(
        self,
        engine: &Engine,
        def: &TableDef,
        rows: &[Decided],
        beside: SchemaRef,
    ) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
        let deadline = engine.deadline();
        let visible = def.visible_columns();
        let schema = named_schema(def).project(&visible).map_err(from_arrow)?;
        let seen = rows.iter().map(|one| one.rows.project(&visible));
        let seen = seen.collect::<Result<Vec<_>, _>>().map_err(from_arrow)?;
        let (schema, seen) = numbered(&schema, seen)?;
        let others = rows.iter().map(|one| one.beside.clone()).collect();
        let (beside, others) = numbered(&beside, others)?;
        let scoped = Scoped::default()
            .with(CHANGED, &schema, seen)
            .and_then(|scoped| scoped.with(SOURCE, &beside, others));
        let scoped = scoped.map_err(error_from_datafusion)?;
        let (label, source) = (self.label.clone(), self.source.clone());
        let items = self.written_out(def)?;
        let same_row = Expr::BinaryOp {
            left: Box::new(column(&label, ROW)),
            op: BinaryOperator::Eq,
            right: Box::new(column(&source, ROW)),
        };
        let from = TableWithJoins {
            joins: vec![Join {
                relation: relation(SOURCE, source).relation,
                global: false,
                join_operator: JoinOperator::Inner(JoinConstraint::On(same_row)),
            }],
            ..relation(CHANGED, label)
        };
        let query = select(items, vec![from], None)?;
        let plan = plan_query(engine, query, Some(scoped), &deadline).await?;
        let schema = plan.schema().inner().clone();
        let (rows, _) = collect(engine, &plan, deadline, "RETURNING").await?;
        Ok((schema, rows))
    }

    /// The items without stars, and with what was done as a column.
    fn written_out(self, def: &TableDef) -> Result<Vec<SelectItem>, Error> {
        let of_source = || -> Vec<SelectItem> {
            let columns = self.columns.iter();
            columns
                .map(|name| item(column(&self.source, name), name))
                .collect()
        };
        let of_table = || -> Vec<SelectItem> {
            let columns = def.visible_columns();
            let names = columns.iter().map(|place| def.column_name(*place));
            names
                .map(|name| item(column(&self.label, name), name))
                .collect()
        };
        let plain = WildcardAdditionalOptions::default();
        let mut items = Vec::with_capacity(self.items.len());
        for one in self.items {
            match one {
                SelectItem::Wildcard(options) if options == plain => {
                    items.extend(of_source());
                    items.extend(of_table());
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) if options == plain => match last(&name) {
                    Some(name) if name == ident_of(&self.label) => items.extend(of_table()),
                    Some(name) if name == ident_of(&self.source) => items.extend(of_source()),
                    _ => {
                        return Err(invalid(format!(
                            "RETURNING {name}.*: MERGE knows {} and {}",
                            self.label, self.source
                        )));
                    }
                },
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
                    return Err(invalid(
                        "* with a clause in RETURNING of MERGE is not supported: list the columns",
                    ));
                }
                other => items.push(with_action(other, &self.source)),
            }
        }
        Ok(items)
    }
}

fn last(name: &ObjectName) -> Option<String> {
    name.0.last()?.as_ident().map(ident_of)
}

/// Whether an expression is `merge_action()`.
fn is_action(expr: &Expr) -> bool {
    match expr {
        Expr::Function(function) => last(&function.name).as_deref() == Some("merge_action"),
        _ => false,
    }
}

/// The item with a column in the place of `merge_action()`, by whose name it is called.
fn with_action(item: SelectItem, source: &Ident) -> SelectItem {
    struct Actions<'a>(&'a Ident);
    impl VisitorMut for Actions<'_> {
        type Break = ();
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if is_action(expr) {
                *expr = column(self.0, ACTION);
            }
            ControlFlow::Continue(())
        }
    }
    let mut item = match item {
        SelectItem::UnnamedExpr(expr) if is_action(&expr) => SelectItem::ExprWithAlias {
            expr,
            alias: Ident::new("merge_action"),
        },
        other => other,
    };
    // It never breaks off.
    let _ = item.visit(&mut Actions(source));
    item
}

/// The rows with their numbers, from the first batch to the last.
fn numbered(
    schema: &Schema,
    batches: Vec<RecordBatch>,
) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(ROW, DataType::Int64, false)));
    let schema = Arc::new(Schema::new(fields));
    let mut next = 0i64;
    let mut numbered = Vec::with_capacity(batches.len());
    for batch in batches {
        let rows = batch.num_rows() as i64;
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(next..next + rows));
        next += rows;
        let mut columns = batch.columns().to_vec();
        columns.push(numbers);
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
        numbered.push(batch.map_err(from_arrow)?);
    }
    Ok((schema, numbered))
}
