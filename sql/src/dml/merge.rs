//! MERGE.
//!
//! Idea: source and table are joined in one query, which says for each pair what is done with it, and
//! what the row becomes. Invariants: the first clause that fits a pair decides, as SQL has it; a row
//! of the table that several rows of the source would change is an error, and then nothing is
//! written. Rows that are written and those that are removed are handed over together.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use datafusion::logical_expr::{LogicalPlan, lit};
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, Merge, MergeAction, MergeClause,
    MergeClauseKind, MergeInsertExpr, MergeInsertKind, Query, SelectItem, TableFactor,
    TableWithJoins, Value, WildcardAdditionalOptions, With,
};
use netabase_store::{Change, Error, ErrorKind, TableDef};

use super::decide::{Absent, CLAUSE, decided, refuse_absent, refuse_subqueries};
use super::insert::{columns_for, filled};
use super::merge_returning::{ACTION, Decided, Returning};
use super::rewrite::{
    Changed, alias_of, all_of, assigned, case, column, default_of, equal, is_generated, item,
    keyed, null, number, select,
};
use super::typed::{Typed, projected};
use super::with::add_with;
use super::{RowRules, collect, plan_query};
use crate::ddl;
use crate::deadline::Deadline;
use crate::engine::Engine;
use crate::error::{from_arrow, invalid};
use crate::exact;
use crate::local::blocking;
use crate::output::Output;
use crate::statement::table_alias;
use crate::syntax::is_nothing;
use crate::write::{CheckedRows, NoOrigin, key_batches, refuse_duplicates};

/// Is true in every row of the source.
const PRESENT: &str = "$present";

/// `MERGE`.
pub(super) async fn merge(
    engine: &Engine,
    mut merge: Merge,
    with: Option<With>,
) -> Result<Output, Error> {
    let deadline = engine.deadline();
    let pairs = Pairs::of(engine, &merge)?;
    let def = Arc::clone(&pairs.def);
    let asked = (
        merge.output.take(),
        pairs.label.clone(),
        pairs.source.clone(),
    );
    let source = (&merge.source, with.as_ref());
    let returning = Returning::of(engine, asked, source, &deadline).await?;
    let actions = actions(&merge.clauses);
    let beside = returning.as_ref().map_or(&[][..], |asked| &asked.columns);
    let plan = pairs.plan(engine, (merge, with), beside, &deadline).await?;
    let (rows, scans) = collect(engine, &plan, deadline, "MERGE").await?;
    let rules = RowRules::of(engine, &def)?;
    let decisions = pairs.decisions(&rules, &actions, &rows, returning.is_some())?;
    let returned = match returning {
        Some(asked) => {
            let beside = beside_schema(plan.schema().as_arrow(), &asked.columns);
            let decided = &decisions.decided;
            Some(asked.answer(engine, &def, decided, beside).await?)
        }
        None => None,
    };
    let work = {
        let (def, key) = (
            Arc::clone(&def),
            places_of(&pairs.given(), &def.primary_key),
        );
        move || decisions.checked(&def, &key)
    };
    let (written, removed) = blocking(work).await?;
    let written = CheckedRows::check(Arc::clone(&def), Change::Upsert, written, NoOrigin).await?;
    let removed = CheckedRows::check(def, Change::Delete, removed, NoOrigin).await?;
    let receipt = engine.apply(vec![written, removed]).await?;
    match returned {
        Some((schema, rows)) => Ok(Output::returned(receipt, scans, schema, rows)),
        None => Output::written(receipt, scans),
    }
}

/// The query of a MERGE, planned.
pub(super) async fn query_of(
    engine: &Engine,
    (merge, with): (Merge, Option<With>),
    deadline: &Deadline,
) -> Result<LogicalPlan, Error> {
    let pairs = Pairs::of(engine, &merge)?;
    pairs.plan(engine, (merge, with), &[], deadline).await
}

