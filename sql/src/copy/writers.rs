//! Rows as files of each format.
//!
//! Invariant: no more than one group of rows is in memory.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use flate2::write::GzEncoder;
use netabase_store::Error;

use super::csv_text::CsvText;
use super::json_text::JsonText;
use super::options::Settled;
use super::target::write_error;
use super::{CopyCompression, CopyFormat};
use crate::error::invalid;

/// Bytes written at once.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes after which a row group of Parquet ends earlier.
const MAX_ROW_GROUP_BYTES: usize = 128 << 20;

/// Writes one file.
pub(super) enum FileRows {
    Csv(CsvText<Sink>),
    Json(JsonText<Sink>),
    Parquet(Box<ArrowWriter<Sink>>),
    Arrow(Box<FileWriter<Sink>>),
}

/// The name of a file, its columns and its options.
pub(super) struct Shape<'a> {
    pub(super) path: &'a Path,
    pub(super) schema: SchemaRef,
    pub(super) settled: &'a Settled,
}

impl FileRows {
    /// Begins a file.
    pub(super) fn new(file: File, shape: &Shape<'_>) -> Result<Self, Error> {
        let failed = |error: &dyn std::fmt::Display| write_error(shape.path, error);
        let (schema, settled) = (&shape.schema, shape.settled);
        let packed = |file| Sink::new(file, settled.compression).map_err(|error| failed(&error));
        let plain = |file| Sink::Plain(BufWriter::with_capacity(WRITE_BYTES, file));
        Ok(match settled.format {
            CopyFormat::Csv => {
                let text = CsvText::new(packed(file)?, schema, settled.dialect.clone());
                FileRows::Csv(text.map_err(|error| failed(&error))?)
            }
            CopyFormat::Json => {
                FileRows::Json(JsonText::new(packed(file)?, settled.array == Some(true)))
            }
            CopyFormat::Parquet => {
                let properties = WriterProperties::builder()
                    .set_created_by("netabase".to_owned())
                    .set_compression(in_parquet(settled.compression))
                    .set_max_row_group_row_count(Some(settled.row_group_size))
                    .set_max_row_group_bytes(Some(MAX_ROW_GROUP_BYTES))
                    .build();
                let schema = Arc::clone(schema);
                let writer = ArrowWriter::try_new(plain(file), schema, Some(properties));
                FileRows::Parquet(Box::new(writer.map_err(|error| failed(&error))?))
            }
            CopyFormat::Arrow => {
                let compression = match settled.compression {
                    CopyCompression::Lz4 => Some(CompressionType::LZ4_FRAME),
                    CopyCompression::Zstd => Some(CompressionType::ZSTD),
                    _ => None,
                };
                let writer = IpcWriteOptions::default()
                    .try_with_compression(compression)
                    .and_then(|options| {
                        FileWriter::try_new_with_options(plain(file), schema, options)
                    });
                FileRows::Arrow(Box::new(writer.map_err(|error| failed(&error))?))
            }
        })
    }

    /// Writes rows of the file's columns.
    pub(super) fn write(&mut self, rows: &RecordBatch, path: &Path) -> Result<(), Error> {
        let failed = |error: &dyn std::fmt::Display| write_error(path, error);
        match self {
            FileRows::Csv(writer) => writer.write(rows).map_err(|error| failed(&error)),
            FileRows::Json(writer) => writer.write(rows).map_err(|error| failed(&error)),
            FileRows::Parquet(writer) => writer.write(rows).map_err(|error| failed(&error)),
            FileRows::Arrow(writer) => writer.write(rows).map_err(|error| failed(&error)),
        }
    }

    /// Writes the end of the file.
    pub(super) fn finish(self, path: &Path) -> Result<(), Error> {
        let failed = |error: &dyn std::fmt::Display| write_error(path, error);
        let sink = match self {
            FileRows::Csv(writer) => writer.finish().map_err(|error| failed(&error)),
            FileRows::Json(writer) => writer.finish().map_err(|error| failed(&error)),
            FileRows::Parquet(writer) => writer.into_inner().map_err(|error| failed(&error)),
            FileRows::Arrow(writer) => writer.into_inner().map_err(|error| failed(&error)),
        };
        sink?.finish().map_err(|error| failed(&error))
    }
}

