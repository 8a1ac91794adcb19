//! `netabase.columns`: the columns of all tables, those that describe others included.

use arrow::datatypes::{Field, Schema};
use datafusion::error::Result;
use datafusion::execution::TaskContext;

use super::rows::{Kind, Row, SystemTable, column, optional};
use super::{Sources, place_of, schemas};
use crate::describe::{ColumnFacts, comment_of};
use crate::sql_type::column_type;

pub(super) const COLUMNS: SystemTable = SystemTable {
    name: "columns",
    comment: "The columns of every table",
    columns: &[
        column("schema_name", Kind::Text, "The schema of the table"),
        column("table_name", Kind::Text, "The table"),
        column("column_name", Kind::Text, "The column"),
        column("position", Kind::Number, "Its place in the table, from 1"),
        column("type", Kind::Text, "Its type, as CREATE TABLE writes it"),
        column("arrow_type", Kind::Text, "Its type in Arrow"),
        column("nullable", Kind::Flag, "Whether it may be NULL"),
        optional(
            "key_position",
            Kind::Number,
            "Its place in the primary key, from 1",
        ),
        optional(
            "column_default",
            Kind::Text,
            "What it is when an INSERT leaves it out",
        ),
        optional(
            "generation_expression",
            Kind::Text,
            "What it is computed from",
        ),
        optional("comment", Kind::Text, "What it is for"),
    ],
    rows: columns,
};

fn columns(sources: &Sources, _: &TaskContext) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for def in sources.store.tables() {
        let columns = sources.columns_of(&def).into_iter().enumerate();
        for (index, (field, facts, key_position)) in columns {
            let (schema, table) = place_of(&def);
            let place = (schema.as_str(), table.as_str(), index);
            rows.push(row(place, &field, key_position, facts));
        }
    }
    for (schema, table, columns) in schemas() {
        rows.extend(rows_of(schema, table, &columns));
    }
    Ok(rows)
}

fn rows_of(schema: &str, table: &str, columns: &Schema) -> Vec<Row> {
    let fields = columns.fields().iter().enumerate();
    let described = fields.map(|(index, field)| {
        let facts = ColumnFacts {
            comment: comment_of(field),
            ..ColumnFacts::default()
        };
        row((schema, table, index), field, None, facts)
    });
    described.collect()
}

fn row(
    (schema, table, index): (&str, &str, usize),
    field: &Field,
    key_position: Option<usize>,
    facts: ColumnFacts,
) -> Row {
    vec![
        schema.into(),
        table.into(),
        field.name().as_str().into(),
        (index + 1).into(),
        column_type(field).into(),
        field.data_type().to_string().into(),
        field.is_nullable().into(),
        key_position.into(),
        facts.default.into(),
        facts.generated.into(),
        facts.comment.into(),
    ]
}
