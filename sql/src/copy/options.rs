//! What a file is like, and what a statement may say about it.
//!
//! Invariant: what is given either has its effect or is refused: an option of another format or
//! direction, one that contradicts another, a value out of range.
//!
//! Non-goal: the syntax of options, which is in `statement`.

use std::fmt;
use std::path::Path;

use netabase_store::Error;

use crate::error::invalid;

/// Rows of one row group of a Parquet file unless told otherwise.
const DEFAULT_ROW_GROUP_ROWS: usize = 122_880;
/// The most rows of one row group.
const MAX_ROW_GROUP_ROWS: usize = 1 << 24;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    /// Text with separated fields, quoted where needed.
    Csv,
    /// One JSON object for each row: line by line, or in one array.
    Json,
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC: the file format (Feather 2); the stream format is read, too.
    Arrow,
}

impl fmt::Display for CopyFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CopyFormat::Csv => "CSV",
            CopyFormat::Json => "JSON",
            CopyFormat::Parquet => "Parquet",
            CopyFormat::Arrow => "Arrow",
        })
    }
}

/// How the bytes of a file are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyCompression {
    /// Not at all.
    None,
    /// gzip: CSV, JSON, and the pages of Parquet.
    Gzip,
    /// Zstandard: every format.
    Zstd,
    /// Snappy: the pages of Parquet.
    Snappy,
    /// LZ4: the pages of Parquet, the buffers of Arrow.
    Lz4,
    /// Brotli: the pages of Parquet.
    Brotli,
}

impl fmt::Display for CopyCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CopyCompression::None => "none",
            CopyCompression::Gzip => "gzip",
            CopyCompression::Zstd => "zstd",
            CopyCompression::Snappy => "snappy",
            CopyCompression::Lz4 => "lz4",
            CopyCompression::Brotli => "brotli",
        })
    }
}

/// Columns whose values are quoted in CSV even where they need not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForceQuote {
    /// Every column.
    All,
    /// These.
    Columns(Vec<String>),
}

/// How a file is read or written. What is `None` is told from the name of the file, or is the
/// default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Reading: the columns of the table that the file fills, in the order of its fields where it
    /// has no names; where it has, its other columns are skipped. Empty: all of the file's.
    pub columns: Vec<String>,
    /// The format; told from the extension.
    pub format: Option<CopyFormat>,
    /// The compression. CSV and JSON: told from the extension (`.gz`, `.zst`). Parquet and Arrow, when
    /// written: zstd and none.
    pub compression: Option<CopyCompression>,
    /// CSV: whether the first line names the columns; it does.
    pub header: Option<bool>,
    /// CSV: what separates fields, an ASCII character; a comma, or a tab in `.tsv`.
    pub delimiter: Option<u8>,
    /// CSV: what surrounds fields that hold other characters of this list; `"`.
    pub quote: Option<u8>,
    /// CSV: what stands before a quote inside of quotes; the quote itself.
    pub escape: Option<u8>,
    /// CSV: the text of NULL, never quoted; empty. Reading, an empty unquoted field is NULL, too.
    pub null: Option<String>,
    /// CSV, when written: which columns are quoted in any case.
    pub force_quote: Option<ForceQuote>,
    /// JSON: whether the rows are the elements of one array. Writing: they are not. Reading: told
    /// from the first character.
    pub array: Option<bool>,
    /// Parquet, when written: the rows of one row group, at most 16,777,216; 122,880.
    pub row_group_size: Option<usize>,
}

/// Whether rows come out of a file or go into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    From,
    To,
}

/// How CSV is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) header: bool,
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    pub(super) escape: u8,
    pub(super) null: String,
    pub(super) force_quote: Option<ForceQuote>,
}

/// Options of one file, all of them decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) format: CopyFormat,
    pub(super) compression: CopyCompression,
    pub(super) dialect: Dialect,
    pub(super) array: Option<bool>,
    pub(super) row_group_size: usize,
}

/// What the name of a file says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Guess {
    format: Option<CopyFormat>,
    compression: Option<CopyCompression>,
    tabs: bool,
}

