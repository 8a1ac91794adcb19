//! Views: queries with a name.
//!
//! Idea: a view is a definition like a table's, so that it comes to every peer; a plain one has no
//! rows, a materialized one keeps those of its query until it is refreshed. Invariant: a plain view
//! is planned anew whenever it is read. The rows of a materialized view have keys that are made of
//! their values, so that refreshing it writes only what differs, and may be tried again.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{CreateTableOptions, CreateView, ObjectName};
use netabase_store::arrow_row::{RowConverter, SortField};
use netabase_store::{Error, ErrorKind, TableDef, ViewDef};

use super::clauses::table_options;
use super::columns::{Columns, Constraints};
use super::{definition, known_table, new_name, stored_fields, unfinished};
use crate::deadline::Deadline;
use crate::dml::{self, ROW_ID_BYTES};
use crate::engine::Engine;
use crate::error::{conflict, from_arrow, invalid};
use crate::local::blocking;
use crate::open;
use crate::output::Output;
use crate::path;
use crate::sql_types::in_sql;
use crate::statement::{ident_of, parse_query, refuse_given};
use crate::syntax::{doubled, kept_query};

/// The only column of a plain view's definition, which has no rows.
const NO_COLUMN: &str = "view";

/// `CREATE [OR REPLACE] [MATERIALIZED] VIEW`.
pub(crate) async fn create_view(
    engine: &Engine,
    mut statement: CreateView,
) -> Result<Output, Error> {
    refuse_clauses(&statement)?;
    let name = new_name(engine, &statement.name)?;
    // Whoever reads it may have another path.
    path::qualify(&mut statement.query, &engine.search_path(), engine.store());
    if !statement.materialized {
        open::refuse_in_view(&mut statement.query)?;
    }
    if let Some(def) = crate::catalog::live_table(engine.store(), &name) {
        if statement.if_not_exists {
            return Ok(Output::empty());
        }
        return match statement.or_replace && is_plain_view(&def) && !statement.materialized {
            true => {
                open::settle_view(engine, &mut statement.query).await?;
                replace_view(engine, &def, &statement).await
            }
            false => Err(conflict(format!(
                "\"{name}\" exists already; drop it first, or choose another name"
            ))),
        };
    }
    open::settle_view(engine, &mut statement.query).await?;
    let query = text_of(&statement)?;
    let plan = dml::plan_query(engine, parse_query(&query)?, None, &Deadline::none()).await?;
    refuse_doubled(&plan)?;
    let mut options = table_options(&statement.options)?;
    let mut read = Constraints::default();
    read.rules.comment = statement.comment;
    let materialized = statement.materialized;
    read.rules.view = Some(ViewDef {
        query,
        materialized,
    });
    if materialized {
        let columns = read.finish(&name, stored_fields(&plan))?;
        let def = definition(engine, name, columns, options)?;
        let fill = async |def: Arc<TableDef>| fill(engine, &def).await;
        return unfinished::create_filled(engine, def, fill).await;
    }
    options.shards = 1;
    let columns = Columns {
        schema: Schema::new(vec![Field::new(NO_COLUMN, DataType::Utf8View, false)]),
        key: vec![0],
        rules: read.rules,
        unique: Vec::new(),
    };
    let def = definition(engine, name, columns, options)?;
    engine.cluster().create_table(def).await?;
    Ok(Output::empty())
}

/// Gives a view another query, which is known to plan.
async fn replace_view(
    engine: &Engine,
    def: &TableDef,
    statement: &CreateView,
) -> Result<Output, Error> {
    let query = text_of(statement)?;
    let plan = dml::plan_query(engine, parse_query(&query)?, None, &Deadline::none()).await?;
    refuse_doubled(&plan)?;
    let mut changed = def.clone();
    changed.options.rules.view = Some(ViewDef {
        query,
        materialized: false,
    });
    let given = !matches!(statement.options, CreateTableOptions::None);
    let way_out = "DROP VIEW it first: what is there keeps its options";
    refuse_given("CREATE OR REPLACE VIEW … ", &[("WITH", given, way_out)])?;
    changed.options.rules.comment = statement.comment.clone();
    engine.cluster().alter_table(changed).await?;
    Ok(Output::empty())
}

fn refuse_doubled(plan: &LogicalPlan) -> Result<(), Error> {
    match doubled(plan.schema().as_arrow()) {
        Some(name) => Err(invalid(format!("column \"{name}\" is defined twice"))),
        None => Ok(()),
    }
}

/// The query of a view, with the names that the statement gives its columns.
fn text_of(statement: &CreateView) -> Result<String, Error> {
    let query = kept_query(&statement.query)?;
    if statement.columns.is_empty() {
        return Ok(query);
    }
    let quoted = |name: String| format!("\"{}\"", name.replace('"', "\"\""));
    let names = statement.columns.iter();
    let names: Vec<String> = names.map(|column| quoted(ident_of(&column.name))).collect();
    Ok(format!(
        "SELECT * FROM ({query}) AS renamed({})",
        names.join(", ")
    ))
}

fn refuse_clauses(statement: &CreateView) -> Result<(), Error> {
    let clauses = [
        (
            "OR ALTER",
            statement.or_alter,
            "write CREATE OR REPLACE VIEW",
        ),
        ("SECURE", statement.secure, "leave it out"),
        (
            "CLUSTER BY",
            !statement.cluster_by.is_empty(),
            "order the rows in queries",
        ),
        (
            "WITH NO SCHEMA BINDING",
            statement.with_no_schema_binding,
            "leave it out: a view is planned when it is read",
        ),
        (
            "TEMPORARY",
            statement.temporary,
            "use WITH name AS (SELECT …) in the query",
        ),
        ("TO", statement.to.is_some(), "leave it out"),
        (
            "OR REPLACE … MATERIALIZED",
            statement.or_replace && statement.materialized,
            "DROP MATERIALIZED VIEW IF EXISTS it first",
        ),
        (
            "ALGORITHM, DEFINER or SQL SECURITY",
            statement.params.is_some(),
            "leave it out",
        ),
    ];
    refuse_given("CREATE VIEW … ", &clauses)
}

