//! `information_schema`, as the standard and PostgreSQL have it, over our tables.
//!
//! Invariant: `data_type` is what `CREATE TABLE` writes; positions begin at 1.

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use netabase_store::{IndexDef, TableDef};

use super::facts::{fraction, numeric, octets, udt_name};
use super::rows::{Kind, Row, SystemTable, Value, column, optional};
use super::{Sources, names, place_of, schemas};
use crate::catalog::CATALOG;
use crate::declared::most_chars;
use crate::describe::{ColumnFacts, has_key};
use crate::path;
use crate::sql_type::column_type;

/// What `is_…` columns say.
fn yes_or_no(flag: bool) -> Value {
    if flag { "YES" } else { "NO" }.into()
}

pub(super) const TABLES: SystemTable = SystemTable {
    name: "tables",
    comment: "Every table",
    columns: &[
        column("table_catalog", Kind::Text, "The catalog: netabase"),
        column("table_schema", Kind::Text, "The schema"),
        column("table_name", Kind::Text, "The table"),
        column(
            "table_type",
            Kind::Text,
            "BASE TABLE, VIEW or MATERIALIZED VIEW",
        ),
        column("is_insertable_into", Kind::Text, "YES or NO"),
    ],
    rows: tables,
};

fn tables(sources: &Sources, _: &TaskContext) -> Result<Vec<Row>> {
    let row = |schema: &str, table: &str, kind: &str| -> Row {
        let base = kind == "BASE TABLE";
        vec![
            CATALOG.into(),
            schema.into(),
            table.into(),
            kind.into(),
            yes_or_no(base),
        ]
    };
    let users = sources.store.tables();
    let users = users.iter().map(|def| {
        let kind = match &def.options.rules.view {
            Some(view) if view.materialized => "MATERIALIZED VIEW",
            Some(_) => "VIEW",
            None => "BASE TABLE",
        };
        let (schema, table) = place_of(def);
        row(&schema, &table, kind)
    });
    let system = names().map(|(schema, table)| row(schema, table, "VIEW"));
    Ok(users.chain(system).collect())
}

pub(super) const VIEWS: SystemTable = SystemTable {
    name: "views",
    comment: "Every view; those that describe others have no definition",
    columns: &[
        column("table_catalog", Kind::Text, "The catalog: netabase"),
        column("table_schema", Kind::Text, "The schema"),
        column("table_name", Kind::Text, "The view"),
        optional(
            "view_definition",
            Kind::Text,
            "The query that it is made of",
        ),
    ],
    rows: views,
};

fn views(sources: &Sources, _: &TaskContext) -> Result<Vec<Row>> {
    let row = |schema: &str, table: &str, definition: Option<&str>| -> Row {
        vec![
            CATALOG.into(),
            schema.into(),
            table.into(),
            definition.into(),
        ]
    };
    let users = sources.store.tables();
    let users = users.iter().filter_map(|def| {
        let view = def.options.rules.view.as_ref()?;
        let (schema, table) = place_of(def);
        Some(row(&schema, &table, Some(view.query.as_str())))
    });
    let system = names().map(|(schema, table)| row(schema, table, None));
    Ok(users.chain(system).collect())
}

pub(super) const SCHEMATA: SystemTable = SystemTable {
    name: "schemata",
    comment: "The schemas",
    columns: &[
        column("catalog_name", Kind::Text, "The catalog: netabase"),
        column("schema_name", Kind::Text, "The schema"),
        optional(
            "schema_owner",
            Kind::Text,
            "The peer that made it; NULL for those that are always there",
        ),
        optional(
            "default_character_set_catalog",
            Kind::Text,
            "NULL, as in PostgreSQL",
        ),
        optional(
            "default_character_set_schema",
            Kind::Text,
            "NULL, as in PostgreSQL",
        ),
        optional("default_character_set_name", Kind::Text, "UTF8"),
        optional("sql_path", Kind::Text, "NULL, as in PostgreSQL"),
    ],
    rows: schemata,
};

fn schemata(sources: &Sources, _: &TaskContext) -> Result<Vec<Row>> {
    let made = sources.store.schemas();
    let row = |schema: String| -> Row {
        let of = |def: &&Arc<TableDef>| def.schema_name().as_ref() == Some(&schema);
        let owner = made.iter().find(of).map(|def| def.owner.to_string());
        vec![
            CATALOG.into(),
            schema.into(),
            owner.into(),
            Value::Null,
            Value::Null,
            "UTF8".into(),
            Value::Null,
        ]
    };
    Ok(path::schemas(&sources.store).into_iter().map(row).collect())
}

