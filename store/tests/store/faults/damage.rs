//! Damaged, swapped, missing and foreign files: an error that names the file, or the right rows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use netabase_store::{Change, Error, ErrorKind, Store, TableId};

use super::FaultDisk;
use super::run::{main_table, open_on, side_table, small};
use crate::common::{Random, batches, digests, repeats, rows, stamp, upsert};

/// Flipped bits, per file: more with `NETABASE_FLIPS=<number>`.
const FLIPS: u64 = 60;

type Rows = BTreeMap<i64, String>;

/// A disk with every kind of file: a checkpoint with segments and rows, and a log after it.
fn filled(root: &Path) -> (FaultDisk, Rows) {
    let disk = FaultDisk::new(root);
    let store = open_on(&small(root, false), &disk).unwrap();
    for def in [main_table(), side_table()] {
        store.put_table(def.clone()).unwrap();
        upsert(&store, &def, &(0..200).collect::<Vec<_>>(), 10);
        store.flush_to_segments().unwrap();
        upsert(&store, &def, &(150..260).collect::<Vec<_>>(), 20);
        let deleted = batches(&def, Change::Delete, &[3, 4, 251], &stamp(30, "b"));
        store.write(deleted).unwrap();
    }
    store.flush_to_segments().unwrap();
    upsert(&store, &main_table(), &[300, 301], 40);
    store.checkpoint().unwrap();
    upsert(&store, &main_table(), &[302], 50);
    upsert(&store, &side_table(), &[303], 50);
    let rows = read(&store, main_table().id).unwrap();
    store.close().unwrap();
    (disk, rows)
}

/// All rows of a table, read in every way there is.
fn read(store: &Store, table: TableId) -> Result<Rows, Error> {
    use netabase_store::arrow::array::AsArray;
    use netabase_store::arrow::datatypes::Int64Type;
    let mut all = Rows::new();
    for shard in &store.snapshot(table)?.shards {
        for segment in &shard.segments {
            segment.summaries()?;
            segment.zone_mins(0)?;
            for group in 0..segment.groups() {
                segment.versions(group)?;
                segment.authors(group)?;
                segment.column(group, 2)?;
            }
        }
        for batch in store.export_shard(table, shard.shard)? {
            if batch.change == Change::Upsert {
                let ids = batch.rows.column(0).as_primitive::<Int64Type>();
                let texts = batch.rows.column(1).as_string_view();
                all.extend((0..ids.len()).map(|r| (ids.value(r), texts.value(r).to_owned())));
            }
        }
    }
    Ok(all)
}

fn of_kind(disk: &FaultDisk, suffix: &str) -> Vec<PathBuf> {
    let all = disk.files().into_iter();
    all.filter(|path| path.to_str().unwrap().ends_with(suffix))
        .collect()
}

/// Whether the error names this file, and is one of damage.
#[track_caller]
fn assert_names(error: &Error, path: &Path, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{what}: {text}");
}

/// Damages a file, and makes sure that what is read is right, or an error about it.
fn with_damage(root: &Path, path: &Path, damage: impl FnOnce(&mut Vec<u8>), what: &str) {
    let (disk, rows) = filled(root);
    disk.damage(path, damage);
    let store = match open_on(&small(root, false), &disk) {
        Ok(store) => store,
        Err(error) => return assert_names(&error, path, what),
    };
    let side = side_table().id.to_string();
    for table in [main_table().id, side_table().id] {
        match read(&store, table) {
            Ok(found) if table == main_table().id => check_rows(&found, &rows, path, what),
            Ok(_) => {}
            Err(error) => {
                assert_names(&error, path, what);
                let of_side = path.to_str().unwrap().contains(&side);
                assert_eq!(of_side, table == side_table().id, "{what}: another table");
            }
        }
    }
}

fn check_rows(found: &Rows, rows: &Rows, path: &Path, what: &str) {
    let mut expected = rows.clone();
    if path.extension().is_some_and(|extension| extension == "log") {
        // The end of the log may be cut off: nothing in this index says that it was closed.
        for id in [302, 301, 300] {
            if found.contains_key(&id) {
                break;
            }
            expected.remove(&id);
        }
    }
    assert_eq!(found, &expected, "{what}");
}

#[test]
fn a_flipped_bit_is_an_error_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let mut random = Random::new(repeats("NETABASE_FLIP_SEED", 11));
    let (disk, _) = filled(root);
    let mut flips = 0;
    for suffix in [".log", ".checkpoint", ".parquet", ".idx"] {
        let files = of_kind(&disk, suffix);
        assert!(!files.is_empty(), "{suffix}");
        for _ in 0..repeats("NETABASE_FLIPS", FLIPS) {
            let path = &files[random.below(files.len() as u64) as usize];
            let bits = disk.read(path).unwrap().len() as u64 * 8;
            let bit = random.below(bits) as usize;
            let what = format!("bit {bit} of {}", path.display());
            with_damage(root, path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8), &what);
            flips += 1;
        }
    }
    println!("{flips} flipped bits");
}

