//! A check finds damage wherever it is, and damage stays where it is.

use std::fs;
use std::path::{Path, PathBuf};

use netabase_store::arrow::array::Array;
use netabase_store::{BackupTarget, CheckReport, Error, ErrorKind, Settings, Store, TableDef};

use crate::common::{ids, last_log_file, open, settings, table, upsert};

fn check(dir: &Path) -> CheckReport {
    let mut last = (0, 0);
    let report = Store::check(settings(dir), |done, all| last = (done, all)).unwrap();
    assert!(last.0 > 0 && last.0 <= last.1);
    report
}

/// Two tables with segments of every shard, a checkpoint, and a log behind it.
fn fill(dir: &Path) -> (TableDef, TableDef) {
    let store = open(dir);
    let (one, two) = (table("one", 3), table("two", 1));
    for def in [&one, &two] {
        store.put_table(def.clone()).unwrap();
        upsert(&store, def, &(0..500).collect::<Vec<_>>(), 5);
    }
    store.flush_to_segments().unwrap();
    upsert(&store, &one, &(0..10).collect::<Vec<_>>(), 6);
    store.flush_to_segments().unwrap();
    upsert(&store, &two, &[1000], 7);
    upsert(&store, &two, &[1000], 8);
    store.close().unwrap();
    (one, two)
}

fn segment_files(dir: &Path, def: &TableDef, shard: u32) -> Vec<PathBuf> {
    let folder = dir.join("segments").join(def.id.to_string());
    let mut files: Vec<_> = fs::read_dir(folder.join(shard.to_string()))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    // In a log this is its first frame, which the next one proves to have been on disk.
    bytes[60] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Every value of a shard.
fn read_shard(store: &Store, def: &TableDef, shard: usize) -> Result<usize, Error> {
    let snapshot = store.snapshot(def.id).unwrap();
    let mut rows = 0;
    for segment in &snapshot.shards[shard].segments {
        for group in 0..segment.groups() {
            for column in 0..3 {
                rows += segment.column(group, column)?.len();
            }
        }
    }
    Ok(rows)
}

#[test]
fn a_good_folder_has_no_problems() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let report = check(dir.path());
    assert_eq!(report.problems, []);
    assert_eq!((report.tables, report.rows, report.orphans), (2, 1001, 0));
    assert!(report.files > 8 && report.bytes > 1000);
    let stray = dir.path().join("segments/00/0");
    fs::create_dir_all(&stray).unwrap();
    fs::write(stray.join("000000000099.parquet"), "x").unwrap();
    assert_eq!(check(dir.path()).orphans, 1);
    open(dir.path()).close().unwrap();
    assert_eq!(check(dir.path()).orphans, 0);
}

#[test]
fn every_damaged_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = fill(dir.path());
    let damaged = [
        segment_files(dir.path(), &one, 0).remove(1),
        segment_files(dir.path(), &one, 1).remove(0),
        segment_files(dir.path(), &two, 0).remove(1),
    ];
    damaged.iter().for_each(|path| flip(path));
    let log = last_log_file(dir.path());
    flip(&log);
    let report = check(dir.path());
    assert!(report.problems.len() >= 4, "{:#?}", report.problems);
    for path in damaged.iter().chain([&log]) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let told = report.problems.iter().any(|problem| {
            let text = &problem.text;
            problem.file == *path
                && text.contains(name)
                && (text.contains("Restore") || text.contains("copy"))
        });
        assert!(told, "{name}: {:#?}", report.problems);
    }
    // The third shard is good, and was counted.
    assert!(report.rows > 100);
}

#[test]
fn a_damaged_checkpoint_and_a_missing_segment_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (one, _) = fill(dir.path());
    let files = segment_files(dir.path(), &one, 2);
    fs::remove_file(&files[0]).unwrap();
    let report = check(dir.path());
    assert_eq!(report.problems.len(), 1, "{:#?}", report.problems);
    assert!(report.problems[0].text.contains("missing"));
    let checkpoints = dir.path().join("checkpoints");
    let path = fs::read_dir(checkpoints)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    flip(&path);
    let report = check(dir.path());
    assert_eq!(report.problems[0].file, path);
}

#[test]
fn a_damaged_segment_hurts_its_shard_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = fill(dir.path());
    let path = segment_files(dir.path(), &one, 1).remove(1);
    assert!(path.extension().is_some_and(|end| end == "parquet"));
    flip(&path);
    let store = open(dir.path());
    let error = read_shard(&store, &one, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(error.to_string().contains(name), "{error}");
    for shard in [0, 2] {
        assert!(read_shard(&store, &one, shard).unwrap() > 0);
    }
    assert_eq!(ids(&store, two.id).len(), 501);
    upsert(&store, &two, &[2000], 8);
    store.checkpoint().unwrap();
}

#[test]
fn damage_that_keeps_the_log_from_being_applied_is_named_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (one, _) = fill(dir.path());
    let store = open(dir.path());
    upsert(&store, &one, &(0..500).collect::<Vec<_>>(), 20);
    store.close().unwrap();
    let path = segment_files(dir.path(), &one, 1).remove(1);
    flip(&path);
    let store = open(dir.path());
    assert_eq!(store.report().set_aside, ["one"]);
    let error = store.snapshot(one.id).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert!(!text.contains(".log"), "{text}");
    // What would not have all of its rows is not made.
    let target = BackupTarget::Folder(dir.path().join("backup"));
    let refused = store.backup(target, None, |_, _| {}).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    store.close().unwrap();
    let report = check(dir.path());
    assert_eq!(report.problems.len(), 1, "{:#?}", report.problems);
    assert_eq!(report.problems[0].file, path);
}

#[test]
fn what_is_no_folder_or_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let kind = |settings: Settings| Store::check(settings, |_, _| {}).unwrap_err().kind();
    assert_eq!(kind(Settings::default()), ErrorKind::InvalidInput);
    let nothing = dir.path().join("nothing");
    assert_eq!(kind(settings(&nothing)), ErrorKind::NotFound);
    assert!(!nothing.exists());
    let store = open(dir.path());
    assert_eq!(kind(settings(dir.path())), ErrorKind::Unavailable);
    store.close().unwrap();
    check(dir.path());
}
