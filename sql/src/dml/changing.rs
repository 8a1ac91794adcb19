//! Changes in a WITH: `WITH gone AS (DELETE … RETURNING *) INSERT INTO archive SELECT * FROM gone`.
//!
//! Idea: the parts of such a statement are run one after the other by a handle that writes nothing and
//! keeps what is to be written ([`Gathered`]); what a part returns is a table for those behind it. At the
//! end everything is written together. Invariants: so no part sees what another one has changed; each is
//! done once, whether or not its rows are read; if one fails, nothing is written. No row is changed by two
//! parts. Non-goal: changes that are deeper in a statement.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{
    Cte, Query, Select, SelectInto, SelectItem, SetExpr, Statement, Visit, Visitor,
    WildcardAdditionalOptions, With,
};
use hashbrown::{HashMap, HashSet};
use netabase_store::{Change, Error, KeyEncoder, TableId};
use parking_lot::Mutex;

use super::rewrite::{quoted, select};
use super::with::{add_with, change_of};
use super::{collect, plan_query};
use crate::cluster::WriteReceipt;
use crate::engine::Engine;
use crate::error::{capacity, error_from_datafusion, invalid};
use crate::local::blocking;
use crate::output::Output;
use crate::scoped::{Scoped, relation_of_with};
use crate::statement::{ident_of, nested_write};
use crate::syntax::is_deep;
use crate::table_checker::check_tables;
use crate::transaction;
use crate::withs::reads;
use crate::write::{CheckedRows, logical_bytes};

/// What the parts of a statement change, and return.
#[derive(Debug)]
pub(crate) struct Gathered {
    changes: Mutex<(Vec<CheckedRows>, usize)>,
    returned: Scoped,
}

impl Default for Gathered {
    fn default() -> Self {
        Self {
            changes: Mutex::default(),
            returned: Scoped::of_with(),
        }
    }
}

impl Gathered {
    /// Keeps changes. Fails with `Capacity` above so many bytes.
    pub(crate) fn add(&self, limit: usize, more: Vec<CheckedRows>) -> Result<WriteReceipt, Error> {
        let mut changes = self.changes.lock();
        let (changes, bytes) = &mut *changes;
        let batches = more.iter().flat_map(CheckedRows::batches);
        *bytes += batches.map(logical_bytes).sum::<usize>();
        if *bytes > limit {
            return Err(capacity(format!(
                "this statement takes more than {limit} bytes of rows: raise max_insert_bytes, or write \
                 fewer rows at once"
            )));
        }
        let rows = more.iter().map(CheckedRows::rows).sum();
        changes.extend(more);
        Ok(WriteReceipt {
            rows,
            ..WriteReceipt::default()
        })
    }

    /// Lets a planning see what was returned so far.
    pub(crate) fn enter(&self, state: &mut SessionState) -> Result<(), Error> {
        let returned = self.returned.clone();
        returned.enter(state).map_err(error_from_datafusion)
    }

    /// Gives the rows that a part returned a name.
    async fn keep(&self, name: &str, output: Output) -> Result<(), Error> {
        let schema = output.schema();
        let rows = output.collect().await?;
        // All of its clones see the rows.
        let with = self.returned.clone().with(name, &schema, rows);
        with.map(|_| ()).map_err(error_from_datafusion)
    }

    fn take(&self) -> Vec<CheckedRows> {
        let (mut changes, _) = std::mem::take(&mut *self.changes.lock());
        changes.retain(|rows| rows.rows() > 0);
        changes
    }
}

fn is_change(query: &Query) -> bool {
    matches!(
        query.body.as_ref(),
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
    )
}

/// Whether a WITH before a query has changes.
pub(crate) fn changes_in_with(query: &Query) -> bool {
    let with = query.with.as_ref();
    with.is_some_and(|with| with.cte_tables.iter().any(|cte| is_change(&cte.query)))
}

