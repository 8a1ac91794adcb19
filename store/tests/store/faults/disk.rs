//! A disk in memory that fails when told to, and remembers what it may forget.
//!
//! Idea: every file keeps its contents as written, its contents as last synced, and the operations
//! between the two; every folder does the same with its entries. A crash image is any subset of
//! what was not synced (see `image`). A sync that fails forgets: as in Linux, a later one reports
//! success without the bytes that the first one lost.
//! Non-goals: permissions, links, times.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::tree::{
    Content, Entries, Entry, EntryChange, FileChange, Folder, Tree, apply_file, name_of,
};
use netabase_store::{Disk, DiskFile};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No space left: nothing is written. Hits what takes space only.
    Full,
    /// Like `Full`, but half of the bytes are written, and the disk stays full.
    Short,
    /// Like `Full`, but the log still finds space.
    FullBesideLog,
    /// Files cannot be cut.
    Uncut,
    /// An input or output error, whatever the operation.
    Broken,
    /// The folder may only be read: hits every change.
    ReadOnly,
}

/// Which operation fails, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// Counted from 0, over all operations since the fault was set.
    pub(crate) at: u64,
    pub(crate) kind: Kind,
    /// Whether all later ones that it can hit fail, too.
    pub(crate) stays: bool,
}

/// What kind of operation is about to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Read,
    /// Takes space: appends, new files and folders.
    Grow,
    /// Writes over bytes that are there.
    Overwrite,
    /// Cuts files.
    Cut,
    /// Renames them.
    Rename,
    Remove,
    Sync,
}

/// An operation that failed.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) path: PathBuf,
    pub(crate) op: Op,
}

#[derive(Debug, Default)]
struct State {
    tree: Tree,
    /// Operations since the last fault or crash was set.
    ops: u64,
    /// Those of them that change or sync something.
    changes: u64,
    fault: Option<Fault>,
    hit: Vec<Hit>,
    crash_at: Option<u64>,
    crashed: Option<Tree>,
}

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultDisk(Arc<Mutex<State>>);

impl FaultDisk {
    /// An empty disk, with the folders that a store makes beside it.
    pub(crate) fn new(root: &Path) -> Self {
        let mut tree = Tree::default();
        let parts = ["log", "checkpoints", "segments"];
        for part in parts {
            tree.folders.insert(root.join(part), Folder::default());
        }
        let entries: Entries = parts.map(|p| (p.to_owned(), Entry::Folder)).into();
        let folder = Folder {
            now: entries.clone(),
            durable: entries,
            pending: Vec::new(),
        };
        tree.folders.insert(root.to_owned(), folder);
        Self::holding(tree)
    }

    pub(super) fn holding(tree: Tree) -> Self {
        let state = State {
            tree,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Lets an operation fail from now on, or none.
    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.0.lock();
        state.ops = 0;
        state.fault = fault;
        state.hit.clear();
    }

    /// Operations since the fault was set.
    pub(crate) fn ops(&self) -> u64 {
        self.0.lock().ops
    }

    /// The operations that failed.
    pub(crate) fn hit(&self) -> Vec<Hit> {
        self.0.lock().hit.clone()
    }

    /// Cuts the power at the change (or sync) of this number, counted from now.
    pub(crate) fn crash_at(&self, change: u64) {
        let mut state = self.0.lock();
        state.changes = 0;
        state.crash_at = Some(change);
    }

    pub(crate) fn is_crashed(&self) -> bool {
        self.0.lock().crashed.is_some()
    }

    /// What the disk held when the power went, or holds now.
    pub(super) fn tree(&self) -> Tree {
        let state = self.0.lock();
        state.crashed.as_ref().unwrap_or(&state.tree).clone()
    }

    /// Changes the bytes of a file, as a failing disk does.
    pub(crate) fn damage(&self, path: &Path, damage: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let file = state.tree.file(path).unwrap();
        let content = &mut state.tree.files[file];
        damage(&mut content.now);
        content.durable = content.now.clone();
        content.pending.clear();
    }

    /// The paths of all files.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let state = self.0.lock();
        let folders = state.tree.folders.iter();
        let mut all = Vec::new();
        for (path, folder) in folders {
            let files = folder.now.iter().filter(|(_, e)| **e != Entry::Folder);
            all.extend(files.map(|(name, _)| path.join(name)));
        }
        all
    }

    /// The bytes of a file.
    pub(crate) fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.lock();
        let file = state.tree.file(path).ok()?;
        Some(state.tree.files[file].now.clone())
    }

    fn begin(&self, op: Op, path: &Path) -> io::Result<MutexGuard<'_, State>> {
        match self.try_begin(op, path) {
            (state, None) => Ok(state),
            (_, Some(kind)) => Err(kind.error()),
        }
    }

    /// Counts an operation, and says how it fails, if so.
    fn try_begin(&self, op: Op, path: &Path) -> (MutexGuard<'_, State>, Option<Kind>) {
        let mut state = self.0.lock();
        let number = state.ops;
        state.ops += 1;
        if op != Op::Read {
            if state.crash_at == Some(state.changes) && state.crashed.is_none() {
                state.crashed = Some(state.tree.clone());
            }
            state.changes += 1;
        }
        if state.crashed.is_some() {
            return (state, Some(Kind::Broken));
        }
        let failing = state.fault.filter(|fault| {
            let due = number == fault.at || fault.stays && number > fault.at;
            due && fault.kind.hits(op, path)
        });
        if failing.is_some() {
            let path = path.to_owned();
            state.hit.push(Hit { path, op });
        }
        (state, failing.map(|fault| fault.kind))
    }
}

