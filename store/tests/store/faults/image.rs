//! What a disk may hold after the power was lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::FaultDisk;
use super::tree::{Content, Entries, Entry, FileChange, Folder, Tree, apply_entry, apply_file};
use crate::common::Random;

impl FaultDisk {
    /// A disk with one of the states that the loss of power may leave: everything synced, and of the
    /// rest whatever the seed says. Writes may be missing, torn, or out of order, with zeros or old
    /// bytes in the holes; entries of folders come or go each by itself.
    pub(crate) fn after_power_loss(&self, random: &mut Random) -> Self {
        let before = self.tree();
        let mut after = Tree {
            files: before.files.iter().map(|f| survived(f, random)).collect(),
            folders: BTreeMap::new(),
        };
        let roots: Vec<&PathBuf> = before
            .folders
            .keys()
            .filter(|path| !before.folders.contains_key(path.parent().unwrap()))
            .collect();
        for root in roots {
            keep_folder(&before, root, &mut after, random);
        }
        Self::holding(after)
    }
}

fn survived(file: &Content, random: &mut Random) -> Content {
    let mut bytes = file.durable.clone();
    // Often all or nothing of what was not synced is there; the rest is a mixture.
    let mood = random.below(4);
    for change in &file.pending {
        match (mood, change) {
            (0, _) => {}
            (1, change) => apply_file(&mut bytes, change),
            (_, change) => apply_in_part(&mut bytes, change, random),
        }
    }
    Content {
        now: bytes.clone(),
        durable: bytes,
        pending: Vec::new(),
    }
}

fn apply_in_part(bytes: &mut Vec<u8>, change: &FileChange, random: &mut Random) {
    let FileChange::Append { at, bytes: new } = change else {
        if random.below(2) == 0 {
            apply_file(bytes, change);
        }
        return;
    };
    let part = |bytes: Vec<u8>| FileChange::Append { at: *at, bytes };
    match random.below(5) {
        0 => {}
        1 => apply_file(bytes, change),
        // Torn: a beginning of it, the file ends there.
        2 => {
            let len = random.below(new.len() as u64 + 1) as usize;
            apply_file(bytes, &part(new[..len].to_vec()));
        }
        // The file has its length, but the bytes are zeros.
        3 => apply_file(bytes, &part(vec![0; new.len()])),
        // One of its sectors did not arrive.
        _ => {
            let mut holed = new.clone();
            let start = random.below(new.len() as u64 + 1) as usize;
            let end = (start + 1 + random.below(512) as usize).min(new.len());
            let filler = if random.below(2) == 0 { 0 } else { 0x5a };
            holed[start.min(end)..end].fill(filler);
            apply_file(bytes, &part(holed));
        }
    }
}

fn keep_folder(before: &Tree, path: &Path, after: &mut Tree, random: &mut Random) {
    let folder = &before.folders[path];
    let entries = surviving_entries(folder, random);
    for (name, entry) in &entries {
        let below = path.join(name);
        if *entry == Entry::Folder && before.folders.contains_key(&below) {
            keep_folder(before, &below, after, random);
        }
    }
    let kept = Folder {
        now: entries.clone(),
        durable: entries,
        pending: Vec::new(),
    };
    after.folders.insert(path.to_owned(), kept);
}

fn surviving_entries(folder: &Folder, random: &mut Random) -> Entries {
    let mut entries = folder.durable.clone();
    let mood = random.below(4);
    for change in &folder.pending {
        let kept = match mood {
            0 => false,
            1 => true,
            _ => random.below(2) == 0,
        };
        if kept {
            apply_entry(&mut entries, change);
        }
    }
    entries
}
