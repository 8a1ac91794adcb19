//! Files and folders as they are, as they were last synced, and what happened between.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A change of a file that is not synced yet.
#[derive(Debug, Clone)]
pub(super) enum FileChange {
    Append { at: usize, bytes: Vec<u8> },
    Cut(usize),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) now: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) pending: Vec<FileChange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    File(usize),
    Folder,
}

/// A change of a folder that is not synced yet.
#[derive(Debug, Clone)]
pub(super) enum EntryChange {
    Set(String, Entry),
    Remove(String),
    /// Atomic, as file systems promise.
    Rename(String, String, Entry),
}

pub(super) type Entries = BTreeMap<String, Entry>;

#[derive(Debug, Clone, Default)]
pub(super) struct Folder {
    pub(super) now: Entries,
    pub(super) durable: Entries,
    pub(super) pending: Vec<EntryChange>,
}

impl Folder {
    pub(super) fn change(&mut self, change: EntryChange) {
        apply_entry(&mut self.now, &change);
        self.pending.push(change);
    }
}

pub(super) fn apply_entry(entries: &mut Entries, change: &EntryChange) {
    match change {
        EntryChange::Set(name, entry) => {
            entries.insert(name.clone(), *entry);
        }
        EntryChange::Remove(name) => {
            entries.remove(name);
        }
        EntryChange::Rename(from, to, entry) => {
            entries.remove(from);
            entries.insert(to.clone(), *entry);
        }
    }
}

pub(super) fn apply_file(bytes: &mut Vec<u8>, change: &FileChange) {
    match change {
        FileChange::Append { at, bytes: new } => {
            bytes.resize(bytes.len().max(at + new.len()), 0);
            bytes[*at..at + new.len()].copy_from_slice(new);
        }
        FileChange::Cut(len) => bytes.resize(*len, 0),
    }
}

/// Everything on the disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub(super) files: Vec<Content>,
    pub(super) folders: BTreeMap<PathBuf, Folder>,
}

impl Tree {
    pub(super) fn folder(&mut self, path: &Path) -> io::Result<&mut Folder> {
        let folder = self.folders.get_mut(path);
        folder.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<usize> {
        let folder = self.folders.get(path.parent().unwrap());
        match folder.and_then(|folder| folder.now.get(&name_of(path))) {
            Some(Entry::File(file)) => Ok(*file),
            Some(Entry::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn change(&mut self, path: &Path, change: EntryChange) -> io::Result<()> {
        self.folder(path.parent().unwrap())?.change(change);
        Ok(())
    }
}

pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