pub(super) const COLUMNS: SystemTable = SystemTable {
    name: "columns",
    comment: "The columns of every table",
    columns: &[
        column("table_catalog", Kind::Text, "The catalog: netabase"),
        column("table_schema", Kind::Text, "The schema"),
        column("table_name", Kind::Text, "The table"),
        column("column_name", Kind::Text, "The column"),
        column(
            "ordinal_position",
            Kind::Number,
            "Its place in the table, from 1",
        ),
        optional(
            "column_default",
            Kind::Text,
            "What it is when an INSERT leaves it out",
        ),
        column("is_nullable", Kind::Text, "YES or NO"),
        column(
            "data_type",
            Kind::Text,
            "Its type, as CREATE TABLE writes it",
        ),
        optional(
            "character_maximum_length",
            Kind::Number,
            "The most characters of a text; NULL: no limit",
        ),
        optional(
            "character_octet_length",
            Kind::Number,
            "The most bytes of a text or of bytes",
        ),
        optional(
            "numeric_precision",
            Kind::Number,
            "Digits of a number, in its radix",
        ),
        optional("numeric_precision_radix", Kind::Number, "2 or 10"),
        optional(
            "numeric_scale",
            Kind::Number,
            "Digits behind the point of an exact number",
        ),
        optional(
            "datetime_precision",
            Kind::Number,
            "Digits behind the second's point",
        ),
        optional(
            "interval_type",
            Kind::Text,
            "NULL: intervals have all fields",
        ),
        column("udt_catalog", Kind::Text, "The catalog: netabase"),
        column(
            "udt_schema",
            Kind::Text,
            "The schema of its type: pg_catalog",
        ),
        column(
            "udt_name",
            Kind::Text,
            "Its type as PostgreSQL calls it within, such as int4",
        ),
        column("is_generated", Kind::Text, "ALWAYS or NEVER"),
        optional(
            "generation_expression",
            Kind::Text,
            "What it is computed from",
        ),
    ],
    rows: columns,
};

fn columns(sources: &Sources, _: &TaskContext) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for def in sources.store.tables() {
        for (index, (field, facts, _)) in sources.columns_of(&def).iter().enumerate() {
            let (schema, table) = place_of(&def);
            let place = (schema.as_str(), table.as_str(), index);
            rows.push(column_row(place, field, facts.clone()));
        }
    }
    for (schema, table, columns) in schemas() {
        for (index, field) in columns.fields().iter().enumerate() {
            rows.push(column_row(
                (schema, table, index),
                field,
                ColumnFacts::default(),
            ));
        }
    }
    Ok(rows)
}

fn column_row(
    (schema, table, index): (&str, &str, usize),
    field: &Field,
    facts: ColumnFacts,
) -> Row {
    let (precision, radix, scale) = numeric(field.data_type());
    let generated = if facts.generated.is_some() {
        "ALWAYS"
    } else {
        "NEVER"
    };
    vec![
        CATALOG.into(),
        schema.into(),
        table.into(),
        field.name().as_str().into(),
        (index + 1).into(),
        facts.default.into(),
        yes_or_no(field.is_nullable()),
        column_type(field).into(),
        most_chars(field).into(),
        octets(field.data_type()).into(),
        precision.into(),
        radix.into(),
        scale.into(),
        fraction(field.data_type()).into(),
        Value::Null,
        CATALOG.into(),
        "pg_catalog".into(),
        udt_name(field).into(),
        generated.into(),
        facts.generated.into(),
    ]
}

pub(super) const TABLE_CONSTRAINTS: SystemTable = SystemTable {
    name: "table_constraints",
    comment: "What the rows of tables must be",
    columns: &[
        column("constraint_catalog", Kind::Text, "The catalog: netabase"),
        column("constraint_schema", Kind::Text, "The schema"),
        column("constraint_name", Kind::Text, "The constraint"),
        column("table_catalog", Kind::Text, "The catalog: netabase"),
        column("table_schema", Kind::Text, "The schema"),
        column("table_name", Kind::Text, "The table"),
        column(
            "constraint_type",
            Kind::Text,
            "PRIMARY KEY, UNIQUE or CHECK",
        ),
        column("is_deferrable", Kind::Text, "NO"),
        column("initially_deferred", Kind::Text, "NO"),
        column("enforced", Kind::Text, "YES"),
    ],
    rows: table_constraints,
};

/// The name of a table's primary key, as PostgreSQL would give it.
fn key_name(table: &str) -> String {
    format!("{table}_pkey")
}