/// What becomes of the pairs.
#[derive(Default)]
struct Decisions {
    written: Vec<RecordBatch>,
    /// Those of them that are there already.
    changed: Vec<RecordBatch>,
    removed: Vec<RecordBatch>,
    /// All of these, for RETURNING.
    decided: Vec<Decided>,
}

impl Decisions {
    /// The rows that are written, and the keys of those that are removed, unless one would be changed twice.
    fn checked(
        self,
        def: &TableDef,
        key: &[usize],
    ) -> Result<(Vec<RecordBatch>, Vec<RecordBatch>), Error> {
        let removed = key_batches(def, &self.removed, key)?;
        let keys = |rows: &[RecordBatch]| key_batches(def, rows, &def.primary_key);
        let old = [keys(&self.changed)?, removed.clone()].concat();
        refuse_duplicates(def, &old, &NoOrigin).map_err(twice)?;
        let all = [keys(&self.written)?, removed.clone()].concat();
        refuse_duplicates(def, &all, &NoOrigin)?;
        Ok((self.written, removed))
    }
}

/// Where some columns are among others.
fn places_of(columns: &[usize], wanted: &[usize]) -> Vec<usize> {
    let place = |column: &usize| columns.iter().position(|other| other == column);
    wanted.iter().filter_map(place).collect()
}

fn twice(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Conflict => invalid(format!(
            "a row would be changed twice, because several rows of the source match it: {error}"
        )),
        _ => error,
    }
}

/// What a clause does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Insert,
    Update,
    Remove,
}

impl Action {
    /// What `merge_action()` says.
    fn name(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Remove => "DELETE",
        }
    }
}

fn actions(clauses: &[MergeClause]) -> Vec<Action> {
    let action = |clause: &MergeClause| match &clause.action {
        MergeAction::Delete { .. } => Action::Remove,
        MergeAction::Insert(_) => Action::Insert,
        MergeAction::Update(_) => Action::Update,
    };
    clauses.iter().map(action).collect()
}

/// How the source is called.
fn source_label(source: &TableFactor) -> Result<Ident, Error> {
    if let Some(alias) = alias_of(source) {
        return Ok(alias.name.clone());
    }
    match source {
        TableFactor::Table { name, .. } => {
            let last = name.0.last().and_then(|part| part.as_ident().cloned());
            last.ok_or_else(|| invalid(format!("{name} is not the name of a table")))
        }
        other => Err(invalid(format!(
            "the source of MERGE needs a name: write USING {other} AS s"
        ))),
    }
}

/// The pairs of rows that a MERGE looks at.
struct Pairs {
    def: Arc<TableDef>,
    label: Ident,
    source: Ident,
}

impl Pairs {
    fn of(engine: &Engine, merge: &Merge) -> Result<Self, Error> {
        let changed = Changed::of(TableWithJoins {
            relation: merge.table.clone(),
            joins: Vec::new(),
        })?;
        Ok(Self {
            def: ddl::table_to_write(engine, &changed.name)?,
            label: changed.label(),
            source: source_label(&merge.source)?,
        })
    }

    /// The rows that the clauses make, behind the number of the clause; columns of the source beside them.
    async fn plan(
        &self,
        engine: &Engine,
        (merge, with): (Merge, Option<With>),
        beside: &[String],
        deadline: &Deadline,
    ) -> Result<LogicalPlan, Error> {
        refuse_subqueries(&merge.clauses)?;
        let clauses: Vec<Absent> = merge
            .clauses
            .iter()
            .map(|clause| self.absent(clause))
            .collect();
        let source = (merge.source, beside);
        let (mut query, values) = self.query(source, *merge.on, merge.clauses)?;
        add_with(&mut query, with);
        let plan = plan_query(engine, query, None, deadline).await?;
        refuse_absent(&plan, &clauses, values.iter().map(|(clause, _)| *clause))?;
        self.rows(decided(plan, &self.source)?, &values, beside.len())
    }