impl Kind {
    fn hits(self, op: Op, path: &Path) -> bool {
        match self {
            Self::Full | Self::Short => op == Op::Grow,
            Self::FullBesideLog => op == Op::Grow && !of_log(path),
            Self::Uncut => op == Op::Cut,
            Self::Broken => true,
            Self::ReadOnly => op != Op::Read,
        }
    }

    fn error(self) -> io::Error {
        io::Error::from(match self {
            Self::Full | Self::Short | Self::FullBesideLog => io::ErrorKind::StorageFull,
            Self::Uncut | Self::Broken => io::ErrorKind::Other,
            Self::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
        })
    }
}

fn of_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

#[derive(Debug)]
struct FaultFile {
    disk: FaultDisk,
    path: PathBuf,
    file: usize,
    writable: bool,
}

impl FaultFile {
    fn boxed(disk: &FaultDisk, path: &Path, file: usize, writable: bool) -> Box<dyn DiskFile> {
        Box::new(Self {
            disk: disk.clone(),
            path: path.to_owned(),
            file,
            writable,
        })
    }

    fn change(state: &mut State, file: usize, change: FileChange) {
        let content = &mut state.tree.files[file];
        apply_file(&mut content.now, &change);
        content.pending.push(change);
    }
}

impl DiskFile for FaultFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let at = self.disk.0.lock().tree.files[self.file].now.len();
        self.write_at(at as u64, bytes)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let at = usize::try_from(offset).unwrap();
        let len = self.disk.0.lock().tree.files[self.file].now.len();
        assert!(at <= len, "a hole");
        let op = match at + bytes.len() > len || bytes.is_empty() {
            true => Op::Grow,
            false => Op::Overwrite,
        };
        let (mut state, failed) = self.disk.try_begin(op, &self.path);
        let taken = match failed {
            None => bytes,
            Some(Kind::Short) => &bytes[..bytes.len() / 2],
            Some(kind) => return Err(kind.error()),
        };
        let append = FileChange::Append {
            at,
            bytes: taken.to_vec(),
        };
        Self::change(&mut state, self.file, append);
        failed.map_or(Ok(()), |kind| Err(kind.error()))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.disk.begin(Op::Read, &self.path)?;
        let bytes = &state.tree.files[self.file].now;
        let start = usize::try_from(offset).unwrap();
        match bytes.get(start..start + buffer.len()) {
            Some(found) => buffer.copy_from_slice(found),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let state = self.disk.begin(Op::Read, &self.path)?;
        Ok(state.tree.files[self.file].now.len() as u64)
    }

    fn cut(&mut self, size: u64) -> io::Result<()> {
        let mut state = self.disk.begin(Op::Cut, &self.path)?;
        let len = usize::try_from(size).unwrap();
        Self::change(&mut state, self.file, FileChange::Cut(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let (mut state, failed) = self.disk.try_begin(Op::Sync, &self.path);
        let content = &mut state.tree.files[self.file];
        content.pending.clear();
        match failed {
            None => content.durable = content.now.clone(),
            Some(kind) => return Err(kind.error()),
        }
        Ok(())
    }
}

impl Disk for FaultDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.begin(Op::Grow, path)?;
        let file = match state.tree.file(path) {
            Ok(file) => {
                FaultFile::change(&mut state, file, FileChange::Cut(0));
                file
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = state.tree.files.len();
                let set = EntryChange::Set(name_of(path), Entry::File(file));
                state.tree.change(path, set)?;
                state.tree.files.push(Content::default());
                file
            }
            Err(error) => return Err(error),
        };
        Ok(FaultFile::boxed(self, path, file, true))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.begin(Op::Read, path)?.tree.file(path)?;
        Ok(FaultFile::boxed(self, path, file, false))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.begin(Op::Read, path)?.tree.file(path)?;
        Ok(FaultFile::boxed(self, path, file, true))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.begin(Op::Read, folder)?;
        let found = state.tree.folders.get(folder);
        Ok(found.map_or_else(Vec::new, |f| f.now.keys().cloned().collect()))
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.begin(Op::Grow, folder)?;
        let missing: Vec<PathBuf> = folder
            .ancestors()
            .take_while(|path| !state.tree.folders.contains_key(*path))
            .map(Path::to_owned)
            .collect();
        for path in missing.into_iter().rev() {
            let set = EntryChange::Set(name_of(&path), Entry::Folder);
            state.tree.change(&path, set)?;
            state.tree.folders.insert(path, Folder::default());
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(from.parent(), to.parent(), "only within a folder");
        let mut state = self.begin(Op::Rename, to)?;
        let entry = Entry::File(state.tree.file(from)?);
        let rename = EntryChange::Rename(name_of(from), name_of(to), entry);
        state.tree.change(to, rename)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin(Op::Remove, path)?;
        state.tree.file(path)?;
        state.tree.change(path, EntryChange::Remove(name_of(path)))
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.begin(Op::Remove, folder)?;
        state
            .tree
            .folders
            .retain(|path, _| !path.starts_with(folder));
        let removed = EntryChange::Remove(name_of(folder));
        state.tree.change(folder, removed)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let (mut state, failed) = self.try_begin(Op::Sync, folder);
        let found = state.tree.folder(folder)?;
        found.pending.clear();
        match failed {
            None => found.durable = found.now.clone(),
            Some(kind) => return Err(kind.error()),
        }
        Ok(())
    }
}