/// The changes of such a statement, each with the queries that it may read; without what they return.
pub(crate) fn changes_of(query: &Query) -> Vec<(Statement, Option<With>)> {
    let (mut query, mut changes) = (query.clone(), Vec::new());
    let mut known = query.with.take();
    let ctes = known
        .as_mut()
        .map(|with| std::mem::take(&mut with.cte_tables));
    let mut take = |query: &mut Query, known: &Option<With>| {
        let before = known.clone().filter(|with| !with.cte_tables.is_empty());
        if let Some((own, statement)) = change_of(query) {
            changes.push((statement, joined(before, own)));
        }
    };
    for mut cte in ctes.into_iter().flatten() {
        match is_change(&cte.query) {
            true => take(&mut cte.query, &known),
            false => known
                .iter_mut()
                .for_each(|with| with.cte_tables.push(cte.clone())),
        }
    }
    take(&mut query, &known);
    for (statement, _) in &mut changes {
        match statement {
            Statement::Insert(insert) => {
                (insert.on, insert.or, insert.returning) = (None, None, None);
                insert.table_alias = None;
            }
            Statement::Update(update) => update.returning = None,
            Statement::Delete(delete) => delete.returning = None,
            _ => {}
        }
    }
    changes
}

fn joined(before: Option<With>, own: Option<With>) -> Option<With> {
    match (before, own) {
        (Some(mut before), Some(own)) => {
            before.recursive |= own.recursive;
            before.cte_tables.extend(own.cte_tables);
            Some(before)
        }
        (before, own) => before.or(own),
    }
}

/// Fails if a WITH somewhere in a statement has changes, or a query makes a table.
pub(crate) fn refuse_changes_inside(statement: &impl Visit) -> Result<(), Error> {
    struct Finder;
    impl Visitor for Finder {
        type Break = Error;
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
            match changes_in_with(query) {
                true => ControlFlow::Break(nested_write()),
                false => ControlFlow::Continue(()),
            }
        }
        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Error> {
            match &select.into {
                Some(into) => ControlFlow::Break(select_into(into)),
                None => ControlFlow::Continue(()),
            }
        }
    }
    match statement.visit(&mut Finder) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn select_into(into: &SelectInto) -> Error {
    let name = &into.name;
    invalid(format!(
        "SELECT INTO is not supported: write CREATE TABLE {name} AS SELECT …"
    ))
}

/// Runs a statement whose WITH has changes.
pub(crate) async fn run(engine: &Engine, mut query: Query) -> Result<Output, Error> {
    if is_deep(&query) {
        return Err(invalid(
            "a WITH that changes rows cannot be in a statement with so many UNIONs: use several statements in \
             a transaction",
        ));
    }
    let gathered = Arc::new(Gathered::default());
    let inner = engine.gathering(&gathered);
    let known = parts(&inner, (&gathered, &mut query)).await?;
    add_with(&mut query, known);
    let output = match change_of(&mut query) {
        Some((with, statement)) => {
            check_tables(&statement)?;
            Box::pin(super::run(&inner, statement, with)).await?
        }
        None => answer(&inner, query).await?,
    };
    let own = output.receipt().map(|receipt| receipt.rows);
    let mut receipt = write(engine, gathered.take()).await?;
    receipt.rows = own.unwrap_or(receipt.rows);
    Ok(output.with_receipt(receipt))
}

/// The rows of a query, all of them: what follows it may change what it reads.
async fn answer(engine: &Engine, query: Query) -> Result<Output, Error> {
    let deadline = engine.deadline();
    let plan = plan_query(engine, query, None, &deadline).await?;
    let schema = plan.schema().inner().clone();
    let (rows, scans) = collect(engine, &plan, deadline, "statement").await?;
    Ok(Output::ready(schema, rows, scans))
}

/// Runs the changes of a WITH; what is left of it for the others.
async fn parts(
    engine: &Engine,
    (gathered, query): (&Gathered, &mut Query),
) -> Result<Option<With>, Error> {
    let Some(mut with) = query.with.take() else {
        return Ok(None);
    };
    read_once(query, &with)?;
    let mut coming = std::mem::take(&mut with.cte_tables).into_iter();
    while let Some(mut cte) = coming.next() {
        if !is_change(&cte.query) {
            with.cte_tables.push(cte);
            continue;
        }
        refuse_changes_inside(&cte.query)?;
        let name = ident_of(&cte.alias.name);
        let Some((own, statement)) = change_of(&mut cte.query) else {
            continue;
        };
        check_tables(&statement)?;
        let returns = returns(&statement);
        let before = (!with.cte_tables.is_empty()).then(|| with.clone());
        let part = run_part(engine, statement, (before, own)).await?;
        if returns {
            let place = with.cte_tables.len().to_string();
            gathered.keep(&place, part).await?;
            cte.query = Box::new(all_of(&place)?);
            with.cte_tables.push(cte);
        } else if is_named(query, coming.as_slice(), &name) {
            return Err(invalid(format!(
                "\"{name}\" of this WITH has no rows, because it changes some without RETURNING: add \
                 RETURNING, with the columns that are wanted"
            )));
        }
    }
    Ok((!with.cte_tables.is_empty()).then_some(with))
}