#[test]
fn shorter_empty_and_swapped_files_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (disk, _) = filled(root);
    for suffix in [".checkpoint", ".parquet", ".idx"] {
        for path in of_kind(&disk, suffix) {
            let what = |how: &str| format!("{how} {}", path.display());
            with_damage(root, &path, |bytes| bytes.clear(), &what("empty"));
            with_damage(
                root,
                &path,
                |bytes| bytes.truncate(bytes.len() - 1),
                &what("shorter"),
            );
            with_damage(root, &path, |bytes| bytes.push(0), &what("longer"));
            with_damage(root, &path, |bytes| bytes.truncate(30), &what("short"));
            with_damage(root, &path, |bytes| bytes.fill(0), &what("zeros"));
        }
    }
    for suffix in [".parquet", ".idx"] {
        let files = of_kind(&disk, suffix);
        for pair in files.windows(2) {
            let other = disk.read(&pair[1]).unwrap();
            let what = format!("{} instead of {}", pair[1].display(), pair[0].display());
            with_damage(root, &pair[0], |bytes| *bytes = other, &what);
        }
    }
}

/// Both files of two segments exchanged, so that each pair fits together.
#[test]
fn exchanged_segments_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (disk, _) = filled(root);
    let main = main_table().id.to_string();
    let of_main = |suffix| -> Vec<PathBuf> {
        let files = of_kind(&disk, suffix).into_iter();
        files
            .filter(|path| path.to_str().unwrap().contains(&main))
            .collect()
    };
    for suffix in [".parquet", ".idx"] {
        let files = of_main(suffix);
        let (first, second) = (&files[0], &files[1]);
        let bytes = [first, second].map(|path| disk.read(path).unwrap());
        disk.damage(first, |to| to.clone_from(&bytes[1]));
        disk.damage(second, |to| to.clone_from(&bytes[0]));
    }
    let store = open_on(&small(root, false), &disk).unwrap();
    let error = read(&store, main_table().id).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(read(&store, side_table().id).unwrap().len() > 200);
}

#[test]
fn missing_files_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let kinds = [".log", ".checkpoint", ".parquet", ".idx"];
    for suffix in kinds {
        let (disk, _) = filled(root);
        let path = of_kind(&disk, suffix)[0].clone();
        netabase_store::Disk::remove(&disk, &path).unwrap();
        let error = match open_on(&small(root, false), &disk) {
            Err(error) => error,
            Ok(store) => [main_table().id, side_table().id]
                .into_iter()
                .find_map(|table| read(&store, table).err())
                .unwrap_or_else(|| panic!("nobody missed {}", path.display())),
        };
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        // Without its checkpoint a store asks for the log files before it.
        assert!(suffix == ".checkpoint" || error.to_string().contains(path.to_str().unwrap()));
    }
}

/// A half-restored folder: opening it must not finish the job.
#[test]
fn segments_without_log_and_checkpoint_are_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (disk, _) = filled(root);
    for path in [of_kind(&disk, ".log"), of_kind(&disk, ".checkpoint")].concat() {
        netabase_store::Disk::remove(&disk, &path).unwrap();
    }
    let before = disk.files();
    let error = open_on(&small(root, false), &disk).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("Restore"), "{error}");
    assert_eq!(disk.files(), before);
}

#[test]
fn foreign_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (disk, rows) = filled(root);
    let segment = of_kind(&disk, ".parquet")[0].clone();
    let foreign: Vec<PathBuf> = [
        "1.log",
        "+00001.log",
        "notes.log",
        "000001.log.bak",
        "99999999999999999999.log",
    ]
    .iter()
    .map(|name| root.join("log").join(name))
    .chain(["1.checkpoint", "readme"].map(|name| root.join("checkpoints").join(name)))
    .chain(
        ["7.parquet", "18446744073709551615.idx", "x.parquet"]
            .map(|name| segment.parent().unwrap().join(name)),
    )
    .chain([root.join("segments/notes.parquet")])
    .collect();
    for path in &foreign {
        let mut file = netabase_store::Disk::create(&disk, path).unwrap();
        file.append(b"not ours").unwrap();
    }
    for _ in 0..2 {
        let store = open_on(&small(root, false), &disk).unwrap();
        assert_eq!(read(&store, main_table().id).unwrap(), rows);
        store.flush_to_segments().unwrap();
        store.compact(main_table().id).unwrap();
        store.close().unwrap();
    }
    for path in &foreign {
        assert_eq!(disk.read(path).unwrap(), b"not ours", "{}", path.display());
    }
}

/// A damaged segment stops neither other tables nor what does not need it.
#[test]
fn a_damaged_segment_is_one_tables_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (disk, _) = filled(root);
    let main = main_table().id.to_string();
    for path in of_kind(&disk, ".parquet") {
        if path.to_str().unwrap().contains(&main) {
            disk.damage(&path, |bytes| bytes.fill(9));
        }
    }
    let store = open_on(&small(root, false), &disk);
    // The log has rows to look up in the damaged segments or it has not; both are told apart.
    let store = match store {
        Ok(store) => store,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains(&main), "{error}");
            return;
        }
    };
    assert!(read(&store, main_table().id).is_err());
    let before = digests(&store, side_table().id);
    upsert(&store, &side_table(), &[900], 60);
    assert_ne!(digests(&store, side_table().id), before);
    let mut load = store.bulk_load(side_table().id, stamp(70, "a")).unwrap();
    load.push(&rows(&side_table(), &[1000, 1001], 70)).unwrap();
    load.finish().unwrap();
    store.flush_to_segments().unwrap();
    store.compact(side_table().id).unwrap();
    assert!(read(&store, side_table().id).unwrap().contains_key(&1001));
    assert!(store.compact(main_table().id).is_err());
    upsert(&store, &side_table(), &[901], 80);
}
