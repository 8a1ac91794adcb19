//! A backup holds one moment, is complete or refused, and is verified when it is restored.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use netabase_store::{
    BackupReport, BackupTarget, Change, Components, Disk, DiskFile, Error, ErrorKind, OsDisk,
    RestoreReport, Settings, Store, TableDef, Version,
};

use crate::common::{
    batches, digests, files_below, ids, live, open, settings, stamp, table, upsert,
};

fn to_folder(store: &Store, to: &Path) -> BackupReport {
    store
        .backup(BackupTarget::Folder(to.to_path_buf()), None, |_, _| {})
        .unwrap()
}

fn restore(from: &Path, to: &Path) -> Result<RestoreReport, Error> {
    Store::restore(from, to, None, |_, _| {})
}

/// Tables with segments, hidden rows, tombstones, rows in memory, and one that was dropped.
fn fill(store: &Store) -> (TableDef, TableDef) {
    let (one, two) = (table("one", 3), table("two", 1));
    let gone = table("gone", 1);
    for def in [&one, &two, &gone] {
        store.put_table(def.clone()).unwrap();
    }
    upsert(store, &gone, &[1], 5);
    let dropped = TableDef {
        dropped: Some(Version(9)),
        ..gone
    };
    store.put_table(dropped).unwrap();
    upsert(store, &one, &(0..3000).collect::<Vec<_>>(), 5);
    upsert(store, &two, &(0..50).collect::<Vec<_>>(), 5);
    store.flush_to_segments().unwrap();
    store
        .write(batches(&one, Change::Delete, &[1, 2, 3], &stamp(6, "a")))
        .unwrap();
    upsert(store, &one, &[4, 5], 7);
    store.flush_to_segments().unwrap();
    upsert(store, &one, &[6, 9000], 8);
    (one, two)
}

fn same(store: &Store, other: &Store, def: &TableDef) {
    assert_eq!(live(store, def.id), live(other, def.id));
    assert_eq!(digests(store, def.id), digests(other, def.id));
}

#[test]
fn a_folder_takes_backups_that_share_files_and_gives_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("backups");
    let store = open(&dir.path().join("data"));
    let (one, two) = fill(&store);
    let mut seen = Vec::new();
    let target = BackupTarget::Folder(to.clone());
    let first = store
        .backup(target, None, |done, all| seen.push((done, all)))
        .unwrap();
    assert!(
        seen.last()
            .is_some_and(|(done, all)| done == all && *all > 0)
    );
    assert_eq!((first.number, first.tables, first.rows), (1, 2, 3048));
    assert_eq!(first.copied_files, first.files);
    let before = live(&store, one.id);

    upsert(&store, &two, &[100], 9);
    let second = to_folder(&store, &to);
    assert_eq!((second.number, second.rows), (2, 3049));
    assert_eq!(second.copied_files, 1, "only the checkpoint is new");
    assert!(second.copied_bytes < first.bytes);

    let info = Store::inspect_backup(&to).unwrap();
    assert_eq!((info.number, info.tables.len()), (2, 2));
    let report = restore(&to, &dir.path().join("last")).unwrap();
    assert_eq!((report.number, report.tables, report.rows), (2, 2, 3049));
    let restored = open(&dir.path().join("last"));
    same(&store, &restored, &one);
    same(&store, &restored, &two);
    assert_eq!(restored.all_tables().len(), 3);
    upsert(&restored, &one, &[9001], 10);
    restored.close().unwrap();
    assert!(ids(&open(&dir.path().join("last")), one.id).contains(&9001));

    // An earlier one by its manifest.
    let manifest = to.join("manifests/000001.json");
    restore(&manifest, &dir.path().join("first")).unwrap();
    let restored = open(&dir.path().join("first"));
    assert_eq!(live(&restored, one.id), before);
    assert_eq!(ids(&restored, two.id).len(), 50);
}

#[test]
fn pruning_keeps_what_the_newest_need() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("backups");
    let store = open(&dir.path().join("data"));
    let (one, two) = fill(&store);
    to_folder(&store, &to);
    upsert(&store, &one, &(0..3000).collect::<Vec<_>>(), 20);
    store.compact(one.id).unwrap();
    to_folder(&store, &to);
    let before = files_below(&to).len();
    let pruned = Store::prune_backups(&to, 1).unwrap();
    assert_eq!(pruned.backups, 1);
    assert!(pruned.files > 2 && pruned.bytes > 0);
    assert_eq!(
        files_below(&to).len() as u64,
        before as u64 - 1 - pruned.files
    );
    restore(&to, &dir.path().join("new")).unwrap();
    let restored = open(&dir.path().join("new"));
    same(&store, &restored, &one);
    same(&store, &restored, &two);
    let refused = Store::prune_backups(dir.path(), 1).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}

