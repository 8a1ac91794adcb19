//! What may change about a table without touching the shape of its rows.
//!
//! Idea: SQL texts in a definition (defaults, checks, views) are kept as they were written and mean
//! nothing here: the layer above parses them. Invariant: every list and text has a limit.

use std::collections::HashSet;

use arrow_row::{RowConverter, SortField};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ids::TableId;
use crate::segment::Codec;
use crate::table::{TableDef, check_name};

/// Most indexes of one table.
pub const MAX_INDEXES: usize = 64;
/// Most columns of one index.
pub const MAX_INDEX_COLUMNS: usize = 16;
/// Most checks of one table.
pub const MAX_CHECKS: usize = 256;
/// Longest SQL text of a default, a generated column or a check, and longest comment, in bytes.
pub const MAX_RULE_BYTES: usize = 16 << 10;
/// Longest SQL text of a view, in bytes.
pub const MAX_VIEW_BYTES: usize = 1 << 20;

/// A secondary index: an order of the rows by other columns than the primary key's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexDef {
    /// The name: 1 to [`MAX_NAME`](crate::MAX_NAME) bytes, unique within its table.
    pub name: String,
    /// Indexes of its columns in the table's schema, in order: 1 to [`MAX_INDEX_COLUMNS`].
    pub columns: Vec<u32>,
}

/// What may change about a table without touching its rows' shape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableOptions {
    /// Grows with every change; the greater one holds.
    pub revision: u64,
    /// Secondary indexes: at most [`MAX_INDEXES`].
    pub indexes: Vec<IndexDef>,
    /// How long a row lives after it was written, in milliseconds; `None`: for ever.
    pub ttl_millis: Option<u64>,
    /// How segments and large log entries of the table are compressed; `None`: segments as the
    /// store's settings say, log entries with LZ4.
    pub codec: Option<Codec>,
    /// What holds for its columns and rows. Encoded behind the others, and only if there is any.
    #[serde(skip)]
    pub rules: TableRules,
    /// The name that its id was made of, if it was renamed. Encoded last, and only if there is one.
    #[serde(skip)]
    pub first_name: Option<String>,
}

/// What the layer above keeps about the columns and rows of a table. The store itself does not look
/// at it, except that it is small and that no write comes while the table is being replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRules {
    /// One for each column of the schema, or none at all.
    pub columns: Vec<ColumnRules>,
    /// Conditions that every row meets: at most [`MAX_CHECKS`].
    pub checks: Vec<CheckDef>,
    /// What the table is, in words: at most [`MAX_RULE_BYTES`].
    pub comment: Option<String>,
    /// The query behind it, if it is a view.
    pub view: Option<ViewDef>,
    /// Indexes, by name, that hold every combination of values once.
    pub unique: Vec<String>,
    /// Until when, in milliseconds of the clock, nothing may be written, because the rows are being
    /// copied to another table that takes its place.
    pub frozen_until: Option<u64>,
    /// The table whose place this one takes as soon as that is dropped: it may have the same name.
    /// Nobody sees this one before.
    pub replaces: Option<TableId>,
    /// Whether its rows are still being written, so that nobody sees it: until this is taken back, or
    /// the table that it replaces is dropped in its favour. Encoded behind the others, if there is a need.
    #[serde(skip)]
    pub unfinished: bool,
    /// Of a dropped table: the one in whose favour it was. Encoded like `unfinished`.
    #[serde(skip)]
    pub replaced_by: Option<TableId>,
}

/// What is known about one column.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnRules {
    /// Its name now, if it is another one than in the schema.
    pub name: Option<String>,
    /// Whether it is there for itself only: a key that nobody gave, or a column that was dropped.
    pub hidden: bool,
    /// The SQL expression for its value where a row brings none.
    pub default: Option<String>,
    /// The SQL expression over other columns that its value always is.
    pub generated: Option<String>,
    /// What it is, in words.
    pub comment: Option<String>,
}

/// A condition that every row meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckDef {
    /// The name, unique within its table.
    pub name: String,
    /// The SQL condition. A row for which it is false is refused.
    pub condition: String,
}

/// The query behind a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDef {
    /// The SQL text: at most [`MAX_VIEW_BYTES`].
    pub query: String,
    /// Whether its rows are kept in the table, until they are refreshed.
    pub materialized: bool,
}

impl TableOptions {
    pub(crate) fn validate(&self, def: &TableDef) -> Result<()> {
        self.validate_indexes(def)?;
        self.rules.validate(def)
    }

