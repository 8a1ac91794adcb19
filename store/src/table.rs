//! The definition of a table, and its bytes.
//!
//! Invariant: a definition that passed `validate` has keys that can be encoded, and sizes within
//! the limits below. `from_bytes` accepts bytes from anywhere: it is bounded and validates.
//! Non-goals: signatures (the layer above puts its signed envelope into `attachment`), access rules.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_ipc::convert::try_schema_from_flatbuffer_bytes;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use arrow_row::{RowConverter, SortField};
use serde::{Deserialize, Serialize};

use crate::clock::Version;
use crate::error::{Error, Result};
use crate::ids::{Author, TableId};
use crate::qualified::QualifiedName;
use crate::table_options::{TableOptions, TableRules};

/// Most shards of one table.
pub const MAX_SHARDS: u32 = 4096;
/// Most replicas of one shard.
pub const MAX_REPLICAS: u32 = 16;
/// Most columns of one table.
pub const MAX_COLUMNS: usize = 4096;
/// Longest name of a table, column, owner or peer, in bytes.
pub const MAX_NAME: usize = 128;
/// Most peers listed as holders of one shard; more than replicas, because peers may pin tables.
pub const MAX_HOLDERS: usize = 64;
/// Longest attachment, in bytes.
pub const MAX_ATTACHMENT: usize = 4 << 20;
/// Longest encoded definition, in bytes.
pub const MAX_TABLE_DEF_BYTES: usize = 16 << 20;

/// First byte of an encoded definition without options.
const PLAIN_FORMAT: u8 = 1;
/// First byte of an encoded definition with options.
const OPTIONS_FORMAT: u8 = 2;
/// First byte of an encoded definition with options, and what is known about its columns.
const RULES_FORMAT: u8 = 3;
/// First byte of an encoded definition with all of that, and whether it is finished or replaced.
const STATE_FORMAT: u8 = 4;
/// First byte of an encoded definition with all of that, and where its name belongs.
const TABLE_DEF_FORMAT: u8 = 5;

/// What a table is: its columns, keys, shards and holders.
///
/// The shape (schema, keys, shard count) belongs to the id and never changes; name, replicas,
/// placement, drop mark and attachment may.
#[derive(Clone, Debug, PartialEq)]
pub struct TableDef {
    /// Identifies the table on every peer.
    pub id: TableId,
    /// The name in SQL, as [`QualifiedName`] writes it: `t`, or `s.t`; parts of 1 to [`MAX_NAME`] bytes.
    /// `s.` is the definition of a schema, which has no rows.
    pub name: String,
    /// The columns: 1 to [`MAX_COLUMNS`].
    pub schema: SchemaRef,
    /// Indexes of the primary key's columns, in key order; at least one.
    pub primary_key: Vec<usize>,
    /// Indexes of the columns that choose the shard: a prefix of `primary_key`, or all of it.
    pub shard_key: Vec<usize>,
    /// Number of shards: 1 to [`MAX_SHARDS`].
    pub shards: u32,
    /// Copies to keep of every shard: 1 to [`MAX_REPLICAS`].
    pub replicas: u32,
    /// Whether the table never leaves this peer.
    pub local: bool,
    /// The peer that made the table.
    pub owner: Author,
    /// When it was made.
    pub created: Version,
    /// When it was dropped; `None` while it lives.
    pub dropped: Option<Version>,
    /// For every shard the peers that hold it; empty means that only this peer does.
    pub placement: Vec<Vec<String>>,
    /// Indexes, time to live, compression.
    pub options: TableOptions,
    /// Bytes of the layer above, kept as they are: at most [`MAX_ATTACHMENT`].
    pub attachment: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    id: TableId,
    name: String,
    schema: Vec<u8>,
    primary_key: Vec<u32>,
    shard_key: Vec<u32>,
    shards: u32,
    replicas: u32,
    local: bool,
    owner: Author,
    created: Version,
    dropped: Option<Version>,
    placement: Vec<Vec<String>>,
    attachment: Vec<u8>,
}