    /// Completes the rows that the clauses make.
    fn decisions(
        &self,
        rules: &RowRules,
        actions: &[Action],
        rows: &[RecordBatch],
        returning: bool,
    ) -> Result<Decisions, Error> {
        let given = self.given();
        let seen = given.iter().copied().filter(|c| !self.def.is_hidden(*c));
        let visible: Vec<usize> = seen.collect();
        let mut made = Decisions::default();
        for batch in rows {
            let of = |action| chosen(batch, given.len(), actions, action);
            // A hidden key is made for new rows.
            let new = of(Action::Insert)?.map(|rows| {
                let rows = rows.project(&places_of(&given, &visible));
                rules.complete(&visible, &rows.map_err(from_arrow)?)
            })?;
            let updated = of(Action::Update)?.map(|rows| rules.complete(&given, rows))?;
            let gone = of(Action::Remove)?;
            made.written.push(new.rows.clone());
            made.written.push(updated.rows.clone());
            made.changed.push(updated.rows.clone());
            made.removed.push(gone.rows.clone());
            if returning {
                let gone = gone.map(|rows| rules.complete_kept(&given, rows))?;
                made.decided.extend([new, updated, gone]);
            }
        }
        Ok(made)
    }

    /// The columns of the table that the query gives, after the number of the clause.
    fn given(&self) -> Vec<usize> {
        let columns = 0..self.def.schema.fields().len();
        columns
            .filter(|column| !self.def.is_hidden(*column) || self.def.primary_key.contains(column))
            .filter(|column| !is_generated(&self.def, *column))
            .collect()
    }

    /// A query over the pairs: which clause decides about each, what the row of the table is, and the
    /// values that the clauses have, by clause and column. Values are asked for where their clause
    /// decides; [`decided`] fills in which one that is.
    fn query(
        &self,
        (source, beside): (TableFactor, &[String]),
        on: Expr,
        clauses: Vec<MergeClause>,
    ) -> Result<(Query, Values), Error> {
        let from = self.joined(source, join_of(on, &clauses))?;
        let mut decisions = Vec::with_capacity(clauses.len());
        let mut values = Values::new();
        let mut projection = Vec::new();
        for (clause, place) in clauses.into_iter().zip(1..) {
            let decides = self.kind(clause.clause_kind)?;
            let decides = all_of(decides.into_iter().chain(clause.predicate));
            // Nothing is done where no clause decides.
            let place = match is_nothing(&clause.action) {
                true => 0,
                false => place,
            };
            decisions.push((decides, number(place)));
            let mut row = self.row(clause.clause_kind, clause.action)?;
            for given in self.given() {
                let Some(value) = row.get_mut(given).and_then(Option::take) else {
                    continue;
                };
                let chosen = equal(column(&self.source, CLAUSE), number(place));
                let value = case(vec![(chosen, value)], null());
                projection.push(item(value, &value_name(place, given)));
                values.push((place, given));
            }
        }
        for column in self.given() {
            projection.push(item(self.old(column), &old_name(column)));
        }
        for (place, name) in beside.iter().enumerate() {
            let value = column(&self.source, name);
            projection.push(item(value, &source_name(place)));
        }
        projection.insert(0, item(case(decisions, number(0)), CLAUSE));
        Ok((select(projection, vec![from], None)?, values))
    }

    /// The rows that the clauses make, behind the number of the clause, and so many columns of the source.
    fn rows(
        &self,
        query: LogicalPlan,
        values: &Values,
        beside: usize,
    ) -> Result<LogicalPlan, Error> {
        let rows = Typed::of(&self.def, &query);
        let clause = rows.column(CLAUSE)?;
        let mut row = vec![clause.clone().alias(CLAUSE)];
        for column in self.given() {
            let mut branches = Vec::new();
            for (number, _) in values.iter().filter(|(_, other)| *other == column) {
                let chosen = clause
                    .clone()
                    .eq(lit(i64::try_from(*number).unwrap_or_default()));
                branches.push((chosen, rows.value(column, &value_name(*number, column))?));
            }
            let value = Typed::case(branches, rows.column(&old_name(column))?);
            row.push(value.alias(self.def.column_name(column)));
        }
        for name in (0..beside).map(source_name) {
            row.push(rows.column(&name)?);
        }
        projected(query, row)
    }

