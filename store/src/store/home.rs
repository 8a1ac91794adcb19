//! Where segments live, and how they are numbered.
//!
//! `segments/<table id>/<shard>/<number>.parquet` and `.idx`; the sorted run of an index lies beside
//! them as `<number>.<index>.run.…`. Numbers are unique in a store, and never used twice while one of their files may still exist.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::catalog::TableState;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::ids::{Stamp, TableId};
use crate::segment::{
    Codec, ColumnCache, FileName, Segment, SegmentMeta, SegmentPlace, SegmentSpec, SegmentWriter,
    data_path, index_path, run_meta_path,
};
use crate::write::Change;

/// Numbers of segments are below this, so that the next one is a number, too.
const MAX_NUMBER: u64 = 1 << 62;

/// The folder of all segments of a store.
#[derive(Debug)]
pub(super) struct SegmentHome {
    pub(super) disk: Arc<dyn Disk>,
    root: PathBuf,
    cache: Arc<ColumnCache>,
    codec: Codec,
    next: AtomicU64,
}

impl SegmentHome {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        root: PathBuf,
        cache_bytes: usize,
        codec: Codec,
    ) -> Self {
        Self {
            disk,
            root,
            cache: ColumnCache::new(cache_bytes),
            codec,
            next: AtomicU64::new(1),
        }
    }

    /// Bytes of decoded columns in memory.
    pub(super) fn cached_bytes(&self) -> u64 {
        self.cache.bytes() as u64
    }

    /// Makes sure that `number` is not given to another segment.
    pub(super) fn skip(&self, number: u64) {
        self.next.fetch_max(number + 1, Ordering::AcqRel);
    }

    /// The segment that `meta` describes. Reads nothing yet.
    pub(super) fn open(&self, table: &TableState, meta: SegmentMeta) -> Arc<Segment> {
        let change = meta.change;
        self.skip(meta.number);
        let place = SegmentPlace {
            disk: Arc::clone(&self.disk),
            folder: self.folder(meta.table, meta.shard),
            cache: Arc::clone(&self.cache),
            run: None,
        };
        let schema = table.schema_of(change).clone();
        Arc::new(Segment::new(place, meta, schema, table.keys_of(change)))
    }

    /// How segments of a table are compressed.
    pub(super) fn codec_of(&self, table: &TableState) -> Codec {
        table.options().codec.unwrap_or(self.codec)
    }

    /// Begins a segment. `stamp` is that of all rows, if there is only one.
    pub(super) fn begin(
        &self,
        table: &TableState,
        shard: u32,
        change: Change,
        stamp: Option<Stamp>,
    ) -> Result<SegmentWriter> {
        let folder = self.folder(table.id, shard);
        self.disk
            .create_folder(&folder)
            .map_err(|error| Error::io(format!("create {}", folder.display()), error))?;
        let spec = SegmentSpec {
            table: table.id,
            shard,
            number: self.next.fetch_add(1, Ordering::AcqRel),
            change,
            schema: table.schema_of(change).clone(),
            codec: self.codec_of(table),
            stamp,
            run: None,
        };
        SegmentWriter::create(Arc::clone(&self.disk), &folder, spec)
    }

    /// Returns when the entries of new segments' folders are on disk.
    pub(super) fn sync(&self, metas: &[&SegmentMeta]) -> Result<()> {
        let mut folders: Vec<PathBuf> = Vec::new();
        for meta in metas {
            let folder = self.folder(meta.table, meta.shard);
            folders.extend(folder.parent().map(Path::to_path_buf));
            folders.push(folder);
        }
        if !folders.is_empty() {
            folders.push(self.root.clone());
            folders.extend(self.root.parent().map(Path::to_path_buf));
        }
        folders.sort();
        folders.dedup();
        for folder in folders {
            self.disk
                .sync_folder(&folder)
                .map_err(|error| Error::in_doubt(format!("sync {}", folder.display()), error))?;
        }
        Ok(())
    }

    /// Removes segment files that nothing refers to: those of flushes, loads and compactions that
    /// a crash cut short. Returns how many. Files of other names are left alone.
    pub(super) fn remove_orphans(&self, known: &dyn Fn(FileName) -> bool) -> Result<u64> {
        let mut removed = 0;
        for (file, path) in self.files()? {
            self.skip(file.number);
            if !known(file) {
                self.disk
                    .remove(&path)
                    .map_err(|error| Error::io(format!("remove {}", path.display()), error))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// The files of all segments and runs, with what they belong to.
    pub(super) fn files(&self) -> Result<Vec<(FileName, PathBuf)>> {
        let list = |folder: &Path| {
            let entries = self.disk.list(folder);
            entries.map_err(|error| Error::io(format!("list {}", folder.display()), error))
        };
        let mut files = Vec::new();
        for table in list(&self.root)? {
            let table = self.root.join(table);
            for shard in list(&table).unwrap_or_default() {
                let shard = table.join(shard);
                for name in list(&shard).unwrap_or_default() {
                    files.extend(own_file(&name).map(|file| (file, shard.join(&name))));
                }
            }
        }
        Ok(files)
    }

    /// Where the segments of a shard lie.
    pub(super) fn folder(&self, table: TableId, shard: u32) -> PathBuf {
        self.root.join(table.to_string()).join(shard.to_string())
    }
}

/// What a file belongs to, going by its name.
pub(super) fn own_file(name: &str) -> Option<FileName> {
    let file = FileName::parse(name).filter(|file| file.number < MAX_NUMBER)?;
    // Somebody else's `7.parquet` is not ours to remove.
    let root = Path::new("");
    let own = [
        data_path(root, file),
        index_path(root, file),
        run_meta_path(root, file),
    ];
    own.iter().any(|path| path == name).then_some(file)
}

/// Fails, saying why, if no segment of `table` can be like this. For entries of stored files, before
/// memory is set aside for what they announce.
pub(super) fn check(table: &TableState, meta: &SegmentMeta) -> Result<(), String> {
    let rows = 1..=u64::from(u32::MAX);
    if meta.shard >= table.shards || meta.number >= MAX_NUMBER || !rows.contains(&meta.rows) {
        return Err(format!(
            "table \"{}\" cannot have a segment {} of {} rows in shard {}",
            table.name, meta.number, meta.rows, meta.shard
        ));
    }
    Ok(())
}
