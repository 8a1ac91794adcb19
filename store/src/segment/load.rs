//! Opening the two files of a segment.
//!
//! Invariant: what is returned fits the checkpoint's entry (numbers, rows, lengths, checksum) and
//! the table's columns, by position and exact type.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::PageIndexPolicy;

use super::blocks::{BlockFile, Blocks, damaged, open_sized};
use super::decode::guarded;
use super::index::Index;
use super::kept::kept_schema;
use super::stamped::{same_types, with_stamp_columns};
use super::{GROUP_ROWS, SegmentMeta, SegmentPlace, data_path, index_path};
use crate::disk::Disk;
use crate::error::{Error, Result};

/// The files of a segment, opened.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) file: Arc<BlockFile>,
    pub(super) index: Index,
    /// The columns as the table has them, where the data file has other types.
    pub(super) renamed: Option<SchemaRef>,
    pub(super) parquet: ArrowReaderMetadata,
}

/// Fails with `Corrupt`, naming the file, if something is missing or differs from what was written.
pub(super) fn load(place: &SegmentPlace, meta: &SegmentMeta, schema: &SchemaRef) -> Result<Loaded> {
    let (disk, folder) = (&*place.disk, &place.folder);
    let name = place.name(meta);
    let mut index = load_index(disk, &index_path(folder, name), meta)?;
    let path = data_path(folder, name);
    let crcs = std::mem::take(&mut index.block_crcs);
    let file = Arc::new(BlockFile::open(disk, path.clone(), meta.data_bytes, crcs)?);
    let blocks = Blocks::new(file.clone());
    let parquet = guarded(&path, || {
        let options = ArrowReaderOptions::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Required);
        ArrowReaderMetadata::load(&blocks, options).map_err(|error| damaged(&path, error))
    })
    .map_err(|error| blocks.cause_of(error))?;
    let expected = match index.stamp_columns {
        true => with_stamp_columns(schema),
        false => schema.clone(),
    };
    let kept = kept_schema(&expected);
    if index.columns.len() != schema.fields().len() || !same_types(parquet.schema(), &kept) {
        return Err(damaged(&path, "it has other columns than the table"));
    }
    check_groups(&path, &parquet, meta.rows)?;
    Ok(Loaded {
        file,
        index,
        renamed: (!Arc::ptr_eq(&kept, &expected)).then_some(expected),
        parquet,
    })
}

fn load_index(disk: &dyn Disk, path: &Path, meta: &SegmentMeta) -> Result<Index> {
    let bytes = read_index(disk, path, meta)?;
    let index = Index::from_bytes(path, &bytes)?;
    if !index.belongs_to(meta) {
        return Err(damaged(path, "it belongs to another segment"));
    }
    Ok(index)
}

/// The bytes of the index file, compared with the checkpoint's checksum.
pub(super) fn read_index(disk: &dyn Disk, path: &Path, meta: &SegmentMeta) -> Result<Vec<u8>> {
    let file = open_sized(disk, path, meta.index_bytes)?;
    let mut bytes = vec![0; meta.index_bytes as usize];
    file.read_at(0, &mut bytes)
        .map_err(|error| Error::io(format!("reading {}", path.display()), error))?;
    if *blake3::hash(&bytes).as_bytes() != meta.index_checksum {
        return Err(damaged(path, "its checksum differs"));
    }
    Ok(bytes)
}

/// Rows are addressed by arithmetic; all groups but the last must be full.
fn check_groups(path: &Path, parquet: &ArrowReaderMetadata, rows: u64) -> Result<()> {
    let mut left = rows;
    for group in parquet.metadata().row_groups() {
        let expected = left.min(GROUP_ROWS as u64);
        if group.num_rows() as u64 != expected || expected == 0 {
            return Err(damaged(path, "its row groups have other sizes"));
        }
        left -= expected;
    }
    match left {
        0 => Ok(()),
        _ => Err(damaged(path, "row groups are missing")),
    }
}