fn in_parquet(compression: CopyCompression) -> Compression {
    match compression {
        CopyCompression::None => Compression::UNCOMPRESSED,
        CopyCompression::Snappy => Compression::SNAPPY,
        CopyCompression::Gzip => Compression::GZIP(GzipLevel::default()),
        CopyCompression::Zstd => Compression::ZSTD(ZstdLevel::default()),
        CopyCompression::Lz4 => Compression::LZ4_RAW,
        CopyCompression::Brotli => Compression::BROTLI(BrotliLevel::default()),
    }
}

/// The bytes of a file, perhaps compressed as a whole.
pub(super) enum Sink {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Sink {
    fn new(file: File, compression: CopyCompression) -> io::Result<Self> {
        let file = BufWriter::with_capacity(WRITE_BYTES, file);
        Ok(match compression {
            CopyCompression::Gzip => {
                Sink::Gzip(GzEncoder::new(file, flate2::Compression::default()))
            }
            CopyCompression::Zstd => {
                Sink::Zstd(zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?)
            }
            _ => Sink::Plain(file),
        })
    }

    /// Writes what is buffered.
    fn finish(self) -> io::Result<()> {
        let mut file = match self {
            Sink::Plain(file) => file,
            Sink::Gzip(encoder) => encoder.finish()?,
            Sink::Zstd(encoder) => encoder.finish()?,
        };
        file.flush()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Plain(file) => file.write(bytes),
            Sink::Gzip(encoder) => encoder.write(bytes),
            Sink::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Plain(file) => file.flush(),
            Sink::Gzip(encoder) => encoder.flush(),
            Sink::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// The columns as every reader knows them: without views and dictionaries.
pub(super) fn plain_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(plain_fields(schema.fields())))
}

fn plain_fields(fields: &Fields) -> Vec<Field> {
    let plain = |field: &FieldRef| {
        Field::new(
            field.name(),
            plain_type(field.data_type()),
            field.is_nullable(),
        )
    };
    fields.iter().map(plain).collect()
}

fn plain_type(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| {
        let plain = plain_type(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(plain))
    };
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::List(field) => DataType::List(inner(field)),
        DataType::LargeList(field) => DataType::LargeList(inner(field)),
        DataType::Map(field, sorted) => DataType::Map(inner(field), *sorted),
        DataType::Struct(fields) => DataType::Struct(plain_fields(fields).into()),
        other => other.clone(),
    }
}

/// Rows of these columns.
pub(super) fn plain_rows(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let columns = rows.columns().iter().zip(schema.fields());
    let columns = columns.map(
        |(column, field)| match column.data_type() == field.data_type() {
            true => Ok(Arc::clone(column)),
            false => cast(column, field.data_type()),
        },
    );
    let columns: Result<Vec<ArrayRef>, _> = columns.collect();
    columns
        .and_then(|columns| RecordBatch::try_new(Arc::clone(schema), columns))
        .map_err(crate::error::from_arrow)
}

/// Fails for columns that a format cannot hold, or whose names are given twice.
pub(super) fn check_schema(schema: &Schema, format: CopyFormat) -> Result<(), Error> {
    let fields = schema.fields();
    for (index, field) in fields.iter().enumerate() {
        let name = field.name();
        if fields.iter().take(index).any(|other| other.name() == name) {
            return Err(invalid(format!(
                "two columns are called \"{name}\": give one of them another name with AS"
            )));
        }
        if !holds(format, field.data_type()) {
            return Err(invalid(format!(
                "column \"{name}\" is {}, which {format} cannot hold: use FORMAT {}, or cast it in \
                 COPY (SELECT …) TO",
                field.data_type(),
                others(format)
            )));
        }
    }
    Ok(())
}

/// Formats that hold more.
fn others(format: CopyFormat) -> &'static str {
    match format {
        CopyFormat::Csv => "parquet, arrow or json",
        _ => "arrow",
    }
}

fn holds(format: CopyFormat, data_type: &DataType) -> bool {
    let inner = |fields: &Fields| {
        let mut types = fields.iter().map(|field| field.data_type());
        !fields.is_empty() && types.all(|data_type| holds(format, data_type))
    };
    match data_type {
        DataType::Union(..) | DataType::RunEndEncoded(..) => format == CopyFormat::Arrow,
        DataType::Interval(IntervalUnit::MonthDayNano) => format != CopyFormat::Parquet,
        nested if nested.is_nested() && format == CopyFormat::Csv => false,
        DataType::Struct(fields) => inner(fields),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => {
                let text = fields.first().map(|key| key.data_type()) == Some(&DataType::Utf8);
                inner(fields) && (text || format != CopyFormat::Json)
            }
            _ => false,
        },
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            holds(format, field.data_type())
        }
        _ => true,
    }
}