async fn run_part(
    engine: &Engine,
    statement: Statement,
    (before, own): (Option<With>, Option<With>),
) -> Result<Output, Error> {
    let with = joined(before, own);
    // A WITH that nobody reads is no mistake here.
    let takes_none = matches!(&statement, Statement::Insert(insert) if insert.source.is_none());
    let with = with.filter(|_| !takes_none);
    Box::pin(super::run(engine, statement, with)).await
}

fn returns(statement: &Statement) -> bool {
    match statement {
        Statement::Insert(insert) => insert.returning.is_some(),
        Statement::Update(update) => update.returning.is_some(),
        Statement::Delete(delete) => delete.returning.is_some(),
        Statement::Merge(merge) => merge.output.is_some(),
        _ => false,
    }
}

/// The query for the rows that a part returned.
fn all_of(place: &str) -> Result<Query, Error> {
    let all = SelectItem::Wildcard(WildcardAdditionalOptions::default());
    let from = relation_of_with(place, quoted("returned"));
    select(vec![all], vec![from], None)
}

/// Fails if a query of the WITH is read by several parts, each of which would compute it anew.
fn read_once(query: &Query, with: &With) -> Result<(), Error> {
    let tables = &with.cte_tables;
    for cte in tables.iter().filter(|cte| !is_change(&cte.query)) {
        let name = ident_of(&cte.alias.name);
        let in_parts = tables
            .iter()
            .filter(|part| is_named(&part.query, &[], &name));
        if in_parts.count() + usize::from(is_named(query, &[], &name)) > 1 {
            return Err(invalid(format!(
                "\"{name}\" is read by several parts of a statement that changes rows, and might give each of \
                 them others: keep its rows in a table first, and use several statements in a transaction"
            )));
        }
    }
    Ok(())
}

/// Whether the rest of a statement reads something of this name.
fn is_named(query: &Query, rest: &[Cte], name: &str) -> bool {
    reads(query, name) || rest.iter().any(|cte| reads(&*cte.query, name))
}

/// Writes what all parts have changed.
async fn write(engine: &Engine, changes: Vec<CheckedRows>) -> Result<WriteReceipt, Error> {
    let mut changes = blocking(move || apart(changes)).await?;
    // Where they cannot take effect together, rows are rather there twice than nowhere.
    changes.sort_by_key(|rows| rows.change() == Change::Delete);
    if engine.transaction().is_open() || changes.len() < 2 {
        return engine.apply(changes).await;
    }
    transaction::check_together(engine, &changes)?;
    engine.write_together(changes).await
}

/// Fails if two changes concern the same row.
fn apart(changes: Vec<CheckedRows>) -> Result<Vec<CheckedRows>, Error> {
    let mut tables: HashMap<TableId, usize> = HashMap::new();
    for rows in &changes {
        *tables.entry(rows.def().id).or_default() += 1;
    }
    let mut keys: HashMap<TableId, HashSet<Box<[u8]>>> = HashMap::new();
    for rows in &changes {
        let def = rows.def();
        if tables.get(&def.id).is_none_or(|parts| *parts < 2) {
            continue;
        }
        let (encoder, mut own) = (KeyEncoder::new(def)?, HashSet::new());
        for batch in rows.batches().iter().filter(|batch| batch.num_rows() > 0) {
            own.extend(encoder.encode(batch)?.iter().map(|key| key.data().into()));
        }
        let known: &mut HashSet<Box<[u8]>> = keys.entry(def.id).or_default();
        if own.iter().any(|key| known.contains(key)) {
            return Err(invalid(format!(
                "this statement changes a row of table \"{}\" twice, and it is not said which change comes \
                 last: use two statements in a transaction",
                def.name
            )));
        }
        known.extend(own);
    }
    Ok(changes)
}
