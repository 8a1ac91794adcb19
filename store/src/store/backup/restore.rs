//! Making a data folder of a backup.
//!
//! Idea: everything is put into a folder beside, opened, and its digests computed from its rows;
//! only then does it get the name that was asked for. Invariant: what has that name was verified.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::filter::{FIRST, copy_checkpoint};
use super::manifest::{FileEntry, Manifest, TableEntry, hex, table_id};
use super::source::Source;
use super::target::io;
use super::{MARK, Progress, RestoreReport, damaged};
use crate::disk::{OsDisk, sync_folder};
use crate::error::{Error, Result};
use crate::ids::TableId;
use crate::log::{FrameFolder, LogWriter, Series};
use crate::settings::{BackendKind, Settings};
use crate::store::{Store, recompute};

/// Bytes copied at a time.
const COPY_BYTES: usize = 256 << 10;
/// Folder of the checkpoint as it was in the backup.
const RAW: &str = "from";

pub(super) fn restore(
    from: &Path,
    data_dir: &Path,
    tables: Option<&[TableId]>,
    progress: Progress<'_>,
) -> Result<RestoreReport> {
    let started = Instant::now();
    let source = Source::open(from)?;
    check_empty(data_dir)?;
    let staging = Staging::begin(data_dir)?;
    let mut copy = Copy {
        root: &staging.path,
        found: HashMap::new(),
        bytes: 0,
        total: source.bytes(),
        progress,
    };
    let wanted = |path: &str| is_wanted(path, tables);
    let manifest = source.read(&wanted, &mut |path, file, contents| {
        copy.file(path, file, contents)
    })?;
    compare(from, &manifest, &copy.found, &wanted)?;
    check_tables(from, &manifest, tables)?;
    let (files, bytes) = (copy.found.len() as u64, copy.bytes);
    take_checkpoint(&staging.path, &manifest, tables)?;
    let verified = verify(from, &staging.path, &manifest, tables)?;
    (copy.progress)(copy.total, copy.total);
    staging.finish(data_dir)?;
    Ok(RestoreReport {
        number: manifest.number,
        made_millis: manifest.made_millis,
        tables: verified.0,
        rows: verified.1,
        files,
        bytes,
        elapsed: started.elapsed(),
    })
}

/// A path of a backup: the checkpoint, or a segment's file and its name in a data folder.
enum Place {
    Checkpoint(String),
    Segment(TableId, PathBuf),
}

/// Takes nothing but the names that a backup gives: an archive may come from anywhere.
fn place(path: &str) -> Option<Place> {
    let digits = |text: &str, least: usize| {
        text.len() >= least && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["checkpoints", name] => {
            let number = name.strip_suffix(".checkpoint")?;
            digits(number, 6).then(|| Place::Checkpoint((*name).to_owned()))
        }
        ["segments", table, shard, name] => {
            let id = table_id(table)?;
            let (stem, kind) = name.split_once('.')?;
            let (number, _) = stem.split_once('-')?;
            let known = kind == "parquet" || kind == "idx";
            if !known || !digits(number, 12) || !digits(shard, 1) {
                return None;
            }
            let folder = Path::new("segments").join(id.to_string()).join(shard);
            Some(Place::Segment(id, folder.join(format!("{number}.{kind}"))))
        }
        _ => None,
    }
}

fn is_wanted(path: &str, tables: Option<&[TableId]>) -> bool {
    match (place(path), tables) {
        (Some(Place::Segment(id, _)), Some(tables)) => tables.contains(&id),
        // What has a name of its own is passed on, and refused.
        _ => path != MARK,
    }
}

/// Copies files into the folder.
struct Copy<'a> {
    root: &'a Path,
    found: HashMap<String, FileEntry>,
    bytes: u64,
    total: u64,
    progress: Progress<'a>,
}

impl Copy<'_> {
    fn file(&mut self, path: &str, from: &Path, contents: &mut dyn Read) -> Result<()> {
        let to = match place(path) {
            Some(Place::Checkpoint(name)) => self.root.join(RAW).join(name),
            Some(Place::Segment(_, to)) => self.root.join(to),
            None => return Err(damaged(from, format!("it lists {path:?}"))),
        };
        let folder = to.parent().unwrap_or(self.root);
        let created = fs::create_dir_all(folder).and_then(|()| File::create_new(&to));
        let mut file = created.map_err(|error| io("create", &to, error))?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; COPY_BYTES];
        let mut bytes = 0;
        loop {
            let read = contents
                .read(&mut buffer)
                .map_err(|e| io("read", from, e))?;
            let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
                break;
            };
            hasher.update(piece);
            file.write_all(piece).map_err(|e| io("write", &to, e))?;
            bytes += read as u64;
            self.bytes += read as u64;
            (self.progress)(self.bytes.min(self.total), self.total);
        }
        file.sync_all().map_err(|error| io("sync", &to, error))?;
        let blake3 = hasher.finalize().to_hex().to_string();
        self.found
            .insert(path.to_owned(), FileEntry { bytes, blake3 });
        Ok(())
    }
}