impl Guess {
    fn of(path: &Path) -> Self {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or_default().to_ascii_lowercase();
        let endings = [
            (".gz", CopyCompression::Gzip),
            (".zst", CopyCompression::Zstd),
        ];
        let packed = endings
            .into_iter()
            .find_map(|(ending, how)| Some((name.strip_suffix(ending)?, how)));
        let (stem, compression) = match packed {
            Some((stem, how)) => (stem, Some(how)),
            None => (name.as_str(), None),
        };
        let extension = stem.rsplit_once('.').map(|(_, extension)| extension);
        let format = match extension.unwrap_or_default() {
            "csv" | "tsv" => Some(CopyFormat::Csv),
            "json" | "ndjson" | "jsonl" => Some(CopyFormat::Json),
            "parquet" => Some(CopyFormat::Parquet),
            "arrow" | "ipc" | "feather" => Some(CopyFormat::Arrow),
            _ => None,
        };
        Self {
            format,
            compression,
            tabs: extension == Some("tsv"),
        }
    }
}

impl CopyOptions {
    /// Decides everything for one file. Fails for what contradicts its format, or itself.
    pub(super) fn settle(&self, path: &Path, direction: Direction) -> Result<Settled, Error> {
        let guess = Guess::of(path);
        let format = self.format.or(guess.format).ok_or_else(|| {
            invalid(format!(
                "the format of {} is not clear from its name: add (FORMAT csv), json, parquet or \
                 arrow",
                path.display()
            ))
        })?;
        self.check_places(path, format, direction)?;
        Ok(Settled {
            format,
            compression: self.compression_of(path, format, guess.compression)?,
            dialect: self.dialect(guess.tabs)?,
            array: self.array,
            row_group_size: self.row_group_rows()?,
        })
    }

    /// Refuses options that have no effect on this format in this direction.
    fn check_places(
        &self,
        path: &Path,
        format: CopyFormat,
        direction: Direction,
    ) -> Result<(), Error> {
        use CopyFormat::{Arrow, Csv, Json, Parquet};
        use Direction::{From, To};
        let both: &[Direction] = &[From, To];
        let all: &[CopyFormat] = &[Csv, Json, Parquet, Arrow];
        let outside = self.compression.is_some() && matches!(format, Parquet | Arrow);
        let places: [(&str, bool, &[CopyFormat], &[Direction]); 10] = [
            ("HEADER", self.header.is_some(), &[Csv], both),
            ("DELIMITER", self.delimiter.is_some(), &[Csv], both),
            ("QUOTE", self.quote.is_some(), &[Csv], both),
            ("ESCAPE", self.escape.is_some(), &[Csv], both),
            ("NULL", self.null.is_some(), &[Csv], both),
            ("FORCE_QUOTE", self.force_quote.is_some(), &[Csv], &[To]),
            ("ARRAY", self.array.is_some(), &[Json], both),
            (
                "ROW_GROUP_SIZE",
                self.row_group_size.is_some(),
                &[Parquet],
                &[To],
            ),
            ("COMPRESSION", outside, all, &[To]),
            ("a list of columns", !self.columns.is_empty(), all, &[From]),
        ];
        for (option, given, formats, directions) in places {
            if given && !formats.contains(&format) {
                return Err(invalid(format!(
                    "COPY option {option} is for {} only, but {} is {format}: leave it out",
                    formats.first().unwrap_or(&format),
                    path.display()
                )));
            }
            if given && !directions.contains(&direction) {
                let word = if direction == From { "FROM" } else { "TO" };
                return Err(invalid(format!(
                    "{option} has no effect on COPY {word} {format}: leave it out"
                )));
            }
        }
        Ok(())
    }

    fn compression_of(
        &self,
        path: &Path,
        format: CopyFormat,
        named: Option<CopyCompression>,
    ) -> Result<CopyCompression, Error> {
        use CopyCompression::{Brotli, Gzip, Lz4, None, Snappy, Zstd};
        let (inside, default, known): (_, _, &[CopyCompression]) = match format {
            CopyFormat::Csv | CopyFormat::Json => {
                (false, named.unwrap_or(None), &[None, Gzip, Zstd])
            }
            CopyFormat::Parquet => (true, Zstd, &[None, Snappy, Gzip, Lz4, Zstd, Brotli]),
            CopyFormat::Arrow => (true, None, &[None, Lz4, Zstd]),
        };
        if let (true, Some(named)) = (inside, named) {
            return Err(invalid(format!(
                "{} is named like a file in {named}, but {format} is compressed inside of the file: \
                 name it without that ending, and use COMPRESSION when it is written",
                path.display()
            )));
        }
        let compression = self.compression.unwrap_or(default);
        if !known.contains(&compression) {
            let known: Vec<String> = known.iter().map(ToString::to_string).collect();
            return Err(invalid(format!(
                "{format} is not compressed with {compression}; there are {}",
                known.join(", ")
            )));
        }
        Ok(compression)
    }

