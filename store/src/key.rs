//! Keys: their bytes, their shards, their text.
//!
//! Idea: arrow's row format turns the key columns into bytes that compare like the columns do.
//! Invariant: the shard of a key is the same on every machine and in every release; a golden test
//! pins it. Non-goal: keys are not decoded again but for people; the columns are kept beside them.

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::util::display::array_value_to_string;
use arrow_row::{RowConverter, Rows, SortField};

use crate::error::{Error, Result};
use crate::key_part::{KeyPart, Misfit, PartKind, encode, encoded_len};
use crate::table::TableDef;

/// An encoded primary key, and the shard that it belongs to. Made by [`KeyEncoder::key_of`] or
/// [`KeyEncoder::row_key`]; good for tables with the same key columns and number of shards.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowKey {
    bytes: Vec<u8>,
    shard: u32,
}

impl RowKey {
    /// The encoded key: it compares like the key's columns do, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The shard that has the row, if any has.
    pub fn shard(&self) -> u32 {
        self.shard
    }
}

/// Turns the key columns of a table's batches into bytes and shards.
#[derive(Debug)]
pub struct KeyEncoder {
    table: String,
    schema: SchemaRef,
    key_schema: SchemaRef,
    primary_key: Vec<usize>,
    shard_key_len: usize,
    shards: u32,
    parts: Vec<PartKind>,
    key: RowConverter,
    shard_key: RowConverter,
}

impl KeyEncoder {
    /// An encoder for the keys of `def`. Fails with `InvalidInput` if `def` is not valid.
    pub fn new(def: &TableDef) -> Result<Self> {
        def.validate()?;
        let converter = |columns: &[usize]| {
            let fields = columns
                .iter()
                .filter_map(|&column| def.schema.fields().get(column))
                .map(|field| SortField::new(field.data_type().clone()))
                .collect();
            RowConverter::new(fields)
                .map_err(|error| Error::arrow(format!("the key of table \"{}\"", def.name), error))
        };
        let key_schema = def.key_schema();
        let key_fields = key_schema.fields().iter();
        Ok(Self {
            table: def.name.clone(),
            schema: def.schema.clone(),
            parts: key_fields.map(|f| PartKind::of(f.data_type())).collect(),
            key_schema,
            primary_key: def.primary_key.clone(),
            shard_key_len: def.shard_key.len(),
            shards: def.shards,
            key: converter(&def.primary_key)?,
            shard_key: converter(&def.shard_key)?,
        })
    }

