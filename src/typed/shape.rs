//! What a record says about its table, and whether a table is that.
//!
//! Invariant: a table that `check_columns` accepts has exactly the record's columns, in any order,
//! so that writing a record changes nothing that it does not know. `check_readable` accepts
//! more: columns that the record does not have, and the lack of those that have a default.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use netabase_sql::{DEFAULT_REPLICAS, DEFAULT_SHARDS, stored_name, table_id};
use netabase_store::{Author, Codec, Error, ErrorKind, IndexDef, TableDef, TableOptions, Version};

use super::field::RecordField;
use super::layout::same_kind;

/// A column of a record.
#[derive(Debug, Clone)]
pub struct ColumnShape {
    name: &'static str,
    data_type: DataType,
    nullable: bool,
    has_default: bool,
}

/// The column of a field.
pub fn column<T: RecordField>(name: &'static str, has_default: bool) -> ColumnShape {
    ColumnShape {
        name,
        data_type: T::data_type(),
        nullable: T::NULLABLE,
        has_default,
    }
}

/// The column of a field whose value is stored as bytes.
#[must_use]
pub fn encoded_column(name: &'static str, has_default: bool) -> ColumnShape {
    ColumnShape {
        name,
        data_type: DataType::Binary,
        nullable: false,
        has_default,
    }
}

impl ColumnShape {
    /// The column's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The column's type.
    #[must_use]
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Whether it may be NULL.
    #[must_use]
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }
}

/// The table of a record: its name, columns, keys, indexes and options.
#[derive(Debug, Clone)]
pub struct Shape {
    table: &'static str,
    schema: SchemaRef,
    columns: Vec<ColumnShape>,
    key: &'static [usize],
    shard_key: usize,
    indexes: Vec<(&'static str, &'static [usize])>,
    shards: Option<u32>,
    replicas: Option<u32>,
    local: bool,
    ttl_millis: Option<u64>,
    codec: Option<Codec>,
}