    fn dialect(&self, tabs: bool) -> Result<Dialect, Error> {
        let delimiter = self.delimiter.unwrap_or(if tabs { b'\t' } else { b',' });
        let quote = self.quote.unwrap_or(b'"');
        let dialect = Dialect {
            header: self.header.unwrap_or(true),
            delimiter,
            quote,
            escape: self.escape.unwrap_or(quote),
            null: self.null.clone().unwrap_or_default(),
            force_quote: self.force_quote.clone(),
        };
        dialect.check()?;
        Ok(dialect)
    }

    fn row_group_rows(&self) -> Result<usize, Error> {
        let rows = self.row_group_size.unwrap_or(DEFAULT_ROW_GROUP_ROWS);
        match rows {
            1..=MAX_ROW_GROUP_ROWS => Ok(rows),
            _ => Err(invalid(format!(
                "ROW_GROUP_SIZE is {rows}: give 1 to {MAX_ROW_GROUP_ROWS} rows"
            ))),
        }
    }
}

impl Dialect {
    /// Characters must be told apart from each other, from line ends, and from parts of others.
    fn check(&self) -> Result<(), Error> {
        let parts = [
            ("DELIMITER", "separate", self.delimiter),
            ("QUOTE", "quote", self.quote),
            ("ESCAPE", "escape", self.escape),
        ];
        for (option, verb, byte) in parts {
            if !byte.is_ascii() || matches!(byte, b'\n' | b'\r' | 0) {
                return Err(invalid(format!(
                    "{option}: {:?} cannot {verb} fields; use an ASCII character that ends no line",
                    char::from(byte)
                )));
            }
        }
        for (option, byte) in [("QUOTE", self.quote), ("ESCAPE", self.escape)] {
            if byte == self.delimiter {
                return Err(invalid(format!(
                    "{:?} cannot separate fields and be their {option}: choose two characters",
                    char::from(byte)
                )));
            }
        }
        let special = [self.delimiter, self.quote, b'\n', b'\r'];
        if self.null.bytes().any(|byte| special.contains(&byte)) {
            return Err(invalid(format!(
                "NULL {:?} holds a delimiter, a quote or the end of a line: no field could be it",
                self.null
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_format_and_compression() {
        let guess = |name: &str| {
            let guess = Guess::of(Path::new(name));
            (guess.format, guess.compression, guess.tabs)
        };
        let (gzip, zstd) = (Some(CopyCompression::Gzip), Some(CopyCompression::Zstd));
        assert_eq!(guess("/a.b/x.CSV"), (Some(CopyFormat::Csv), None, false));
        assert_eq!(guess("x.csv.gz"), (Some(CopyFormat::Csv), gzip, false));
        assert_eq!(guess("x.tsv.zst"), (Some(CopyFormat::Csv), zstd, true));
        assert_eq!(guess("*.jsonl"), (Some(CopyFormat::Json), None, false));
        assert_eq!(guess("x.feather"), (Some(CopyFormat::Arrow), None, false));
        assert_eq!(guess("parquet"), (None, None, false));
        assert_eq!(guess("x.gz"), (None, gzip, false));
    }

    #[test]
    fn characters_must_be_told_apart() {
        let settle = |options: CopyOptions| options.settle(Path::new("x.csv"), Direction::From);
        let with = |delimiter: u8, quote: u8, escape: u8| {
            settle(CopyOptions {
                delimiter: Some(delimiter),
                quote: Some(quote),
                escape: Some(escape),
                ..CopyOptions::default()
            })
        };
        assert!(with(b';', b'\'', b'\\').is_ok());
        assert!(with(b'\n', b'"', b'"').is_err());
        assert!(with(0xe4, b'"', b'"').is_err());
        assert!(with(b'"', b'"', b'"').is_err());
        assert!(with(b'\\', b'"', b'\\').is_err());
        let null = |null: &str| {
            settle(CopyOptions {
                null: Some(null.to_owned()),
                ..CopyOptions::default()
            })
        };
        assert!(null("N/A").is_ok());
        assert!(null("a,b").is_err());
    }
}