/// Where a name belongs; written only if it says something.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Naming {
    schema: Option<String>,
    first_name: Option<String>,
}

impl TableDef {
    /// The table's name and its schema's.
    pub fn qualified_name(&self) -> QualifiedName {
        // A name that cannot be read is not valid; until that is said, it is one word.
        QualifiedName::parse(&self.name).unwrap_or_else(|| QualifiedName::bare(&self.name))
    }

    /// The name without the schema's.
    pub fn table_name(&self) -> String {
        self.qualified_name().table
    }

    /// The schema; `None` for the one that needs no name.
    pub fn schema_name(&self) -> Option<String> {
        self.qualified_name().schema
    }

    /// Whether this is the definition of a schema.
    pub fn is_schema(&self) -> bool {
        self.name.ends_with('.')
    }

    /// Checks every bound and rule. Fails with `InvalidInput`, naming table and column.
    pub fn validate(&self) -> Result<()> {
        self.validate_name()?;
        if self.owner.len() > MAX_NAME {
            return Err(self.wrong(format!("its owner is longer than {MAX_NAME} bytes")));
        }
        self.validate_columns()?;
        self.validate_keys()?;
        self.options.validate(self)?;
        if self.shards == 0 || self.shards > MAX_SHARDS {
            return Err(self.wrong(format!("{} shards; give 1 to {MAX_SHARDS}", self.shards)));
        }
        if self.replicas == 0 || self.replicas > MAX_REPLICAS {
            return Err(self.wrong(format!(
                "{} replicas; give 1 to {MAX_REPLICAS}",
                self.replicas
            )));
        }
        if self.attachment.len() > MAX_ATTACHMENT {
            return Err(self.wrong(format!("its attachment exceeds {MAX_ATTACHMENT} bytes")));
        }
        self.validate_placement()
    }

    /// The key columns alone, in key order: the schema of the rows of a delete.
    pub fn key_schema(&self) -> SchemaRef {
        let fields: Vec<_> = self
            .primary_key
            .iter()
            .filter_map(|&column| self.schema.fields().get(column).cloned())
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// The definition as bytes, attachment included. Fails with `InvalidInput` if it is not valid
    /// or exceeds [`MAX_TABLE_DEF_BYTES`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.validate()?;
        let narrow = |columns: &[usize]| columns.iter().map(|&c| c as u32).collect::<Vec<u32>>();
        let QualifiedName { schema, table } = self.qualified_name();
        let naming = Naming {
            schema,
            first_name: self.options.first_name.clone(),
        };
        let wire = Wire {
            id: self.id,
            name: table,
            schema: schema_to_bytes(&self.schema),
            primary_key: narrow(&self.primary_key),
            shard_key: narrow(&self.shard_key),
            shards: self.shards,
            replicas: self.replicas,
            local: self.local,
            owner: self.owner.clone(),
            created: self.created,
            dropped: self.dropped,
            placement: self.placement.clone(),
            attachment: self.attachment.clone(),
        };
        let failed = |error| self.wrong(format!("it cannot be encoded: {error}"));
        // What says nothing new keeps its old bytes, which somebody may have signed.
        let format = match &self.options {
            _ if naming != Naming::default() => TABLE_DEF_FORMAT,
            options if *options == TableOptions::default() => PLAIN_FORMAT,
            options if options.rules == TableRules::default() => OPTIONS_FORMAT,
            options if !options.rules.unfinished && options.rules.replaced_by.is_none() => {
                RULES_FORMAT
            }
            _ => STATE_FORMAT,
        };
        let mut bytes = postcard::to_extend(&wire, vec![format]).map_err(failed)?;
        if format >= OPTIONS_FORMAT {
            bytes = postcard::to_extend(&self.options, bytes).map_err(failed)?;
        }
        let rules = &self.options.rules;
        if format >= RULES_FORMAT {
            bytes = postcard::to_extend(rules, bytes).map_err(failed)?;
        }
        if format >= STATE_FORMAT {
            let state = (rules.unfinished, rules.replaced_by);
            bytes = postcard::to_extend(&state, bytes).map_err(failed)?;
        }
        if format >= TABLE_DEF_FORMAT {
            bytes = postcard::to_extend(&naming, bytes).map_err(failed)?;
        }
        if bytes.len() > MAX_TABLE_DEF_BYTES {
            return Err(self.wrong(format!(
                "its definition exceeds {MAX_TABLE_DEF_BYTES} bytes; shorten the placement or the \
                 attachment"
            )));
        }
        Ok(bytes)
    }

