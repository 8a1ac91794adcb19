//! A table that takes the place of another one, with rows of another shape.
//!
//! Idea: the rows of a shard all have one shape, for ever; a column that is added makes another table.
//! The old one is frozen, its rows are copied, and it is dropped, with which the new one becomes
//! visible under the same name. Invariants: a write that is acknowledged is in one of the two: while
//! the rows are copied no peer that knows of it takes any, and a write needs all replicas; what
//! fails leaves the old table as it was. Non-goal: keeping versions and authors, which become those
//! of the copy.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Field, Schema};
use netabase_store::{ColumnRules, Error, IndexDef, TableDef, TableRules};

use super::alter::{Draft, Recast};
use super::{check_rules, table_id};
use crate::dml;
use crate::engine::Engine;
use crate::error::unavailable;
use crate::output::Output;

/// How long a table is frozen beyond the statement's own time, so that it is not thawed too early.
const FROZEN_MARGIN: Duration = Duration::from_secs(10);

/// Makes the table of a draft, copies the rows into it, and drops the old one.
pub(super) async fn replace(
    engine: &Engine,
    old: &Arc<TableDef>,
    draft: Draft,
) -> Result<Output, Error> {
    let (new, kept) = definition(engine, old, &draft);
    new.validate()?;
    let new = Arc::new(new);
    check_rules(engine, &new)?;
    let until = engine.settings().statement_timeout + FROZEN_MARGIN;
    let frozen = freeze(engine, old, Some(until)).await?;
    let copied = copy(engine, old, Arc::unwrap_or_clone(new), (draft, kept)).await;
    match copied {
        // The new one is visible from here on.
        Ok(()) => match engine.cluster().drop_table(Arc::clone(&frozen)).await {
            Ok(()) => Ok(Output::empty()),
            Err(error) => Err(unavailable(format!(
                "table \"{}\" was altered, but not every peer knows it yet: {error}",
                old.name
            ))),
        },
        Err(error) => {
            if let Err(error) = freeze(engine, &frozen, None).await {
                tracing::warn!(table = %old.name, %error, "the table stays frozen until its time is up");
            }
            Err(error)
        }
    }
}

/// Lets no write come, for a while; or lets them come again.
async fn freeze(
    engine: &Engine,
    def: &Arc<TableDef>,
    time: Option<Duration>,
) -> Result<Arc<TableDef>, Error> {
    let now = engine.store().clock().now().millis();
    let mut changed = TableDef::clone(def);
    changed.options.rules.frozen_until = time.map(|time| {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        now.saturating_add(millis)
    });
    engine.cluster().alter_table(changed).await
}

/// The new definition, and which column of the old one each column is; the added ones come last but for
/// a hidden key.
fn definition(engine: &Engine, old: &TableDef, draft: &Draft) -> (TableDef, Vec<usize>) {
    let def = &draft.def;
    let kept: Vec<usize> = (0..def.schema.fields().len())
        .filter(|column| !def.is_hidden(*column) || def.primary_key.contains(column))
        .collect();
    let (mut fields, mut rules) = (Vec::new(), Vec::new());
    for column in &kept {
        let field = def.schema.field(*column).clone();
        let name = match def.is_hidden(*column) {
            true => field.name().clone(),
            false => def.column_name(*column).to_owned(),
        };
        let field = match draft.recast.get(column) {
            Some(Recast {
                data_type,
                nullable,
                ..
            }) => Field::new(name, data_type.clone(), *nullable),
            None => field.with_name(name),
        };
        fields.push(field);
        let known = def.column_rules(*column).cloned().unwrap_or_default();
        rules.push(ColumnRules {
            name: None,
            ..known
        });
    }
    for (field, added) in &draft.added {
        fields.push(field.clone());
        rules.push(added.clone());
    }
    let place = |column: &usize| kept.iter().position(|other| other == column).unwrap_or(0);
    let places = |columns: &[usize]| columns.iter().map(place).collect::<Vec<_>>();
    let created = engine.store().clock().now();
    let owner = engine.cluster().me();
    let mut options = def.options.clone();
    options.revision = 0;
    options.first_name = None;
    options.indexes = options
        .indexes
        .into_iter()
        .map(|index| IndexDef {
            columns: index
                .columns
                .iter()
                .map(|column| place(&(*column as usize)) as u32)
                .collect(),
            ..index
        })
        .collect();
    options.rules = TableRules {
        columns: rules,
        frozen_until: None,
        replaces: Some(old.id),
        ..options.rules
    };
    let new = TableDef {
        id: table_id(&def.name, owner, created),
        name: def.name.clone(),
        schema: Arc::new(Schema::new(fields)),
        primary_key: places(&def.primary_key),
        shard_key: places(&def.shard_key),
        created,
        placement: Vec::new(),
        options,
        attachment: Vec::new(),
        ..def.clone()
    };
    (new, kept)
}

/// Makes the new table and copies the rows; if that fails, there is none.
async fn copy(
    engine: &Engine,
    old: &Arc<TableDef>,
    new: TableDef,
    (mut draft, kept): (Draft, Vec<usize>),
) -> Result<(), Error> {
    let new = engine.cluster().create_table(new).await?;
    let copied = copy_rows(engine, old, &new, (&mut draft, &kept)).await;
    if copied.is_err()
        && let Err(error) = engine.cluster().drop_table(Arc::clone(&new)).await
    {
        tracing::warn!(table = %new.name, %error, "a copy that failed was not dropped");
    }
    copied
}

async fn copy_rows(
    engine: &Engine,
    old: &Arc<TableDef>,
    new: &Arc<TableDef>,
    (draft, kept): (&mut Draft, &[usize]),
) -> Result<(), Error> {
    let deadline = engine.deadline();
    let label = dml::quoted(&old.table_name());
    let mut given = Vec::new();
    let mut projection = Vec::new();
    for (place, column) in kept.iter().enumerate() {
        if dml::is_generated(new, place) {
            continue;
        }
        let name = old.column_name(*column);
        let value = match draft
            .recast
            .get_mut(column)
            .and_then(|recast| recast.using.take())
        {
            Some(using) => using,
            None => dml::column(&label, name),
        };
        given.push(place);
        projection.push(dml::item(value, new.schema.field(place).name()));
    }
    let from = dml::from_keyed(old, label);
    let query = dml::select(projection, vec![from], None)?;
    let plan = dml::plan_query(engine, query, None, &deadline).await?;
    let plan = dml::as_rows(new, plan, &given)?;
    dml::write_given(engine, new, (plan, given), deadline).await?;
    Ok(())
}