fn table_constraints(sources: &Sources, _: &TaskContext) -> Result<Vec<Row>> {
    let row = |(schema, table): &(String, String), name: &str, kind: &str| -> Row {
        vec![
            CATALOG.into(),
            schema.as_str().into(),
            name.into(),
            CATALOG.into(),
            schema.as_str().into(),
            table.as_str().into(),
            kind.into(),
            "NO".into(),
            "NO".into(),
            "YES".into(),
        ]
    };
    let mut rows = Vec::new();
    for def in sources.store.tables() {
        let (table, rules) = (&place_of(&def), &def.options.rules);
        rows.extend(has_key(&def).then(|| row(table, &key_name(&table.1), "PRIMARY KEY")));
        rows.extend(rules.unique.iter().map(|name| row(table, name, "UNIQUE")));
        rows.extend(
            rules
                .checks
                .iter()
                .map(|check| row(table, &check.name, "CHECK")),
        );
    }
    Ok(rows)
}

pub(super) const CHECK_CONSTRAINTS: SystemTable = SystemTable {
    name: "check_constraints",
    comment: "The conditions that the rows of tables meet",
    columns: &[
        column("constraint_catalog", Kind::Text, "The catalog: netabase"),
        column("constraint_schema", Kind::Text, "The schema"),
        column("constraint_name", Kind::Text, "The constraint"),
        column("check_clause", Kind::Text, "The condition"),
    ],
    rows: check_constraints,
};

fn check_constraints(sources: &Sources, _: &TaskContext) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for def in sources.store.tables() {
        rows.extend(def.options.rules.checks.iter().map(|check| {
            let (name, condition) = (check.name.as_str(), check.condition.as_str());
            let schema = place_of(&def).0;
            vec![CATALOG.into(), schema.into(), name.into(), condition.into()]
        }));
    }
    Ok(rows)
}

pub(super) const KEY_COLUMN_USAGE: SystemTable = SystemTable {
    name: "key_column_usage",
    comment: "The columns of primary keys and unique constraints",
    columns: &[
        column("constraint_catalog", Kind::Text, "The catalog: netabase"),
        column("constraint_schema", Kind::Text, "The schema"),
        column("constraint_name", Kind::Text, "The constraint"),
        column("table_catalog", Kind::Text, "The catalog: netabase"),
        column("table_schema", Kind::Text, "The schema"),
        column("table_name", Kind::Text, "The table"),
        column("column_name", Kind::Text, "The column"),
        column(
            "ordinal_position",
            Kind::Number,
            "Its place in the key, from 1",
        ),
        optional(
            "position_in_unique_constraint",
            Kind::Number,
            "NULL: of foreign keys",
        ),
    ],
    rows: key_column_usage,
};

fn key_column_usage(sources: &Sources, _: &TaskContext) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    let mut add = |def: &TableDef, name: &str, columns: &[usize]| {
        let (schema, table) = place_of(def);
        for (place, column) in columns.iter().enumerate() {
            rows.push(vec![
                CATALOG.into(),
                schema.as_str().into(),
                name.into(),
                CATALOG.into(),
                schema.as_str().into(),
                table.as_str().into(),
                def.column_name(*column).into(),
                (place + 1).into(),
                Value::Null,
            ]);
        }
    };
    for def in sources.store.tables() {
        if has_key(&def) {
            add(&def, &key_name(&def.table_name()), &def.primary_key);
        }
        let unique = |index: &&IndexDef| def.options.rules.unique.contains(&index.name);
        for index in def.options.indexes.iter().filter(unique) {
            let columns: Vec<usize> = index.columns.iter().map(|c| *c as usize).collect();
            add(&def, &index.name, &columns);
        }
    }
    Ok(rows)
}

pub(super) const REFERENTIAL_CONSTRAINTS: SystemTable = SystemTable {
    name: "referential_constraints",
    comment: "Foreign keys; there are none",
    columns: &[
        column("constraint_catalog", Kind::Text, "The catalog: netabase"),
        column("constraint_schema", Kind::Text, "The schema"),
        column("constraint_name", Kind::Text, "The constraint"),
        column(
            "unique_constraint_catalog",
            Kind::Text,
            "The catalog: netabase",
        ),
        column("unique_constraint_schema", Kind::Text, "The schema"),
        column(
            "unique_constraint_name",
            Kind::Text,
            "The key that is referred to",
        ),
        column("match_option", Kind::Text, "NONE"),
        column("update_rule", Kind::Text, "NO ACTION"),
        column("delete_rule", Kind::Text, "NO ACTION"),
    ],
    rows: |_, _| Ok(Vec::new()),
};