    /// The source, with a column that tells whether it is there, and the table.
    fn joined(
        &self,
        source: TableFactor,
        join_operator: JoinOperator,
    ) -> Result<TableWithJoins, Error> {
        let present = Expr::Value(Value::Boolean(true).with_empty_span());
        let items = vec![
            SelectItem::Wildcard(WildcardAdditionalOptions::default()),
            item(present, PRESENT),
            item(number(0), CLAUSE),
        ];
        let source = TableWithJoins {
            relation: source,
            joins: Vec::new(),
        };
        let alias = table_alias(self.source.clone());
        Ok(TableWithJoins {
            relation: TableFactor::Derived {
                lateral: false,
                subquery: Box::new(select(items, vec![source], None)?),
                alias: Some(alias),
                sample: None,
            },
            joins: vec![Join {
                relation: keyed(&self.def, self.label.clone()),
                global: false,
                join_operator,
            }],
        })
    }

    /// Which side has no row for a clause.
    fn absent(&self, clause: &MergeClause) -> Absent {
        let side = match clause.clause_kind {
            MergeClauseKind::Matched => None,
            MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => Some(&self.label),
            MergeClauseKind::NotMatchedBySource => Some(&self.source),
        };
        Absent {
            kind: clause.clause_kind,
            has_condition: clause.predicate.is_some(),
            side: side.cloned(),
        }
    }

    /// When a clause of this kind is looked at.
    fn kind(&self, kind: MergeClauseKind) -> Result<Vec<Expr>, Error> {
        let Some(key) = self.def.primary_key.first() else {
            return Err(invalid(format!("table \"{}\" has no key", self.def.name)));
        };
        let key = Box::new(self.old(*key));
        let present = Box::new(column(&self.source, PRESENT));
        Ok(match kind {
            MergeClauseKind::Matched => vec![Expr::IsNotNull(key), Expr::IsNotNull(present)],
            MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => {
                vec![Expr::IsNull(key)]
            }
            MergeClauseKind::NotMatchedBySource => vec![Expr::IsNull(present)],
        })
    }

    fn old(&self, place: usize) -> Expr {
        column(&self.label, self.def.column_name(place))
    }

    /// What a clause makes of the columns, by their positions; nothing: what they are.
    fn row(&self, kind: MergeClauseKind, action: MergeAction) -> Result<Vec<Option<Expr>>, Error> {
        let inserts = matches!(
            kind,
            MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget
        );
        match action {
            nothing if is_nothing(&nothing) => Ok(Vec::new()),
            MergeAction::Insert(insert) if inserts => self.inserted(insert),
            MergeAction::Update(update) if !inserts => {
                if update.update_predicate.is_some() || update.delete_predicate.is_some() {
                    return Err(invalid(
                        "UPDATE … WHERE in MERGE is not supported: write WHEN MATCHED AND condition",
                    ));
                }
                assigned(&self.def, update.assignments)
            }
            MergeAction::Delete { .. } if !inserts => {
                Ok(vec![None; self.def.schema.fields().len()])
            }
            other => Err(invalid(format!(
                "WHEN {kind} cannot be followed by {other}: rows that are not there are inserted, others \
                 are updated or deleted"
            ))),
        }
    }