    /// Reads what `to_bytes` wrote. Fails with `InvalidInput` on anything else: wrong format,
    /// trailing bytes, exceeded limits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_TABLE_DEF_BYTES {
            return Err(Error::invalid(format!(
                "a table definition of {} bytes exceeds the limit of {MAX_TABLE_DEF_BYTES}",
                bytes.len()
            )));
        }
        let (format, body) = match bytes.split_first() {
            Some((&format @ PLAIN_FORMAT..=TABLE_DEF_FORMAT, body)) => (format, body),
            Some((format, _)) => {
                return Err(Error::invalid(format!(
                    "table definition has format {format}; this release reads {TABLE_DEF_FORMAT}"
                )));
            }
            None => return Err(Error::invalid("a table definition cannot be empty")),
        };
        let wrong = |error| Error::invalid(format!("not a table definition: {error}"));
        let (wire, mut rest): (Wire, _) = postcard::take_from_bytes(body).map_err(wrong)?;
        let mut options = TableOptions::default();
        if format >= OPTIONS_FORMAT {
            (options, rest) = postcard::take_from_bytes(rest).map_err(wrong)?;
        }
        if format >= RULES_FORMAT {
            (options.rules, rest) = postcard::take_from_bytes(rest).map_err(wrong)?;
        }
        if format >= STATE_FORMAT {
            let rules = &mut options.rules;
            ((rules.unfinished, rules.replaced_by), rest) =
                postcard::take_from_bytes(rest).map_err(wrong)?;
        }
        let mut naming = Naming::default();
        if format >= TABLE_DEF_FORMAT {
            (naming, rest) = postcard::take_from_bytes(rest).map_err(wrong)?;
        }
        options.first_name = naming.first_name;
        if !rest.is_empty() {
            return Err(Error::invalid("bytes follow the table definition"));
        }
        let name = QualifiedName {
            schema: naming.schema,
            table: wire.name,
        };
        let wide = |columns: Vec<u32>| columns.into_iter().map(|c| c as usize).collect();
        let def = Self {
            id: wire.id,
            name: name.to_string(),
            schema: schema_from_bytes(&wire.schema)?,
            primary_key: wide(wire.primary_key),
            shard_key: wide(wire.shard_key),
            shards: wire.shards,
            replicas: wire.replicas,
            local: wire.local,
            owner: wire.owner,
            created: wire.created,
            dropped: wire.dropped,
            placement: wire.placement,
            options,
            attachment: wire.attachment,
        };
        def.validate()?;
        Ok(def)
    }

    /// Whether both definitions agree on what never changes under an id.
    pub(crate) fn same_shape(&self, other: &Self) -> bool {
        self.schema.fields() == other.schema.fields()
            && self.primary_key == other.primary_key
            && self.shard_key == other.shard_key
            && self.shards == other.shards
    }

    fn validate_name(&self) -> Result<()> {
        let readable = |name: &str| {
            let read = QualifiedName::parse(name);
            read.filter(|read| read.to_string() == name)
        };
        let Some(QualifiedName { schema, table }) = readable(&self.name) else {
            return Err(Error::invalid(format!(
                "the name of table {:?} is not written as t or s.t, with \"…\" around parts that have \
                 dots or quotes",
                self.name.chars().take(2 * MAX_NAME).collect::<String>()
            )));
        };
        if let Some(schema) = &schema {
            check_name("schema", schema)?;
        }
        if let Some(first) = &self.options.first_name
            && (readable(first).is_none() || first.len() > 4 * MAX_NAME)
        {
            return Err(self.wrong("its first name is not written as one".to_owned()));
        }
        match schema.is_some() && table.is_empty() {
            true => Ok(()),
            false => check_name("table", &table),
        }
    }

    fn validate_columns(&self) -> Result<()> {
        let fields = self.schema.fields();
        if fields.is_empty() || fields.len() > MAX_COLUMNS {
            return Err(self.wrong(format!("{} columns; give 1 to {MAX_COLUMNS}", fields.len())));
        }
        let mut seen = HashSet::with_capacity(fields.len());
        for field in fields {
            check_name("column", field.name()).map_err(|error| self.wrong(error.to_string()))?;
            if !seen.insert(field.name()) {
                return Err(self.wrong(format!("column \"{}\" appears twice", field.name())));
            }
        }
        Ok(())
    }

    fn validate_keys(&self) -> Result<()> {
        let mut seen = HashSet::new();
        for &column in &self.primary_key {
            let Some(field) = self.schema.fields().get(column) else {
                return Err(self.wrong(format!("its primary key names column {column}")));
            };
            if !seen.insert(column) {
                return Err(self.wrong(format!(
                    "column \"{}\" is twice in its primary key",
                    field.name()
                )));
            }
            if !RowConverter::supports_fields(&[SortField::new(field.data_type().clone())]) {
                return Err(self.wrong(format!(
                    "column \"{}\" of type {} cannot be part of a key",
                    field.name(),
                    field.data_type()
                )));
            }
        }
        if self.primary_key.is_empty() {
            return Err(self.wrong("it has no primary key".to_owned()));
        }
        if self.shard_key.is_empty() || !self.primary_key.starts_with(&self.shard_key) {
            return Err(self.wrong("its shard key is not a prefix of its primary key".to_owned()));
        }
        Ok(())
    }

    fn validate_placement(&self) -> Result<()> {
        if !self.placement.is_empty() && self.placement.len() != self.shards as usize {
            return Err(self.wrong(format!(
                "its placement lists {} shards of {}",
                self.placement.len(),
                self.shards
            )));
        }
        for (shard, holders) in self.placement.iter().enumerate() {
            if holders.len() > MAX_HOLDERS {
                return Err(self.wrong(format!(
                    "shard {shard} has {} holders; at most {MAX_HOLDERS}",
                    holders.len()
                )));
            }
            if holders.iter().any(|peer| peer.len() > MAX_NAME) {
                return Err(self.wrong(format!(
                    "shard {shard} names a peer longer than {MAX_NAME} bytes"
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn wrong(&self, reason: String) -> Error {
        Error::invalid(format!("table \"{}\": {reason}", self.name))
    }
}

pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME {
        let start: String = name.chars().take(32).collect();
        return Err(Error::invalid(format!(
            "the name of {what} \"{start}\" has {} bytes; give 1 to {MAX_NAME}",
            name.len()
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "the name of {what} {name:?} has control characters; leave them out"
        )));
    }
    Ok(())
}

fn schema_to_bytes(schema: &Schema) -> Vec<u8> {
    let mut tracker = DictionaryTracker::new(false);
    IpcDataGenerator::default()
        .schema_to_bytes_with_dictionary_tracker(schema, &mut tracker, &IpcWriteOptions::default())
        .ipc_message
}

/// The reader of arrow panics on some schemas that are well-formed as flatbuffers, and these bytes
/// may come from a stranger: a panic here means "not a schema".
fn schema_from_bytes(bytes: &[u8]) -> Result<SchemaRef> {
    let aligned = Buffer::from(bytes);
    catch_unwind(AssertUnwindSafe(|| {
        try_schema_from_flatbuffer_bytes(&aligned)
    }))
    .map_err(|_| Error::invalid("the schema of a table definition is malformed"))?
    .map(Arc::new)
    .map_err(|error| Error::arrow("the schema of a table definition is malformed", error))
}
