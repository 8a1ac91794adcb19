//! MERGE.
//!
//! Idea: source and table are joined in one query, which says for each pair what is done with it, and
//! what the row becomes. Invariants: the first clause that fits a pair decides, as SQL has it; a row
//! of the table that several rows of the source would change is an error, and then nothing is
//! written. Rows that are written and those that are removed are handed over together.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{concat_batches, filter_record_batch, is_null, not};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, Join, JoinConstraint, JoinOperator, Merge, MergeAction,
    MergeClause, MergeClauseKind, MergeInsertExpr, MergeInsertKind, Query, SelectItem, TableAlias,
    TableFactor, TableWithJoins, Value, WildcardAdditionalOptions,
};
use netabase_store::{Change, Error, ErrorKind, TableDef};

use super::merge_returning::{self, ACTION, Decided};
use super::rewrite::{
    Changed, alias_of, all_of, arrow_cast, assigned, case, column, default_of, generated_error,
    is_default, is_generated, item, keyed, listed_column, null, number, select, writable_columns,
};
use super::{RowRules, collect, plan_query};
use crate::ddl;
use crate::deadline::Deadline;
use crate::engine::Engine;
use crate::error::{from_arrow, invalid};
use crate::local::blocking;
use crate::output::Output;
use crate::write::{CheckedRows, NoOrigin, key_batches, refuse_duplicates};

/// Is true in every row of the source.
const PRESENT: &str = "$present";
/// The number of the clause that decides; 0 for none.
const CLAUSE: &str = "$clause";