    /// The encoded key of every row. `batch` has the table's columns, or the key columns alone.
    /// Fails with `InvalidInput` if it has others.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Rows> {
        let columns = self.key_columns(batch)?;
        self.key
            .convert_columns(&columns)
            .map_err(|error| self.wrong(error))
    }

    /// The key of one row by its values, in key order: cheaper than a batch of one row. Fails with
    /// `InvalidInput` if they are not as many as the key has columns, if one is not of its column's
    /// type or range, or if that type has no [`KeyPart`]: then [`row_key`](Self::row_key) makes it.
    pub fn key_of(&self, values: &[KeyPart<'_>]) -> Result<RowKey> {
        if values.len() != self.parts.len() {
            return Err(Error::invalid(format!(
                "table \"{}\": a key has {} values, not {}",
                self.table,
                self.parts.len(),
                values.len()
            )));
        }
        let most = values.iter().map(|value| encoded_len(*value)).sum();
        let mut bytes = Vec::with_capacity(most);
        let mut shard_key = 0;
        for (column, (kind, value)) in self.parts.iter().zip(values).enumerate() {
            let encoded = encode(*kind, *value, &mut bytes);
            encoded.map_err(|misfit| self.misfit(column, *value, misfit))?;
            if column + 1 == self.shard_key_len {
                shard_key = bytes.len();
            }
        }
        let shard = match self.shards {
            1 => 0,
            _ => self.shard_of(bytes.get(..shard_key).unwrap_or_default()),
        };
        Ok(RowKey { bytes, shard })
    }

    /// The key of the only row of `batch`, which has the table's columns, or the key columns alone.
    /// Fails with `InvalidInput` if it has others, or not one row.
    pub fn row_key(&self, batch: &RecordBatch) -> Result<RowKey> {
        if batch.num_rows() != 1 {
            return Err(Error::invalid(format!(
                "table \"{}\": a look-up takes one key, not {}",
                self.table,
                batch.num_rows()
            )));
        }
        let encoded = self.encode(batch)?;
        let bytes = encoded.row(0).data().to_vec();
        let shard = match self.is_sharded_by_key() {
            true => self.shard_of(&bytes),
            false => self.shard_of_each(batch)?.first().copied().unwrap_or(0),
        };
        Ok(RowKey { bytes, shard })
    }

    /// The shard of every row: the first 8 bytes, little-endian, of blake3 over the encoded shard
    /// key, modulo the number of shards.
    pub fn shard_of_each(&self, batch: &RecordBatch) -> Result<Vec<u32>> {
        let columns = self.key_columns(batch)?;
        if self.shards == 1 {
            return Ok(vec![0; batch.num_rows()]);
        }
        let columns = columns.get(..self.shard_key_len).unwrap_or(&columns);
        let rows = self
            .shard_key
            .convert_columns(columns)
            .map_err(|error| self.wrong(error))?;
        let mut shards = Vec::with_capacity(rows.num_rows());
        // Neighbours often have the same shard key: a part of a key that rows are sorted by.
        let mut last: Option<(arrow_row::Row<'_>, u32)> = None;
        for row in rows.iter() {
            let shard = match last {
                Some((same, shard)) if same == row => shard,
                _ => self.shard_of(row.data()),
            };
            last = Some((row, shard));
            shards.push(shard);
        }
        Ok(shards)
    }

    /// Like `shard_of_each`, given also the encoded keys: where all of the key chooses the shard,
    /// their bytes are at hand.
    pub(crate) fn shard_of_keys(
        &self,
        batch: &RecordBatch,
        keys: &BinaryArray,
    ) -> Result<Vec<u32>> {
        if !self.is_sharded_by_key() {
            return self.shard_of_each(batch);
        }
        Ok(keys
            .iter()
            .flatten()
            .map(|key| self.shard_of(key))
            .collect())
    }

    /// The rows of `batch` by shard, in order of shards; shards without rows are left out.
    pub fn split(&self, batch: &RecordBatch) -> Result<Vec<(u32, RecordBatch)>> {
        let shards = self.shard_of_each(batch)?;
        let first = shards.first().copied();
        if shards.iter().all(|shard| Some(*shard) == first) {
            return Ok(first.map(|s| (s, batch.clone())).into_iter().collect());
        }
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.shards as usize];
        for (row, &shard) in shards.iter().enumerate() {
            if let Some(of_shard) = rows.get_mut(shard as usize) {
                of_shard.push(row as u32);
            }
        }
        (0..)
            .zip(rows)
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(shard, rows)| {
                let part = take_record_batch(batch, &UInt32Array::from(rows));
                Ok((shard, part.map_err(|error| self.wrong(error))?))
            })
            .collect()
    }

    /// The key of one row for people: `(2013-01-01, UA, 12)`.
    pub fn describe(&self, batch: &RecordBatch, row: usize) -> String {
        let Ok(columns) = self.key_columns(batch) else {
            return "(?)".to_owned();
        };
        if row >= batch.num_rows() {
            return "(?)".to_owned();
        }
        let values: Vec<String> = columns
            .iter()
            .map(|column| array_value_to_string(column, row).unwrap_or_else(|_| "?".to_owned()))
            .collect();
        format!("({})", values.join(", "))
    }

    /// A key that this encoder made, for people, like [`describe`](Self::describe).
    pub(crate) fn describe_encoded(&self, key: &[u8]) -> String {
        let parser = self.key.parser();
        match self.key.convert_rows([parser.parse(key)]) {
            Ok(columns) => {
                let values = columns.iter().map(|column| {
                    array_value_to_string(column, 0).unwrap_or_else(|_| "?".to_owned())
                });
                format!("({})", values.collect::<Vec<_>>().join(", "))
            }
            Err(_) => "(?)".to_owned(),
        }
    }

    /// The key columns in key order, from a full or a key-only batch.
    pub(crate) fn key_columns(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let schema = batch.schema_ref();
        if same_names(schema, &self.schema) {
            return Ok(self
                .primary_key
                .iter()
                .map(|&column| batch.column(column).clone())
                .collect());
        }
        if same_names(schema, &self.key_schema) {
            return Ok(batch.columns().to_vec());
        }
        let names: Vec<&str> = self
            .key_schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        Err(Error::invalid(format!(
            "table \"{}\": these rows have neither the table's columns nor its key columns ({})",
            self.table,
            names.join(", ")
        )))
    }

    /// Whether all of the key chooses among several shards: then its bytes are those of the shard key.
    fn is_sharded_by_key(&self) -> bool {
        self.shards > 1 && self.shard_key_len == self.primary_key.len()
    }

    fn shard_of(&self, key: &[u8]) -> u32 {
        let hash = blake3::hash(key);
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(hash.as_bytes()) {
            *to = *from;
        }
        (u64::from_le_bytes(word) % u64::from(self.shards)) as u32
    }

    fn misfit(&self, column: usize, value: KeyPart<'_>, misfit: Misfit) -> Error {
        let field = self.key_schema.fields().get(column);
        let (name, data_type) = match field {
            Some(field) => (field.name().as_str(), field.data_type().to_string()),
            None => ("?", "?".to_owned()),
        };
        let table = &self.table;
        Error::invalid(match misfit {
            Misfit::Type => {
                format!("table \"{table}\": key column \"{name}\" is {data_type}; {value:?} is not")
            }
            Misfit::Range => format!(
                "table \"{table}\": {value:?} is outside of what key column \"{name}\" \
                 ({data_type}) holds"
            ),
            Misfit::Unsupported => format!(
                "table \"{table}\": key column \"{name}\" is {data_type}, whose values come in a \
                 batch only: use KeyEncoder::row_key"
            ),
        })
    }

    fn wrong(&self, error: arrow::error::ArrowError) -> Error {
        Error::arrow(format!("the key of table \"{}\"", self.table), error)
    }
}

fn same_names(one: &SchemaRef, other: &SchemaRef) -> bool {
    std::sync::Arc::ptr_eq(one, other)
        || (one.fields().len() == other.fields().len()
            && one
                .fields()
                .iter()
                .zip(other.fields())
                .all(|(a, b)| a.name() == b.name()))
}