/// Compares what was copied with the manifest.
fn compare(
    from: &Path,
    manifest: &Manifest,
    found: &HashMap<String, FileEntry>,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<()> {
    let name = |path: &str| match from.is_dir() {
        true => from.join(path),
        false => PathBuf::from(format!("{} ({path})", from.display())),
    };
    for (path, entry) in manifest.files.iter().filter(|(path, _)| wanted(path)) {
        match found.get(path) {
            Some(same) if same == entry => {}
            Some(other) if other.bytes != entry.bytes => {
                let reason = format!("it has {} bytes instead of {}", other.bytes, entry.bytes);
                return Err(damaged(&name(path), reason));
            }
            Some(_) => return Err(damaged(&name(path), "its checksum differs")),
            None => return Err(damaged(&name(path), "the file is missing")),
        }
    }
    match found
        .keys()
        .find(|path| !manifest.files.contains_key(*path))
    {
        Some(path) => Err(damaged(&name(path), "the manifest does not list it")),
        None => Ok(()),
    }
}

fn check_tables(from: &Path, manifest: &Manifest, tables: Option<&[TableId]>) -> Result<()> {
    let known = |id: &TableId| manifest.tables.iter().any(|t| t.table_id() == Some(*id));
    match tables.and_then(|tables| tables.iter().find(|id| !known(id))) {
        Some(id) => Err(Error::not_found(format!(
            "backup {} has no table with id {id}",
            from.display()
        ))),
        None => Ok(()),
    }
}

/// Writes the checkpoint of the wanted tables, and removes the one that was copied.
fn take_checkpoint(root: &Path, manifest: &Manifest, tables: Option<&[TableId]>) -> Result<()> {
    let number = match place(&manifest.checkpoint) {
        Some(Place::Checkpoint(name)) => name.trim_end_matches(".checkpoint").parse().ok(),
        _ => None,
    };
    let number =
        number.ok_or_else(|| damaged(root, "the manifest names no checkpoint of its own"))?;
    let raw = root.join(RAW);
    copy_checkpoint((&raw, number), &root.join("checkpoints"), &|id| {
        tables.is_none_or(|tables| tables.contains(&id))
    })?;
    // The log that the checkpoint names: without it, a store takes its last rows for lost.
    let log = root.join("log");
    fs::create_dir_all(&log).map_err(|error| io("create", &log, error))?;
    LogWriter::create(FrameFolder::new(Arc::new(OsDisk), log, Series::Log), FIRST)?;
    fs::remove_dir_all(&raw).map_err(|error| io("remove", &raw, error))
}

/// Opens the folder and computes every digest from the rows. Returns tables and rows.
fn verify(
    from: &Path,
    root: &Path,
    manifest: &Manifest,
    tables: Option<&[TableId]>,
) -> Result<(usize, u64)> {
    let store = Store::open(Settings {
        data_dir: Some(root.to_path_buf()),
        // The next one who opens it chooses.
        backend: BackendKind::Memory,
        background: false,
        cache_bytes: Some(0),
        ..Settings::default()
    })?;
    let wanted = |table: &&TableEntry| {
        !table.dropped
            && tables.is_none_or(|ids| table.table_id().is_some_and(|id| ids.contains(&id)))
    };
    let mut totals = (0, 0);
    for table in manifest.tables.iter().filter(wanted) {
        let rows = verify_table(&store, from, table)?;
        totals = (totals.0 + 1, totals.1 + rows);
    }
    store.close()?;
    Ok(totals)
}

fn verify_table(store: &Store, from: &Path, table: &TableEntry) -> Result<u64> {
    let id = table.table_id().unwrap_or_default();
    let state = store.core().any_table(id)?.state;
    let mut rows = 0;
    for shard in 0..state.shards {
        let found = recompute::shard(&state, shard)?;
        let noted = table.shards.iter().find(|entry| entry.shard == shard);
        let expected = noted.map(|entry| (entry.rows, entry.digest.clone()));
        let expected = expected.unwrap_or_else(|| (0, hex(&[0; 32])));
        if (found.rows, hex(&found.tree.root().0)) != expected {
            let reason = format!("shard {shard} of table \"{}\" has other rows", table.name);
            return Err(damaged(from, reason));
        }
        rows += found.rows;
    }
    Ok(rows)
}

/// The folder beside, until it is complete.
struct Staging {
    path: PathBuf,
    done: bool,
}

impl Staging {
    fn begin(data_dir: &Path) -> Result<Self> {
        let mut name = data_dir.as_os_str().to_owned();
        name.push(".restoring");
        let path = PathBuf::from(name);
        let removed = match fs::remove_dir_all(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        removed
            .and_then(|()| fs::create_dir_all(path.join("checkpoints")))
            .map_err(|error| io("create", &path, error))?;
        Ok(Self { path, done: false })
    }

    fn finish(mut self, data_dir: &Path) -> Result<()> {
        sync_tree(&self.path).map_err(|error| io("sync", &self.path, error))?;
        let moved = match fs::remove_dir(data_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => fs::rename(&self.path, data_dir),
        };
        moved.map_err(|error| io("make", data_dir, error))?;
        self.done = true;
        match data_dir
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            Some(parent) => sync_folder(parent),
            None => sync_folder(Path::new(".")),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.done {
            // What stays is removed by the next try.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Makes the entries of a folder and those below it durable.
fn sync_tree(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    match cfg!(windows) {
        true => Ok(()),
        false => File::open(folder)?.sync_all(),
    }
}

fn check_empty(data_dir: &Path) -> Result<()> {
    let first = match fs::read_dir(data_dir) {
        Ok(mut entries) => entries.next(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(io("open", data_dir, error)),
    };
    match first {
        None => Ok(()),
        Some(_) => Err(Error::invalid(format!(
            "{} is not empty; restore into a new folder, then let it take that place",
            data_dir.display()
        ))),
    }
}