#[test]
fn an_archive_is_one_file_and_gives_back_single_tables() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.tar");
    let store = open(&dir.path().join("data"));
    let (one, two) = fill(&store);
    for _ in 0..2 {
        store
            .backup(BackupTarget::File(path.clone()), None, |_, _| {})
            .unwrap();
    }
    let around: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(around.len(), 2, "nothing is left beside: {around:?}");
    restore(&path, &dir.path().join("new")).unwrap();
    let restored = open(&dir.path().join("new"));
    same(&store, &restored, &one);
    same(&store, &restored, &two);

    let part = dir.path().join("part");
    let report = Store::restore(&path, &part, Some(&[two.id]), |_, _| {}).unwrap();
    assert_eq!((report.tables, report.rows), (1, 50));
    let restored = open(&part);
    same(&store, &restored, &two);
    assert!(restored.table_by_id(one.id).is_none());

    let to = dir.path().join("one");
    let target = BackupTarget::Folder(to.clone());
    let report = store.backup(target, Some(&[one.id]), |_, _| {}).unwrap();
    assert_eq!((report.tables, report.rows), (1, 2998));
    restore(&to, &dir.path().join("only")).unwrap();
    same(&store, &open(&dir.path().join("only")), &one);
    let nowhere = dir.path().join("x");
    let unknown = Store::restore(&to, &nowhere, Some(&[two.id]), |_, _| {});
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!nowhere.exists());
}

#[test]
fn writers_and_compaction_go_on_beside_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("backups");
    let store = open(&dir.path().join("data"));
    let (one, _) = fill(&store);
    let stop = AtomicBool::new(false);
    let written = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..u64::MAX {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                // Both rows change in one write: a backup has both or none.
                upsert(&store, &one, &[20_000, 20_001], 100 + round);
                written.store(round, Ordering::Release);
            }
        });
        for number in 1..=3 {
            let mut compacted = false;
            let target = BackupTarget::Folder(to.clone());
            let progress = |_, _| {
                // What the backup copies is replaced meanwhile.
                if !std::mem::replace(&mut compacted, true) {
                    store.compact(one.id).unwrap();
                    store.checkpoint().unwrap();
                }
            };
            assert_eq!(store.backup(target, None, progress).unwrap().number, number);
        }
        stop.store(true, Ordering::Release);
    });
    assert!(written.load(Ordering::Acquire) > 0);
    restore(&to, &dir.path().join("new")).unwrap();
    let rows = live(&open(&dir.path().join("new")), one.id);
    let version = |id: i64| rows[&id].rsplit(' ').next().unwrap().to_owned();
    assert_eq!(version(20_000), version(20_001));
    assert_eq!(rows.len(), 3000);
}

#[test]
fn damage_is_named_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("backups");
    let store = open(&dir.path().join("data"));
    fill(&store);
    to_folder(&store, &to);
    let new = dir.path().join("new");
    let refused = |name: &Path| {
        let error = restore(&to, &new).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let name = name.file_name().unwrap().to_str().unwrap();
        assert!(error.to_string().contains(name), "{name}: {error}");
        assert!(!new.exists() && !dir.path().join("new.restoring").exists());
    };
    for path in files_below(&to) {
        if path.ends_with("BACKUP") {
            continue;
        }
        let good = fs::read(&path).unwrap();
        let mut damaged = good.clone();
        damaged[good.len() / 2] ^= 4;
        fs::write(&path, &damaged).unwrap();
        refused(&path);
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        refused(&path);
        if path.extension().is_none_or(|end| end != "json") {
            fs::remove_file(&path).unwrap();
            refused(&path);
        }
        fs::write(&path, good).unwrap();
    }
    restore(&to, &new).unwrap();
}

#[test]
fn a_damaged_or_cut_archive_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.tar");
    let store = open(&dir.path().join("data"));
    fill(&store);
    let target = BackupTarget::File(path.clone());
    store.backup(target, None, |_, _| {}).unwrap();
    let good = fs::read(&path).unwrap();
    let new = dir.path().join("new");
    let refused = |bytes: &[u8], kinds: &[ErrorKind]| {
        fs::write(&path, bytes).unwrap();
        let error = restore(&path, &new).unwrap_err();
        assert!(kinds.contains(&error.kind()), "{error}");
        assert!(error.to_string().contains("all.tar"), "{error}");
        assert!(!new.exists());
    };
    for tenth in 1..10 {
        refused(&good[..good.len() * tenth / 10], &[ErrorKind::Corrupt]);
    }
    // Behind this is nothing but the end of an archive.
    refused(&good[..good.len() - 1025], &[ErrorKind::Corrupt]);
    refused(b"something else", &[ErrorKind::InvalidInput]);
    for at in [600, 1100, 3000, good.len() / 2, good.len() - 2000] {
        let mut damaged = good.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        // A flipped bit may lie in what fills up a block.
        match restore(&path, &new) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
            Ok(_) => fs::remove_dir_all(&new).unwrap(),
        }
    }
}