    fn inserted(&self, insert: MergeInsertExpr) -> Result<Vec<Option<Expr>>, Error> {
        let def = &self.def;
        if insert.insert_predicate.is_some() {
            return Err(invalid(
                "INSERT … WHERE in MERGE is not supported: write WHEN NOT MATCHED AND condition",
            ));
        }
        let MergeInsertKind::Values(values) = insert.kind else {
            return Err(invalid(
                "INSERT ROW in MERGE is not supported: write INSERT (columns) VALUES (…)",
            ));
        };
        let mut rows = values.rows.into_iter().map(|row| row.content);
        let (Some(values), None) = (rows.next(), rows.next()) else {
            return Err(invalid("INSERT in MERGE takes one row of values"));
        };
        let columns = columns_for(def, &insert.columns, values.len())?;
        // What is not listed has its default, and a hidden key is made.
        let mut row: Vec<Option<Expr>> = vec![None; def.schema.fields().len()];
        for column in self.given() {
            if let Some(place) = row.get_mut(column) {
                *place = Some(default_of(def, column)?);
            }
        }
        for (column, value) in filled(def, &columns, values)? {
            let value = exact::for_column(value, def.schema.field(column).data_type());
            if let Some(place) = row.get_mut(column) {
                *place = Some(value);
            }
        }
        Ok(row)
    }
}

/// How source and table are joined, so that the pairs are there that the clauses are about.
fn join_of(on: Expr, clauses: &[MergeClause]) -> JoinOperator {
    let has = |kinds: &[MergeClauseKind]| {
        let mut clauses = clauses.iter();
        clauses.any(|clause| kinds.contains(&clause.clause_kind))
    };
    let new = has(&[
        MergeClauseKind::NotMatched,
        MergeClauseKind::NotMatchedByTarget,
    ]);
    let on = JoinConstraint::On(on);
    match (new, has(&[MergeClauseKind::NotMatchedBySource])) {
        (true, true) => JoinOperator::FullOuter(on),
        (true, false) => JoinOperator::Left(on),
        (false, true) => JoinOperator::Right(on),
        (false, false) => JoinOperator::Inner(on),
    }
}

/// Which clauses have values for which columns.
type Values = Vec<(usize, usize)>;

fn value_name(clause: usize, column: usize) -> String {
    format!("$value{clause}_{column}")
}

fn old_name(column: usize) -> String {
    format!("$old{column}")
}

fn source_name(place: usize) -> String {
    format!("$source{place}")
}

/// The rows that clauses of a kind decide about, without the number of the clause; what follows so many
/// columns, and what is done, stands beside them.
fn chosen(
    batch: &RecordBatch,
    given: usize,
    actions: &[Action],
    wanted: Action,
) -> Result<Decided, Error> {
    let clauses = batch.column(0).as_primitive::<Int64Type>();
    let chosen = clauses.iter().map(|clause| {
        let place = clause.and_then(|clause| usize::try_from(clause).ok());
        let action = place.and_then(|place| actions.get(place.checked_sub(1)?));
        Some(action == Some(&wanted))
    });
    let chosen: BooleanArray = chosen.collect();
    let part = |columns: Range<usize>| {
        let columns: Vec<usize> = columns.collect();
        let rows = batch.project(&columns).map_err(from_arrow)?;
        filter_record_batch(&rows, &chosen).map_err(from_arrow)
    };
    let rows = part(1..1 + given)?;
    let beside = part(1 + given..batch.num_columns())?;
    let action = StringArray::from_iter_values(vec![wanted.name(); rows.num_rows()]);
    let mut columns = beside.columns().to_vec();
    columns.push(Arc::new(action));
    let schema = with_action(beside.schema_ref().fields().iter().cloned());
    let beside = RecordBatch::try_new(schema, columns).map_err(from_arrow)?;
    Ok(Decided { rows, beside })
}

/// The columns of the source in the rows of the query, which come last, under their own names; and what was
/// done with each row.
fn beside_schema(schema: &Schema, names: &[String]) -> SchemaRef {
    let before = schema.fields().len().saturating_sub(names.len());
    let columns = schema.fields().iter().skip(before).zip(names);
    with_action(columns.map(|(field, name)| Arc::new(field.as_ref().clone().with_name(name))))
}

fn with_action(columns: impl Iterator<Item = FieldRef>) -> SchemaRef {
    let action = Arc::new(Field::new(ACTION, DataType::Utf8, true));
    Arc::new(Schema::new(columns.chain([action]).collect::<Vec<_>>()))
}