/// `MERGE`.
pub(super) async fn merge(engine: &Engine, merge: Merge) -> Result<Output, Error> {
    let deadline = engine.deadline();
    let changed = Changed::of(TableWithJoins {
        relation: merge.table,
        joins: Vec::new(),
    })?;
    let def = ddl::table_to_write(engine, &changed.name)?;
    let pairs = Pairs {
        def: Arc::clone(&def),
        label: changed.label(),
        source: source_label(&merge.source)?,
    };
    let names = (pairs.label.clone(), pairs.source.clone());
    let returning =
        merge_returning::of(engine, merge.output, names, (&merge.source, &deadline)).await?;
    let actions = actions(&merge.clauses);
    let beside = returning.as_ref().map_or(&[][..], |asked| &asked.columns);
    let query = pairs.query((merge.source, beside), *merge.on, merge.clauses)?;
    let plan = plan_query(engine, query, None, &deadline).await?;
    let (rows, scans) = collect(engine, &plan, deadline, "MERGE").await?;
    let rules = RowRules::of(engine, &def)?;
    let given = pairs.given();
    let (mut written, mut removed, mut decided) = (Vec::new(), Vec::new(), Vec::new());
    for batch in rows {
        let [new, gone] = split(&batch, &actions, given.len())?;
        removed.push(gone.rows.clone());
        let new = whole(&def, &rules, &given, new)?;
        written.push(new.rows.clone());
        if returning.is_some() {
            decided.extend([new, whole(&def, &rules, &given, gone)?]);
        }
    }
    let returned = match returning {
        Some(asked) => {
            let beside = with_action(plan.schema().as_arrow(), &asked.columns, given.len());
            Some(asked.answer(engine, &def, &decided, beside).await?)
        }
        None => None,
    };
    let key = |column: &usize| given.iter().position(|given| given == column);
    let key: Vec<usize> = def.primary_key.iter().filter_map(key).collect();
    let work = {
        let def = Arc::clone(&def);
        move || {
            let removed = key_batches(&def, &removed, &key)?;
            let written_keys = key_batches(&def, &written, &def.primary_key)?;
            let all = [written_keys, removed.clone()].concat();
            refuse_duplicates(&def, &all, &NoOrigin).map_err(twice)?;
            Ok::<_, Error>((written, removed))
        }
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

/// The columns of the source in the rows of the query, and what was done with each row.
fn with_action(schema: &Schema, names: &[String], given: usize) -> SchemaRef {
    let columns = schema.fields().iter().skip(1 + given).zip(names);
    let columns = columns.map(|(field, name)| field.as_ref().clone().with_name(name));
    let action = Field::new(ACTION, DataType::Utf8, true);
    Arc::new(Schema::new(columns.chain([action]).collect::<Vec<_>>()))
}

/// The query of a MERGE, planned.
pub(super) async fn query_of(
    engine: &Engine,
    merge: Merge,
    deadline: &Deadline,
) -> Result<LogicalPlan, Error> {
    let changed = Changed::of(TableWithJoins {
        relation: merge.table,
        joins: Vec::new(),
    })?;
    let pairs = Pairs {
        def: ddl::table_to_write(engine, &changed.name)?,
        label: changed.label(),
        source: source_label(&merge.source)?,
    };
    let query = pairs.query((merge.source, &[]), *merge.on, merge.clauses)?;
    plan_query(engine, query, None, deadline).await
}

/// Completes rows, of which those that are new may lack a hidden key.
fn whole(
    def: &TableDef,
    rules: &RowRules,
    given: &[usize],
    decided: Decided,
) -> Result<Decided, Error> {
    let hidden = |column: &usize| def.is_hidden(*column);
    let Decided { rows, beside } = decided;
    let Some(place) = given.iter().position(hidden) else {
        let rows = rules.complete(given, &rows)?;
        return Ok(Decided { rows, beside });
    };
    let is_new = is_null(rows.column(place)).map_err(from_arrow)?;
    let is_old = not(&is_new).map_err(from_arrow)?;
    let old = filter_record_batch(&rows, &is_old).map_err(from_arrow)?;
    let new = filter_record_batch(&rows, &is_new).map_err(from_arrow)?;
    let of_old = filter_record_batch(&beside, &is_old).map_err(from_arrow)?;
    let of_new = filter_record_batch(&beside, &is_new).map_err(from_arrow)?;
    let kept: Vec<usize> = (0..given.len()).filter(|other| *other != place).collect();
    let visible: Vec<usize> = given
        .iter()
        .filter(|column| !hidden(column))
        .copied()
        .collect();
    let new = new.project(&kept).map_err(from_arrow)?;
    let parts = [
        rules.complete(given, &old)?,
        rules.complete(&visible, &new)?,
    ];
    Ok(Decided {
        rows: concat_batches(&parts[0].schema(), &parts).map_err(from_arrow)?,
        beside: concat_batches(&beside.schema(), &[of_old, of_new]).map_err(from_arrow)?,
    })
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
    /// The columns of the table that the query gives, after the number of the clause.
    fn given(&self) -> Vec<usize> {
        let columns = 0..self.def.schema.fields().len();
        columns
            .filter(|column| !self.def.is_hidden(*column) || self.def.primary_key.contains(column))
            .filter(|column| !is_generated(&self.def, *column))
            .collect()
    }

    /// The rows that a clause decides about, behind the number of that clause.
    fn query(
        &self,
        (source, beside): (TableFactor, &[String]),
        on: Expr,
        clauses: Vec<MergeClause>,
    ) -> Result<Query, Error> {
        let has = |kinds: &[MergeClauseKind]| {
            let mut clauses = clauses.iter();
            clauses.any(|clause| kinds.contains(&clause.clause_kind))
        };
        let new = has(&[
            MergeClauseKind::NotMatched,
            MergeClauseKind::NotMatchedByTarget,
        ]);
        let on = JoinConstraint::On(on);
        let join = match (new, has(&[MergeClauseKind::NotMatchedBySource])) {
            (true, true) => JoinOperator::FullOuter(on),
            (true, false) => JoinOperator::Left(on),
            (false, true) => JoinOperator::Right(on),
            (false, false) => JoinOperator::Inner(on),
        };
        let from = self.joined(source, join)?;
        let mut decisions = Vec::with_capacity(clauses.len());
        let mut rows = Vec::with_capacity(clauses.len());
        for clause in clauses {
            let decides = self.kind(clause.clause_kind)?;
            decisions.push(all_of(decides.into_iter().chain(clause.predicate)));
            rows.push(self.row(clause.clause_kind, clause.action)?);
        }
        let numbers = decisions.iter().cloned().zip((1..).map(number));
        let mut projection = vec![item(case(numbers.collect(), number(0)), CLAUSE)];
        for column in self.given() {
            let data_type = self.def.schema.field(column).data_type();
            let mut branches = Vec::with_capacity(decisions.len());
            for (decides, row) in decisions.iter().zip(&mut rows) {
                let value = row.get_mut(column).and_then(Option::take);
                let value = value.unwrap_or_else(|| self.old(column));
                branches.push((decides.clone(), arrow_cast(value, data_type)?));
            }
            let name = self.def.column_name(column);
            projection.push(item(case(branches, null()), name));
        }
        for (place, name) in beside.iter().enumerate() {
            let value = column(&self.source, name);
            projection.push(item(value, &format!("$source{place}")));
        }
        let any = decisions.into_iter().reduce(|left, right| Expr::BinaryOp {
            left: Box::new(left),
            op: BinaryOperator::Or,
            right: Box::new(right),
        });
        select(projection, vec![from], any)
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
        ];
        let source = TableWithJoins {
            relation: source,
            joins: Vec::new(),
        };
        let alias = TableAlias {
            explicit: true,
            name: self.source.clone(),
            columns: Vec::new(),
            at: None,
        };
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
        let columns = match insert.columns.is_empty() {
            true => match values.len() == writable_columns(def).len() {
                true => writable_columns(def),
                false => def.visible_columns(),
            },
            false => {
                let names = insert.columns.iter();
                names
                    .map(|name| listed_column(def, name))
                    .collect::<Result<_, _>>()?
            }
        };
        if columns.len() != values.len() {
            return Err(invalid(format!(
                "INSERT in MERGE has {} values for {} columns",
                values.len(),
                columns.len()
            )));
        }
        // What is not listed has its default, and a hidden key is made.
        let mut row: Vec<Option<Expr>> = vec![None; def.schema.fields().len()];
        for column in self.given() {
            if let Some(place) = row.get_mut(column) {
                *place = Some(default_of(def, column)?);
            }
        }
        for (column, value) in columns.into_iter().zip(values) {
            let value = match (is_generated(def, column), is_default(&value)) {
                (true, true) => continue,
                (true, false) => return Err(generated_error(def, column)),
                (false, true) => default_of(def, column)?,
                (false, false) => value,
            };
            if let Some(place) = row.get_mut(column) {
                *place = Some(value);
            }
        }
        Ok(row)
    }
}

/// The rows to write, and those to remove, with the columns of the source beside them.
fn split(batch: &RecordBatch, actions: &[Action], given: usize) -> Result<[Decided; 2], Error> {
    let clauses = batch.column(0).as_primitive::<Int64Type>();
    let action = |clause: Option<i64>| {
        let place = usize::try_from(clause?).ok()?;
        actions.get(place.checked_sub(1)?).copied()
    };
    let decided: Vec<Option<Action>> = clauses.iter().map(action).collect();
    let columns: Vec<usize> = (1..=given).collect();
    let rows = batch.project(&columns).map_err(from_arrow)?;
    let names = decided.iter().map(|action| action.map(Action::name));
    let names: ArrayRef = Arc::new(StringArray::from_iter(names));
    let source = batch.columns().iter().skip(1 + given).cloned();
    let fields = batch.schema_ref().fields().iter().skip(1 + given).cloned();
    let action = Arc::new(Field::new(ACTION, DataType::Utf8, true));
    let schema = Schema::new(fields.chain([action]).collect::<Vec<_>>());
    let beside = RecordBatch::try_new(Arc::new(schema), source.chain([names]).collect());
    let beside = beside.map_err(from_arrow)?;
    let of = |removes: bool| {
        let is_of = |action: &Option<Action>| {
            action.is_some_and(|action| (action == Action::Remove) == removes)
        };
        let chosen: BooleanArray = decided.iter().map(|action| Some(is_of(action))).collect();
        Ok::<_, Error>(Decided {
            rows: filter_record_batch(&rows, &chosen).map_err(from_arrow)?,
            beside: filter_record_batch(&beside, &chosen).map_err(from_arrow)?,
        })
    };
    Ok([of(false)?, of(true)?])
}