impl Shape {
    /// A table of these columns, whose primary key is made of those in `key`; the first `shard_key`
    /// of these choose the shard. For `#[derive(Record)]`, which knows that the places are right.
    #[must_use]
    pub fn new(
        table: &'static str,
        columns: Vec<ColumnShape>,
        key: &'static [usize],
        shard_key: usize,
    ) -> Self {
        let field = |c: &ColumnShape| Field::new(c.name, c.data_type.clone(), c.nullable);
        Self {
            schema: Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>())),
            table,
            columns,
            key,
            shard_key,
            indexes: Vec::new(),
            shards: None,
            replicas: None,
            local: false,
            ttl_millis: None,
            codec: None,
        }
    }

    /// With an index over these columns.
    #[must_use]
    pub fn with_index(mut self, name: &'static str, columns: &'static [usize]) -> Self {
        self.indexes.push((name, columns));
        self
    }

    /// With so many shards.
    #[must_use]
    pub fn with_shards(mut self, shards: u32) -> Self {
        self.shards = Some(shards);
        self
    }

    /// With so many replicas of each shard.
    #[must_use]
    pub fn with_replicas(mut self, replicas: u32) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// As a table that never leaves its peer.
    #[must_use]
    pub fn with_local(mut self) -> Self {
        self.local = true;
        self
    }

    /// With a time to live.
    #[must_use]
    pub fn with_ttl_millis(mut self, millis: u64) -> Self {
        self.ttl_millis = Some(millis);
        self
    }

    /// With segments compressed in this way.
    #[must_use]
    pub fn with_compression(mut self, codec: Codec) -> Self {
        self.codec = Some(codec);
        self
    }

    /// The table's name.
    #[must_use]
    pub fn table(&self) -> &'static str {
        self.table
    }

    /// The columns as Arrow has them, in the order of the record's fields.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &[ColumnShape] {
        &self.columns
    }

    pub(crate) fn column(&self, place: usize) -> Option<&ColumnShape> {
        self.columns.get(place)
    }

    /// The columns of the primary key, in its order.
    pub(crate) fn key_columns(&self) -> impl Iterator<Item = &ColumnShape> {
        self.key.iter().filter_map(|place| self.column(*place))
    }

    fn names(&self, places: &[usize]) -> Vec<&'static str> {
        let columns = places.iter().filter_map(|place| self.column(*place));
        columns.map(ColumnShape::name).collect()
    }

    /// The indexes: their names, and those of their columns.
    pub(crate) fn indexes(&self) -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
        self.indexes
            .iter()
            .map(|(name, places)| (*name, self.names(places)))
    }

    /// The definition of a table that is to be made.
    pub(crate) fn definition(&self, owner: &str, created: Version) -> TableDef {
        let index = |(name, places): &(&str, &[usize])| IndexDef {
            name: (*name).to_owned(),
            columns: places.iter().map(|place| *place as u32).collect(),
        };
        let shard_key = self.key.get(..self.shard_key).unwrap_or(self.key);
        TableDef {
            id: table_id(&stored_name(self.table), owner, created),
            name: stored_name(self.table),
            schema: Arc::clone(&self.schema),
            primary_key: self.key.to_vec(),
            shard_key: shard_key.to_vec(),
            shards: self.shards.unwrap_or(DEFAULT_SHARDS),
            replicas: self.replicas.unwrap_or(DEFAULT_REPLICAS),
            local: self.local,
            owner: Author::from(owner),
            created,
            dropped: None,
            placement: Vec::new(),
            options: TableOptions {
                indexes: self.indexes.iter().map(index).collect(),
                ttl_millis: self.ttl_millis,
                codec: self.codec,
                ..TableOptions::default()
            },
            attachment: Vec::new(),
        }
    }

    /// Whether a table has the record's columns and keys, and the options that the record names.
    /// Fails with `Conflict`, and the first difference.
    pub(crate) fn check(&self, def: &TableDef) -> Result<(), Error> {
        self.check_columns(def)?;
        self.check_options(def)
    }

    /// Whether records can be written to a table, and read from it. Fails with `Conflict`, and the
    /// first difference.
    pub(crate) fn check_columns(&self, def: &TableDef) -> Result<(), Error> {
        for column in &self.columns {
            self.check_column(def, column, false)?;
        }
        for place in def.visible_columns() {
            let name = def.column_name(place);
            if self.schema.index_of(name).is_err() && !is_generated(def, place) {
                return Err(self.differs(format!(
                    "it has a column \"{name}\" that the record does not have, and that would be \
                     lost whenever a record is written"
                )));
            }
        }
        self.check_keys(def)
    }

    /// Whether records can be read from a table. Fails with `Conflict`, and the first difference.
    pub(crate) fn check_readable(&self, def: &TableDef) -> Result<(), Error> {
        for column in &self.columns {
            self.check_column(def, column, true)?;
        }
        self.check_keys(def)
    }

    /// Whether records can be read from a view, which has the columns of its query, and no key. Fails with
    /// `Conflict`, and the first difference.
    pub(crate) fn check_view(&self, schema: &Schema) -> Result<(), Error> {
        for column in &self.columns {
            match schema.field_with_name(column.name) {
                Ok(field) => self.check_kind(column, field.data_type())?,
                Err(_) if column.has_default || column.nullable => {}
                Err(_) => return Err(self.lacks(column)),
            }
        }
        Ok(())
    }

    fn lacks(&self, column: &ColumnShape) -> Error {
        self.differs(format!("it has no column \"{}\"", column.name))
    }

    fn check_kind(&self, column: &ColumnShape, there: &DataType) -> Result<(), Error> {
        if same_kind(there, &column.data_type) {
            return Ok(());
        }
        Err(self.differs(format!(
            "column \"{}\" is {there} there and {} in the record",
            column.name, column.data_type
        )))
    }

    fn check_column(
        &self,
        def: &TableDef,
        column: &ColumnShape,
        reading: bool,
    ) -> Result<(), Error> {
        let name = column.name;
        let place = def.column_named(name);
        let field = place.and_then(|place| Some((place, def.schema.fields().get(place)?)));
        let Some((place, field)) = field else {
            if reading && (column.has_default || column.nullable) {
                return Ok(());
            }
            return Err(self.lacks(column));
        };
        self.check_kind(column, field.data_type())?;
        if !reading && is_generated(def, place) {
            return Err(self.differs(format!(
                "column \"{name}\" is generated there, and cannot be written: give this field to a \
                 record that is read only"
            )));
        }
        let loosened = field.is_nullable() && !column.nullable && !column.has_default;
        let tightened = !field.is_nullable() && column.nullable;
        match (loosened, tightened) {
            (true, _) if !reading => Err(self.differs(format!(
                "column \"{name}\" may be NULL there: make the field an Option, or give it a default"
            ))),
            (_, true) if !reading => Err(self.differs(format!(
                "column \"{name}\" is NOT NULL there: make the field no Option"
            ))),
            _ => Ok(()),
        }
    }

    fn check_keys(&self, def: &TableDef) -> Result<(), Error> {
        let named = |places: &[usize]| -> Vec<String> {
            let names = places.iter().map(|place| def.column_name(*place));
            names.map(str::to_owned).collect()
        };
        let shard_key = self.key.get(..self.shard_key).unwrap_or(self.key);
        let keys = [
            ("primary key", named(&def.primary_key), self.names(self.key)),
            ("shard key", named(&def.shard_key), self.names(shard_key)),
        ];
        for (what, there, here) in keys {
            if there != here {
                return Err(self.differs(format!(
                    "its {what} is ({}), and the record's is ({})",
                    there.join(", "),
                    here.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// What a record does not say about its table may be anything.
    fn check_options(&self, def: &TableDef) -> Result<(), Error> {
        let differs = |what: &str, there: String, here: String| {
            Err(self.differs(format!("its {what} is {there}, and the record's is {here}")))
        };
        if let Some(shards) = self.shards.filter(|shards| *shards != def.shards) {
            return differs(
                "number of shards",
                def.shards.to_string(),
                shards.to_string(),
            );
        }
        if let Some(replicas) = self.replicas.filter(|replicas| *replicas != def.replicas) {
            return differs(
                "number of replicas",
                def.replicas.to_string(),
                replicas.to_string(),
            );
        }
        if self.local && !def.local {
            return Err(self.differs("it is on the network, and the record's is local"));
        }
        if let Some(millis) = self.ttl_millis
            && def.options.ttl_millis != Some(millis)
        {
            let there = def.options.ttl_millis;
            let there = there.map_or("for ever".to_owned(), |millis| format!("{millis} ms"));
            return differs("time to live", there, format!("{millis} ms"));
        }
        if let Some(codec) = self.codec
            && def.options.codec != Some(codec)
        {
            let there = def.options.codec;
            let there = there.map_or("the store's own".to_owned(), |codec| format!("{codec:?}"));
            return differs("compression", there, format!("{codec:?}"));
        }
        Ok(())
    }

    /// The error about an index that has other columns.
    pub(crate) fn index_differs(&self, name: &str) -> Error {
        self.differs(format!("its index \"{name}\" has other columns"))
    }

    fn differs(&self, difference: impl Into<String>) -> Error {
        Error::new(
            ErrorKind::Conflict,
            format!(
                "table \"{}\" has another shape than its record: {}; change one of them, or give the \
                 record another table",
                self.table,
                difference.into()
            ),
        )
    }
}

/// Whether the table makes the column's values by itself.
fn is_generated(def: &TableDef, place: usize) -> bool {
    def.column_rules(place)
        .is_some_and(|rules| rules.generated.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_says_what_the_shape_says() {
        let columns = vec![
            column::<i64>("b", false),
            column::<String>("a", false),
            column::<Option<f64>>("c", false),
        ];
        let shape = Shape::new("t", columns, &[1, 0], 1)
            .with_index("pair", &[1, 2])
            .with_shards(5)
            .with_replicas(3)
            .with_ttl_millis(7)
            .with_compression(Codec::Lz4);
        let def = shape.definition("me", Version(1));
        def.validate().unwrap();
        assert_eq!((def.primary_key, def.shard_key), (vec![1, 0], vec![1]));
        assert_eq!((def.shards, def.replicas, def.local), (5, 3, false));
        assert_eq!(def.options.ttl_millis, Some(7));
        assert_eq!(def.options.codec, Some(Codec::Lz4));
        assert_eq!(def.options.indexes[0].name, "pair");
        assert_eq!(def.options.indexes[0].columns, [1, 2]);
        let nullable: Vec<bool> = def
            .schema
            .fields()
            .iter()
            .map(|f| f.is_nullable())
            .collect();
        assert_eq!(nullable, [false, false, true]);
    }
}