#[test]
fn wrong_targets_and_sources_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let store = open(&data);
    fill(&store);
    let kind = |target: BackupTarget| {
        let made = store.backup(target, None, |_, _| {});
        made.unwrap_err().kind()
    };
    assert_eq!(
        kind(BackupTarget::Folder(data.clone())),
        ErrorKind::InvalidInput
    );
    let other = dir.path().join("letter.txt");
    fs::write(&other, "dear reader").unwrap();
    assert_eq!(
        kind(BackupTarget::File(other.clone())),
        ErrorKind::InvalidInput
    );
    assert_eq!(kind(BackupTarget::Folder(other.clone())), ErrorKind::Io);
    assert_eq!(fs::read(&other).unwrap(), b"dear reader");
    let unknown = store.backup(
        BackupTarget::Folder(dir.path().join("b")),
        Some(&[table("unknown", 1).id]),
        |_, _| {},
    );
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
    let memory = Store::open(Settings::default()).unwrap();
    let memory = memory.backup(BackupTarget::Folder(dir.path().join("b")), None, |_, _| {});
    assert_eq!(memory.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(!dir.path().join("b").exists());

    let kind = |from: &Path, to: &Path| restore(from, to).unwrap_err().kind();
    let new = dir.path().join("new");
    assert_eq!(kind(&dir.path().join("nothing"), &new), ErrorKind::NotFound);
    assert_eq!(kind(&other, &new), ErrorKind::InvalidInput);
    assert_eq!(kind(&data, &new), ErrorKind::InvalidInput);
    let to = dir.path().join("backups");
    to_folder(&store, &to);
    assert_eq!(kind(&to, &data), ErrorKind::InvalidInput);
    fs::write(to.join("BACKUP"), "netabase-backup 2\n").unwrap();
    assert_eq!(kind(&to, &new), ErrorKind::InvalidInput);
    assert!(!new.exists());
}

/// A disk with little space left for backups.
#[derive(Debug)]
struct SmallDisk {
    left: Arc<AtomicU64>,
}

#[derive(Debug)]
struct SmallFile(Box<dyn DiskFile>, Arc<AtomicU64>);

impl DiskFile for SmallFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let take = |left: u64| left.checked_sub(bytes.len() as u64);
        self.1
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, take)
            .map_err(|_| io::Error::from(io::ErrorKind::StorageFull))?;
        self.0.append(bytes)
    }
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
    fn cut(&mut self, size: u64) -> io::Result<()> {
        self.0.cut(size)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

impl Disk for SmallDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OsDisk.create(path)?;
        match path.components().any(|part| part.as_os_str() == "backups") {
            true => Ok(Box::new(SmallFile(file, Arc::clone(&self.left)))),
            false => Ok(file),
        }
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        OsDisk.open(path)
    }
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        OsDisk.open_append(path)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(folder)
    }
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        OsDisk.create_folder(folder)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }
    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        OsDisk.remove_folder(folder)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        OsDisk.sync_folder(folder)
    }
}

#[test]
fn a_full_disk_leaves_the_earlier_backup_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let backups = dir.path().join("backups");
    let left = Arc::new(AtomicU64::new(u64::MAX));
    let components = Components {
        disk: Some(Arc::new(SmallDisk {
            left: Arc::clone(&left),
        })),
        ..Components::default()
    };
    let data = settings(&dir.path().join("data"));
    let store = Store::open_with(data, components, |_, _| {}).unwrap();
    let (one, _) = fill(&store);
    let archive = backups.join("all.tar");
    fs::create_dir(&backups).unwrap();
    let targets = [
        (
            BackupTarget::Folder(backups.join("folder")),
            backups.join("folder"),
        ),
        (BackupTarget::File(archive.clone()), archive),
    ];
    for (target, from) in targets {
        left.store(u64::MAX, Ordering::Release);
        store.backup(target.clone(), None, |_, _| {}).unwrap();
        let before = live(&store, one.id);
        upsert(&store, &one, &(0..4000).collect::<Vec<_>>(), 50);
        store.compact(one.id).unwrap();
        let mut failures = BTreeMap::new();
        for space in (0..200_000).step_by(7000) {
            left.store(space, Ordering::Release);
            if let Err(error) = store.backup(target.clone(), None, |_, _| {}) {
                assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                failures.insert(space, error.to_string());
                assert_eq!(Store::inspect_backup(&from).unwrap().number, 1);
            } else {
                break;
            }
        }
        assert!(failures.len() > 2, "{failures:?}");
        let earlier = match from.is_dir() {
            true => from.join("manifests/000001.json"),
            false => continue,
        };
        let new = dir.path().join("new");
        restore(&earlier, &new).unwrap();
        assert_eq!(live(&open(&new), one.id), before);
    }
}
