//! How the columns of a segment are encoded.
//!
//! Idea: look at the first rows. Few distinct values: a dictionary. Otherwise numbers are kept as
//! bit-packed differences, which decode faster than plain ones decompress, and are smaller; the
//! rest is plain. Fixing it beforehand matters: a dictionary that overflows half-way stays in the
//! file, and every point read would have to read it.
//! Non-goal: choosing anew for each group.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

use super::kept::kept_schema;
use super::summary::ColumnNotes;
use super::{Codec, GROUP_ROWS, PAGE_ROWS};
use crate::error::{Error, Result};

/// Largest dictionary of a column in a group, in bytes.
const DICTIONARY_BYTES: usize = 256 << 10;

/// Numbers with more distinct values than this are not put into a dictionary.
const DICTIONARY_NUMBERS: u64 = 1024;

/// Other values are put into a dictionary if this many rows share one on average.
const ROWS_PER_WORD: u64 = 8;

/// Most distinct strings of a dictionary.
const DICTIONARY_WORDS: u64 = 8192;

/// Largest page, in bytes, if the rows are wide.
const PAGE_BYTES: usize = 4 << 20;

/// Compressed pages that are not smaller than this part of the plain ones are not worth the time.
const WORTH_COMPRESSING: f64 = 0.92;

/// The first rows of a segment, as far as encodings depend on them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample<'a> {
    pub(super) rows: u64,
    /// Of the first columns; stamp columns follow.
    pub(super) columns: &'a [ColumnNotes],
}

/// How to write `schema`.
pub(super) fn properties(schema: &SchemaRef, codec: Codec, sample: Sample<'_>) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by("netabase".to_owned())
        .set_compression(compression(codec))
        .set_data_page_v2_compression_ratio_threshold(WORTH_COMPRESSING)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_encoding(Encoding::PLAIN)
        // Of the page index only the places are needed: pages are found by key or row.
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for (index, field) in schema.fields().iter().enumerate() {
        let path = ColumnPath::new(vec![field.name().clone()]);
        builder = match sample.columns.get(index) {
            Some(notes) => match encoding(field.data_type(), notes, sample.rows) {
                Some((dictionary, encoding)) => builder
                    .set_column_dictionary_enabled(path.clone(), dictionary)
                    .set_column_encoding(path, encoding),
                None => builder,
            },
            // Versions have one dictionary entry for each write at worst.
            None if *field.data_type() == DataType::UInt64 => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            None => builder,
        };
    }
    builder.build()
}

/// Whether to use a dictionary, and the encoding without one. `None`: Parquet's own choice.
fn encoding(data_type: &DataType, notes: &ColumnNotes, rows: u64) -> Option<(bool, Encoding)> {
    let distinct = notes.sketch.as_ref()?.estimate();
    let shared = distinct.saturating_mul(ROWS_PER_WORD) <= rows;
    match data_type {
        DataType::Dictionary(_, _) => None,
        DataType::Boolean => Some((false, Encoding::RLE)),
        DataType::Null => Some((false, Encoding::PLAIN)),
        numbers if delta_fits(numbers) => Some((
            shared && distinct <= DICTIONARY_NUMBERS,
            Encoding::DELTA_BINARY_PACKED,
        )),
        _ => Some((shared && distinct <= DICTIONARY_WORDS, Encoding::PLAIN)),
    }
}

/// Fails with `InvalidInput`, naming the column, if Parquet lacks the type of one.
pub(super) fn check_types(schema: &SchemaRef) -> Result<()> {
    let kept = kept_schema(schema);
    let mut fields = schema.fields().iter().zip(kept.fields());
    fields.try_for_each(|(given, field)| {
        // Some types are only refused when a value is written.
        let field = Arc::new(field.as_ref().clone().with_nullable(true));
        let null = new_null_array(field.data_type(), 1);
        let schema = Arc::new(Schema::new(vec![field.clone()]));
        let write = || -> parquet::errors::Result<()> {
            let row = RecordBatch::try_new(schema.clone(), vec![null])?;
            let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), None)?;
            writer.write(&row)?;
            writer.close().map(|_| ())
        };
        let cannot = |why: String| {
            Error::invalid(format!(
                "column \"{}\" has type {}, which segments cannot hold: {why}",
                given.name(),
                given.data_type()
            ))
        };
        // Parquet's writer panics at some types.
        match catch_unwind(AssertUnwindSafe(write)) {
            Ok(written) => written.map_err(|error| cannot(error.to_string())),
            Err(_) => Err(cannot("it is unknown to Parquet".to_owned())),
        }
    })
}

/// Whether Parquet keeps such values as 32- or 64-bit integers.
fn delta_fits(data_type: &DataType) -> bool {
    match data_type {
        DataType::Decimal32(_, _) | DataType::Decimal64(_, _) => true,
        DataType::Decimal128(precision, _) | DataType::Decimal256(precision, _) => *precision <= 18,
        DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(_, _)
        | DataType::Duration(_) => true,
        other => other.is_integer(),
    }
}

fn compression(codec: Codec) -> Compression {
    match codec {
        Codec::Lz4 => Compression::LZ4_RAW,
        Codec::Zstd(level) => {
            let level = ZstdLevel::try_new(level.clamp(1, 22)).unwrap_or_default();
            Compression::ZSTD(level)
        }
        Codec::None => Compression::UNCOMPRESSED,
    }
}