fn is_plain_view(def: &TableDef) -> bool {
    let view = def.options.rules.view.as_ref();
    view.is_some_and(|view| !view.materialized)
}

/// The views of `DROP [MATERIALIZED] VIEW`: all names are checked before the first one goes.
pub(super) fn views_to_drop(
    engine: &Engine,
    names: &[ObjectName],
    (materialized, if_exists): (bool, bool),
) -> Result<Vec<Arc<TableDef>>, Error> {
    let mut defs = Vec::with_capacity(names.len());
    for name in names {
        let def = match known_table(engine, name) {
            Ok(def) => def,
            Err(error) if if_exists && error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        match &def.options.rules.view {
            Some(view) if view.materialized == materialized => defs.push(def),
            Some(_) if materialized => {
                return Err(invalid(format!("{name} is a plain view: use DROP VIEW")));
            }
            Some(_) => {
                return Err(invalid(format!(
                    "{name} is a materialized view: use DROP MATERIALIZED VIEW"
                )));
            }
            None => return Err(invalid(format!("{name} is a table: use DROP TABLE"))),
        }
    }
    Ok(defs)
}

/// `REFRESH MATERIALIZED VIEW`.
pub(crate) async fn refresh(engine: &Engine, name: &ObjectName) -> Result<Output, Error> {
    let def = known_table(engine, name)?;
    match &def.options.rules.view {
        Some(view) if view.materialized => fill(engine, &def).await,
        _ => Err(invalid(format!(
            "{name} is not a materialized view: there is nothing to refresh"
        ))),
    }
}

/// Lets a materialized view have the rows of its query: writes those that it lacks, and removes those
/// that it should not have.
async fn fill(engine: &Engine, def: &Arc<TableDef>) -> Result<Output, Error> {
    let Some(view) = &def.options.rules.view else {
        return Ok(Output::empty());
    };
    let deadline = Deadline::none();
    let plan = dml::plan_query(engine, parse_query(&view.query)?, None, &deadline).await?;
    refuse_other_columns(def, &stored_fields(&plan))?;
    let visible = def.visible_columns();
    let plan = dml::as_rows(def, plan, &visible)?;
    let (rows, scans) = dml::collect(engine, &plan, deadline, "REFRESH").await?;
    let keyed = {
        let def = Arc::clone(def);
        blocking(move || with_keys(&def, rows)).await?
    };
    let known = match def.options.rules.unfinished {
        true => Vec::new(),
        false => dml::keys_of(engine, def, &deadline).await?,
    };
    let receipt = dml::replace_rows(engine, def, keyed, known).await?;
    Output::written(receipt, scans)
}

/// Fails if the query, whose tables may have been altered, gives other columns than when the view was made.
fn refuse_other_columns(def: &TableDef, given: &[Field]) -> Result<(), Error> {
    let visible = def.visible_columns();
    let known: Vec<Field> = visible
        .iter()
        .map(|column| def.schema.field(*column).clone())
        .collect();
    let shape = |fields: &[Field]| {
        let columns = fields.iter().map(|field| {
            let data_type = in_sql(&field.data_type().to_string());
            format!("{} {data_type}", field.name())
        });
        columns.collect::<Vec<_>>().join(", ")
    };
    let (known, given) = (shape(&known), shape(given));
    if known == given {
        return Ok(());
    }
    Err(invalid(format!(
        "the query of materialized view \"{0}\" gives ({given}) now, but the view has ({known}): DROP \
         MATERIALIZED VIEW {0}, and create it anew",
        def.name,
    )))
}

/// Whole rows: the hidden key is a hash of the values, and of how many rows like it came before.
fn with_keys(def: &TableDef, rows: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, Error> {
    let visible = def.visible_columns();
    let fields = visible.iter().map(|column| def.schema.field(*column));
    let fields = fields.map(|field| SortField::new(field.data_type().clone()));
    let converter = RowConverter::new(fields.collect()).map_err(from_arrow)?;
    let mut seen: HashMap<[u8; 32], u64> = HashMap::new();
    let mut keyed = Vec::with_capacity(rows.len());
    for batch in rows {
        let encoded = converter
            .convert_columns(batch.columns())
            .map_err(from_arrow)?;
        let mut keys = FixedSizeBinaryBuilder::with_capacity(batch.num_rows(), ROW_ID_BYTES);
        for row in encoded.iter() {
            let hash = *blake3::hash(row.data()).as_bytes();
            let before = seen.entry(hash).or_default();
            let key = blake3::keyed_hash(&hash, &before.to_le_bytes());
            *before += 1;
            let key = key
                .as_bytes()
                .get(..ROW_ID_BYTES as usize)
                .unwrap_or_default();
            keys.append_value(key).map_err(from_arrow)?;
        }
        let keys: ArrayRef = Arc::new(keys.finish());
        let mut columns = batch.columns().to_vec();
        columns.push(keys);
        let schema = dml::named_schema(def);
        keyed.push(RecordBatch::try_new(schema, columns).map_err(from_arrow)?);
    }
    Ok(keyed)
}