    fn validate_indexes(&self, def: &TableDef) -> Result<()> {
        let indexes = &self.indexes;
        if indexes.len() > MAX_INDEXES {
            return Err(def.wrong(format!("{} indexes; at most {MAX_INDEXES}", indexes.len())));
        }
        let mut names = HashSet::new();
        for IndexDef { name, columns } in indexes {
            check_name("index", name).map_err(|error| def.wrong(error.to_string()))?;
            if !names.insert(name) {
                return Err(def.wrong(format!("index \"{name}\" appears twice")));
            }
            if columns.is_empty() || columns.len() > MAX_INDEX_COLUMNS {
                return Err(def.wrong(format!(
                    "index \"{name}\" has {} columns; give 1 to {MAX_INDEX_COLUMNS}",
                    columns.len()
                )));
            }
            for (place, column) in columns.iter().enumerate() {
                let field = def.schema.fields().get(*column as usize);
                let fits = field.is_some_and(|field| {
                    let order = SortField::new(field.data_type().clone());
                    RowConverter::supports_fields(&[order])
                });
                if !fits || columns.iter().take(place).any(|other| other == column) {
                    return Err(def.wrong(format!(
                        "column {column} of index \"{name}\" does not exist, is there twice, or \
                         has a type without an order"
                    )));
                }
            }
        }
        Ok(())
    }
}

impl TableRules {
    fn validate(&self, def: &TableDef) -> Result<()> {
        let columns = def.schema.fields().len();
        if !self.columns.is_empty() && self.columns.len() != columns {
            return Err(def.wrong(format!(
                "rules for {} columns of {columns}",
                self.columns.len()
            )));
        }
        if self.checks.len() > MAX_CHECKS {
            return Err(def.wrong(format!(
                "{} checks; at most {MAX_CHECKS}",
                self.checks.len()
            )));
        }
        for check in &self.checks {
            check_name("check", &check.name).map_err(|error| def.wrong(error.to_string()))?;
        }
        for name in self.columns.iter().filter_map(|rules| rules.name.as_ref()) {
            check_name("column", name).map_err(|error| def.wrong(error.to_string()))?;
        }
        self.validate_names(def)?;
        let long = self.texts().find(|text| text.len() > MAX_RULE_BYTES);
        if let Some(text) = long {
            return Err(def.wrong(format!(
                "an expression or comment of {} bytes; at most {MAX_RULE_BYTES}",
                text.len()
            )));
        }
        match &self.view {
            Some(view) if view.query.len() > MAX_VIEW_BYTES => Err(def.wrong(format!(
                "a query of {} bytes; at most {MAX_VIEW_BYTES}",
                view.query.len()
            ))),
            _ => Ok(()),
        }
    }

    /// Visible columns have different names, and there is one at least.
    fn validate_names(&self, def: &TableDef) -> Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let mut seen = HashSet::new();
        for (rules, field) in self.columns.iter().zip(def.schema.fields()) {
            let name = rules.name.as_ref().unwrap_or(field.name());
            if !rules.hidden && !seen.insert(name) {
                return Err(def.wrong(format!("column \"{name}\" appears twice")));
            }
        }
        if seen.is_empty() {
            return Err(def.wrong("all of its columns are hidden".to_owned()));
        }
        Ok(())
    }

    fn texts(&self) -> impl Iterator<Item = &String> {
        let of_columns = self.columns.iter().flat_map(|rules| {
            [&rules.default, &rules.generated, &rules.comment]
                .into_iter()
                .flatten()
        });
        let of_checks = self.checks.iter().map(|check| &check.condition);
        of_columns.chain(of_checks).chain(&self.comment)
    }
}

impl TableDef {
    /// What is known about a column; nothing for most.
    pub fn column_rules(&self, column: usize) -> Option<&ColumnRules> {
        self.options.rules.columns.get(column)
    }

    /// What is known about a column, to be changed.
    pub fn column_rules_mut(&mut self, column: usize) -> Option<&mut ColumnRules> {
        let rules = &mut self.options.rules.columns;
        if rules.is_empty() {
            rules.resize(self.schema.fields().len(), ColumnRules::default());
        }
        rules.get_mut(column)
    }

    /// Whether the column is there for itself only: a key that nobody gave, or a dropped column.
    pub fn is_hidden(&self, column: usize) -> bool {
        self.column_rules(column).is_some_and(|rules| rules.hidden)
    }

    /// The positions of the columns that are seen, in their order.
    pub fn visible_columns(&self) -> Vec<usize> {
        let columns = 0..self.schema.fields().len();
        columns.filter(|column| !self.is_hidden(*column)).collect()
    }

    /// The name of a column, as it is now; empty if there is none.
    pub fn column_name(&self, column: usize) -> &str {
        let renamed = self
            .column_rules(column)
            .and_then(|rules| rules.name.as_deref());
        let field = self.schema.fields().get(column);
        renamed.unwrap_or_else(|| field.map_or("", |field| field.name()))
    }

    /// Whether another live table keeps this one from its name: all do but one of the same owner whose
    /// place it takes.
    pub fn is_kept_out_by(&self, known: &Self) -> bool {
        let replaces = self.options.rules.replaces == Some(known.id) && self.owner == known.owner;
        known.id != self.id && !replaces
    }

    /// The position of a visible column by its name.
    pub fn column_named(&self, name: &str) -> Option<usize> {
        let mut columns = 0..self.schema.fields().len();
        columns.find(|column| !self.is_hidden(*column) && self.column_name(*column) == name)
    }
}
