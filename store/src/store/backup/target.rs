//! Where a backup is written: a folder, or one archive.
//!
//! Invariant: a file is there under its name as a whole or not at all, and the manifest comes last,
//! so that whatever fails in between, earlier backups stay as they were.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs4::fs_std::FileExt;

use super::manifest::{FileEntry, Manifest, check_format, mark};
use super::tar;
use super::{MARK, MAX_MANIFEST, damaged};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, ErrorKind, Result};
use crate::log::{FrameFolder, Series};

/// Where one backup goes.
pub(super) trait Target {
    /// The number of the backup.
    fn number(&self) -> u64;

    /// What an earlier backup left of a file of this length.
    fn known(&self, path: &str, bytes: u64) -> Option<FileEntry>;

    /// Where the checkpoint is to be written.
    fn checkpoints(&self) -> FrameFolder;

    /// Begins a file of this length.
    fn begin(&mut self, path: &str, bytes: u64) -> Result<()>;

    /// Writes to it.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Ends it.
    fn end(&mut self) -> Result<()>;

    /// Makes everything durable and writes the manifest.
    fn finish(&mut self, manifest: &Manifest) -> Result<()>;

    /// Removes what is half there, best effort.
    fn abandon(&mut self);
}

/// A folder of backups that share their files.
pub(super) struct FolderTarget {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    number: u64,
    known: HashMap<String, FileEntry>,
    open: Option<(Box<dyn DiskFile>, PathBuf)>,
    folders: Vec<PathBuf>,
    /// Keeps others from writing to the folder at the same time.
    _lock: File,
}

impl FolderTarget {
    pub(super) fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Self> {
        prepare(&*disk, root)?;
        let lock = lock(root)?;
        let manifests = list_manifests(&*disk, root)?;
        let mut known = HashMap::new();
        for (_, path) in &manifests {
            // A damaged one tells nothing; its files are copied again.
            if let Ok(manifest) = read_manifest(&*disk, path) {
                known.extend(manifest.files);
            }
        }
        Ok(Self {
            number: manifests.last().map_or(0, |(number, _)| *number) + 1,
            disk,
            root: root.to_path_buf(),
            known,
            open: None,
            folders: Vec::new(),
            _lock: lock,
        })
    }

    fn sync_folders(&mut self) -> Result<()> {
        let mut folders = std::mem::take(&mut self.folders);
        folders.extend(["segments", "checkpoints"].map(|name| self.root.join(name)));
        folders.push(self.root.clone());
        folders.sort();
        folders.dedup();
        for folder in folders {
            let synced = self.disk.sync_folder(&folder);
            synced.or_else(|error| match error.kind() {
                IoKind::NotFound => Ok(()),
                _ => Err(io("sync", &folder, error)),
            })?;
        }
        Ok(())
    }
}

impl Target for FolderTarget {
    fn number(&self) -> u64 {
        self.number
    }

    fn known(&self, path: &str, bytes: u64) -> Option<FileEntry> {
        let known = self.known.get(path).filter(|known| known.bytes == bytes)?;
        let file = self.disk.open(&self.root.join(path)).ok()?;
        (file.size().ok()? == bytes).then(|| known.clone())
    }

    fn checkpoints(&self) -> FrameFolder {
        let folder = self.root.join("checkpoints");
        FrameFolder::new(Arc::clone(&self.disk), folder, Series::Checkpoint)
    }

    fn begin(&mut self, path: &str, _bytes: u64) -> Result<()> {
        let path = self.root.join(path);
        for folder in path.ancestors().skip(1).take(2) {
            self.folders.push(folder.to_path_buf());
        }
        let folder = path.parent().unwrap_or(&self.root);
        let beside = with_new(&path);
        let file = self.disk.create_folder(folder);
        let file = file.and_then(|()| self.disk.create(&beside));
        self.open = Some((file.map_err(|e| io("create", &path, e))?, path));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.open {
            Some((file, path)) => file.append(bytes).map_err(|e| io("write", path, e)),
            None => Ok(()),
        }
    }

    fn end(&mut self) -> Result<()> {
        let Some((file, path)) = &self.open else {
            return Ok(());
        };
        file.sync()
            .and_then(|()| self.disk.rename(&with_new(path), path))
            .map_err(|error| io("write", path, error))?;
        self.open = None;
        Ok(())
    }

    fn finish(&mut self, manifest: &Manifest) -> Result<()> {
        self.sync_folders()?;
        self.begin(&manifest_name(self.number), 0)?;
        self.write(&manifest.to_bytes()?)?;
        self.end()?;
        self.sync_folders()
    }

    fn abandon(&mut self) {
        if let Some((file, path)) = self.open.take() {
            drop(file);
            let _ = self.disk.remove(&with_new(&path));
        }
        let checkpoint = self.checkpoints().file(self.number);
        let _ = self.disk.remove(&checkpoint.with_extension("new"));
        let _ = self.disk.remove(&checkpoint);
    }
}

/// One file: a tar archive.
pub(super) struct ArchiveTarget {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    seconds: u64,
    padding: usize,
}

impl ArchiveTarget {
    pub(super) fn open(disk: Arc<dyn Disk>, path: &Path, seconds: u64) -> Result<Self> {
        refuse_other_files(&*disk, path)?;
        let file = disk.create(&with_new(path));
        let mut target = Self {
            disk,
            path: path.to_path_buf(),
            file: file.map_err(|error| io("create", path, error))?,
            seconds,
            padding: 0,
        };
        let mark = mark();
        target.begin(MARK, mark.len() as u64)?;
        target.write(mark.as_bytes())?;
        target.end()?;
        Ok(target)
    }

