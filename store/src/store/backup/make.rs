//! Copying a checkpoint and its segments into a backup.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::manifest::{FileEntry, Manifest, ShardEntry, TableEntry, hex};
use super::target::{ArchiveTarget, FolderTarget, Target, io};
use super::{BackupReport, BackupTarget, Progress};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::segment::Segment;
use crate::store::checkpoint;
use crate::store::maintenance::Made;

/// Takes a file piece by piece.
type Each<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;
/// Reads a file from its beginning to its end.
type Read<'a> = &'a mut dyn FnMut(Each<'_>) -> Result<()>;

/// Bytes read at a time.
const COPY_BYTES: usize = 256 << 10;

/// Opens the target, so that a wrong one is told before a checkpoint is made.
pub(super) fn open(disk: &Arc<dyn Disk>, to: &BackupTarget) -> Result<Box<dyn Target>> {
    Ok(match to {
        BackupTarget::Folder(root) => Box::new(FolderTarget::open(Arc::clone(disk), root)?),
        BackupTarget::File(path) => Box::new(ArchiveTarget::open(
            Arc::clone(disk),
            path,
            now_millis() / 1000,
        )?),
    })
}

/// One backup in the making.
pub(super) struct Work<'a> {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) target: Box<dyn Target>,
    pub(super) progress: Progress<'a>,
    pub(super) files: BTreeMap<String, FileEntry>,
    pub(super) report: BackupReport,
    pub(super) done: u64,
    pub(super) total: u64,
}

impl Work<'_> {
    /// Copies what is new of the wanted tables; on failure leaves earlier backups as they were.
    pub(super) fn run(
        mut self,
        mut made: Made,
        wanted: Option<&[TableId]>,
    ) -> Result<BackupReport> {
        let started = Instant::now();
        if let Some(wanted) = wanted {
            let tables = &mut made.capture.tables;
            tables.retain(|captured| wanted.contains(&captured.table.def.id));
        }
        let copied = self.copy(&made).inspect_err(|_| self.target.abandon())?;
        self.report = copied;
        self.report.elapsed = started.elapsed();
        Ok(self.report)
    }

    fn copy(&mut self, made: &Made) -> Result<BackupReport> {
        let segments = segments_of(made);
        self.total = segments.iter().map(|segment| bytes_of(segment)).sum();
        (self.progress)(0, self.total);
        for segment in &segments {
            self.segment(segment)?;
        }
        let number = self.target.number();
        let checkpoint = format!("checkpoints/{number:06}.checkpoint");
        self.checkpoint(&checkpoint, number, made)?;
        let manifest = Manifest {
            number,
            made_millis: now_millis(),
            checkpoint,
            tables: tables_of(made),
            files: std::mem::take(&mut self.files),
        };
        self.target.finish(&manifest)?;
        let tables = manifest.tables.iter().filter(|table| !table.dropped);
        Ok(BackupReport {
            number,
            tables: tables.clone().count(),
            rows: tables.map(TableEntry::rows).sum(),
            files: manifest.files.len() as u64,
            bytes: manifest.files.values().map(|file| file.bytes).sum(),
            ..self.report.clone()
        })
    }

    /// Copies both files of a segment, unless an earlier backup has them.
    fn segment(&mut self, segment: &Segment) -> Result<()> {
        let meta = segment.meta();
        let short = hex(meta.index_checksum.get(..8).unwrap_or_default());
        let stem = format!(
            "segments/{}/{}/{:012}-{short}",
            meta.table, meta.shard, meta.number
        );
        let (data, index) = (format!("{stem}.parquet"), format!("{stem}.idx"));
        self.file(&data, meta.data_bytes, &mut |each| segment.read_data(each))?;
        self.file(&index, meta.index_bytes, &mut |each| {
            each(&segment.read_index()?)
        })
    }

    fn checkpoint(&mut self, name: &str, number: u64, made: &Made) -> Result<()> {
        let folder = self.target.checkpoints();
        let created = self.disk.create_folder(&folder.path);
        created.map_err(|error| io("create", &folder.path, error))?;
        checkpoint::write(&folder, number, &made.capture, &made.flushed)?;
        let path = folder.file(number);
        let bytes = folder.file_len(number);
        self.total += bytes;
        let disk = Arc::clone(&self.disk);
        self.file(name, bytes, &mut |each| read_file(&*disk, &path, each))
    }

    /// Copies one file that `read` reads, and notes its hash.
    fn file(&mut self, path: &str, bytes: u64, read: Read<'_>) -> Result<()> {
        let entry = match self.target.known(path, bytes) {
            Some(known) => {
                self.advance(bytes);
                known
            }
            None => self.copy_file(path, bytes, read)?,
        };
        self.files.insert(path.to_owned(), entry);
        Ok(())
    }

    fn copy_file(&mut self, path: &str, bytes: u64, read: Read<'_>) -> Result<FileEntry> {
        let mut hasher = blake3::Hasher::new();
        self.target.begin(path, bytes)?;
        let mut copied = 0;
        read(&mut |piece| {
            hasher.update(piece);
            copied += piece.len() as u64;
            self.target.write(piece)?;
            self.advance(piece.len() as u64);
            Ok(())
        })?;
        if copied != bytes {
            return Err(Error::corrupt(format!(
                "{path}: {copied} bytes were read instead of {bytes}"
            )));
        }
        self.target.end()?;
        self.report.copied_files += 1;
        self.report.copied_bytes += bytes;
        Ok(FileEntry {
            bytes,
            blake3: hasher.finalize().to_hex().to_string(),
        })
    }

    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        (self.progress)(self.done, self.total);
    }
}

/// Reads a file to its end.
pub(super) fn read_file(disk: &dyn Disk, path: &Path, each: Each<'_>) -> Result<()> {
    let failed = |error| io("read", path, error);
    let file = disk.open(path).map_err(failed)?;
    let size = file.size().map_err(failed)?;
    let mut at = 0;
    let mut buffer = vec![0; COPY_BYTES];
    while at < size {
        let now = (size - at).min(COPY_BYTES as u64);
        let (piece, _) = buffer.split_at_mut(now as usize);
        file.read_at(at, piece).map_err(failed)?;
        each(piece)?;
        at += now;
    }
    Ok(())
}

/// All segments of the tables in a checkpoint.
fn segments_of(made: &Made) -> Vec<Arc<Segment>> {
    let mut segments = Vec::new();
    for captured in &made.capture.tables {
        let id = captured.table.def.id;
        for (_, shard) in &captured.shards {
            let seen = shard.segments.iter();
            segments.extend(seen.map(|seen| Arc::clone(&seen.segment)));
        }
        let new = made.flushed.iter();
        segments.extend(new.filter(|s| s.meta().table == id).cloned());
    }
    segments
}

fn tables_of(made: &Made) -> Vec<TableEntry> {
    let tables = made.capture.tables.iter();
    tables
        .map(|captured| TableEntry {
            id: captured.table.def.id.to_string(),
            name: captured.table.def.name.clone(),
            dropped: captured.table.def.dropped.is_some(),
            shards: captured
                .shards
                .iter()
                .filter(|(_, shard)| shard.newest.0 > 0)
                .map(|(number, shard)| ShardEntry {
                    shard: *number,
                    rows: shard.rows,
                    digest: hex(&shard.digest.0),
                })
                .collect(),
        })
        .collect()
}

fn bytes_of(segment: &Segment) -> u64 {
    segment.meta().data_bytes + segment.meta().index_bytes
}

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