    fn scratch(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".checkpoint");
        name.into()
    }
}

impl Target for ArchiveTarget {
    fn number(&self) -> u64 {
        1
    }

    fn known(&self, _path: &str, _bytes: u64) -> Option<FileEntry> {
        None
    }

    fn checkpoints(&self) -> FrameFolder {
        FrameFolder::new(Arc::clone(&self.disk), self.scratch(), Series::Checkpoint)
    }

    fn begin(&mut self, path: &str, bytes: u64) -> Result<()> {
        let header = tar::header(path, bytes, self.seconds)
            .ok_or_else(|| Error::invalid(format!("the name {path} is too long for an archive")))?;
        self.padding = tar::padding(bytes);
        self.write(&header)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.append(bytes);
        written.map_err(|error| io("write", &self.path, error))
    }

    fn end(&mut self) -> Result<()> {
        let padding = std::mem::take(&mut self.padding);
        self.write(&vec![0; padding])
    }

    fn finish(&mut self, manifest: &Manifest) -> Result<()> {
        let bytes = manifest.to_bytes()?;
        self.begin(&manifest_name(1), bytes.len() as u64)?;
        self.write(&bytes)?;
        self.end()?;
        self.write(&[0; 2 * tar::BLOCK])?;
        let folder = self.path.parent().filter(|f| !f.as_os_str().is_empty());
        self.file
            .sync()
            .and_then(|()| self.disk.rename(&with_new(&self.path), &self.path))
            .and_then(|()| self.disk.sync_folder(folder.unwrap_or(Path::new("."))))
            .and_then(|()| self.disk.remove_folder(&self.scratch()))
            .map_err(|error| io("write", &self.path, error))
    }

    fn abandon(&mut self) {
        let _ = self.disk.remove(&with_new(&self.path));
        let _ = self.disk.remove_folder(&self.scratch());
    }
}

/// The name of a manifest in a backup.
pub(super) fn manifest_name(number: u64) -> String {
    format!("manifests/{number:06}.json")
}

/// The manifests of a folder, oldest first.
pub(super) fn list_manifests(disk: &dyn Disk, root: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let folder = root.join("manifests");
    let names = disk.list(&folder).map_err(|e| io("list", &folder, e))?;
    let number = |name: &String| name.strip_suffix(".json")?.parse().ok();
    let found = names
        .iter()
        .filter_map(|name| Some((number(name)?, folder.join(name))));
    let mut found: Vec<(u64, PathBuf)> = found.collect();
    found.sort();
    Ok(found)
}

/// Fails with `Corrupt`, naming the file.
pub(super) fn read_manifest(disk: &dyn Disk, path: &Path) -> Result<Manifest> {
    Manifest::from_bytes(path, &read(disk, path)?)
}

/// The whole of a manifest or mark. Fails with `Corrupt` if it is none by its length.
pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>> {
    let read = || {
        let file = disk.open(path)?;
        let size = file.size()?;
        if size > MAX_MANIFEST {
            return Ok(None);
        }
        let mut bytes = vec![0; size as usize];
        file.read_at(0, &mut bytes)?;
        Ok(Some(bytes))
    };
    let bytes = read().map_err(|error: std::io::Error| match error.kind() {
        IoKind::NotFound => damaged(path, "the file is missing"),
        _ => io("read", path, error),
    })?;
    bytes.ok_or_else(|| damaged(path, "it is longer than any manifest"))
}

pub(super) fn io(action: &str, path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("{action} {}", path.display()), error)
}

/// Takes a new or an empty folder, or one of backups.
fn prepare(disk: &dyn Disk, root: &Path) -> Result<()> {
    let names = disk.list(root).map_err(|e| io("list", root, e))?;
    let marked = root.join(MARK);
    if names.iter().any(|name| name == MARK) {
        let text = read(disk, &marked)?;
        return check_format(&marked, &String::from_utf8_lossy(&text)).map(|_| ());
    }
    if names.iter().any(|name| !name.ends_with(".new")) {
        return Err(Error::invalid(format!(
            "{} is neither empty nor a folder of backups; choose another one",
            root.display()
        )));
    }
    let beside = with_new(&marked);
    disk.create_folder(root)
        .and_then(|()| disk.create_folder(&root.join("checkpoints")))
        .and_then(|()| disk.create(&beside))
        .and_then(|mut file| {
            file.append(mark().as_bytes())?;
            file.sync()
        })
        .and_then(|()| disk.rename(&beside, &marked))
        .map_err(|error| io("write", &marked, error))
}

/// Locks a folder of backups.
pub(super) fn lock(root: &Path) -> Result<File> {
    let path = root.join(MARK);
    let file = File::open(&path).map_err(|error| io("open", &path, error))?;
    match FileExt::try_lock_exclusive(&file) {
        Ok(true) => Ok(file),
        Ok(false) => Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "another backup into {} is running; wait for its end",
                root.display()
            ),
        )),
        Err(error) => Err(io("lock", &path, error)),
    }
}

/// Fails unless there is nothing under this name, or an archive of ours.
fn refuse_other_files(disk: &dyn Disk, path: &Path) -> Result<()> {
    let mut first = [0; tar::BLOCK];
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == IoKind::NotFound => return Ok(()),
        Err(error) => return Err(io("open", path, error)),
    };
    let ours = file.read_at(0, &mut first).is_ok()
        && matches!(tar::parse(&first), tar::Parsed::File(name, _) if name == MARK);
    if ours {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{} is there and is not a backup; choose another name",
        path.display()
    )))
}

/// The name under which a file is written before it is complete.
fn with_new(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}
