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
    let store = open_on(&small(root, false), &disk).unwrap();
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

/// `filled`, with more in the log that has to be compared with segments.
fn filled_log(root: &Path) -> FaultDisk {
    let (disk, _) = filled(root);
    let (main, side) = (main_table(), side_table());
    let store = open_on(&small(root, false), &disk).unwrap();
    upsert(&store, &main, &(5..25).collect::<Vec<_>>(), 60);
    let mut both = batches(&main, Change::Upsert, &[30, 31, 32, 33], &stamp(61, "b"));
    both.extend(batches(&side, Change::Upsert, &[30], &stamp(61, "b")));
    store.write(both).unwrap();
    let gone = batches(&main, Change::Delete, &[50, 51, 52], &stamp(62, "a"));
    store.write(gone).unwrap();
    for (def, ids) in [(&main, 60..80), (&side, 60..70), (&main, 1000..1010)] {
        let mut load = store.bulk_load(def.id, stamp(63, "a")).unwrap();
        load.push(&rows(def, &ids.collect::<Vec<_>>(), 63)).unwrap();
        load.finish().unwrap();
    }
    upsert(&store, &main, &[61, 62, 1001, 2000], 64);
    store.close().unwrap();
    disk
}

/// Whoever reads or writes the table is told the file, and nobody changes anything.
fn assert_set_aside(store: &Store, path: &Path) {
    let main = main_table();
    let written = batches(&main, Change::Upsert, &[7], &stamp(90, "a"));
    let key = crate::common::keys(&main, &[7]);
    let refused = [
        store.snapshot(main.id).map(drop),
        store.get(main.id, &key).map(drop),
        store.shard_stats(main.id).map(drop),
        store.digest_leaves(main.id, 0).map(drop),
        store.export_shard(main.id, 0).map(drop),
        store.write(written).map(drop),
        store.bulk_load(main.id, stamp(90, "a")).map(drop),
        store.compact(main.id),
        store.build_indexes(main.id, &mut |_, _| {}),
    ];
    for (number, refused) in refused.into_iter().enumerate() {
        let error = refused.unwrap_err();
        assert_names(&error, path, &format!("call {number}"));
        assert!(error.to_string().contains("netabase check"), "{error}");
    }
    let set_aside = store.health().set_aside;
    assert_eq!(set_aside.len(), 1);
    assert_eq!(set_aside[0].0, "main");
    assert!(set_aside[0].1.contains(path.to_str().unwrap()));
}

/// Rows of the log belong to a damaged segment: its table is set aside, and all of it is there when
/// the file is back, whatever the other tables did meanwhile.
#[test]
fn a_table_with_a_damaged_segment_is_set_aside_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let whole = filled_log(root);
    let (main, side) = (main_table(), side_table());
    let store = open_on(&small(root, false), &whole).unwrap();
    let wanted = (read(&store, main.id).unwrap(), digests(&store, main.id));
    store.close().unwrap();
    drop(store);
    let mut files = [of_kind(&whole, ".parquet"), of_kind(&whole, ".idx")].concat();
    files.retain(|path| path.to_str().unwrap().contains(&main.id.to_string()));
    let mut seen = 0;
    for (number, path) in (0..).zip(&files) {
        let mut disk = whole.after_power_loss(&mut Random::new(number));
        let good = disk.read(path).unwrap();
        disk.damage(path, |bytes| bytes.fill(9));
        let mut expected = None;
        for round in 0..4 {
            let store = open_on(&small(root, false), &disk).unwrap();
            if store.report().set_aside.is_empty() {
                break;
            }
            seen += 1;
            assert_set_aside(&store, path);
            let version = 100 + 10 * round as u64;
            upsert(&store, &side, &[3, 40, 5000 + round], version);
            match round {
                0 => store.checkpoint().unwrap(),
                1 => store.flush_to_segments().unwrap(),
                _ => store.compact(side.id).unwrap(),
            }
            assert_set_aside(&store, path);
            expected = Some(read(&store, side.id).unwrap());
            if round % 2 == 0 {
                store.close().unwrap();
            }
            drop(store);
            disk = disk.after_power_loss(&mut Random::new(version));
        }
        disk.damage(path, |bytes| bytes.clone_from(&good));
        for _ in 0..2 {
            let store = open_on(&small(root, false), &disk).unwrap();
            assert_eq!(store.report().set_aside, Vec::<String>::new());
            let found = (read(&store, main.id).unwrap(), digests(&store, main.id));
            assert_eq!(found, wanted, "{}", path.display());
            assert_eq!(crate::common::live(&store, main.id), wanted.0);
            if let Some(expected) = &expected {
                assert_eq!(&read(&store, side.id).unwrap(), expected);
            }
            store.flush_to_segments().unwrap();
            store.compact(main.id).unwrap();
            assert_eq!(digests(&store, main.id), wanted.1);
            store.close().unwrap();
        }
    }
    assert!(seen >= 4 * 4, "{seen}");
}

/// A table that is set aside can be given up.
#[test]
fn a_table_that_is_set_aside_can_be_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let disk = filled_log(root);
    let main = main_table();
    for path in of_kind(&disk, ".parquet") {
        if path.to_str().unwrap().contains(&main.id.to_string()) {
            disk.damage(&path, |bytes| bytes.fill(9));
        }
    }
    let store = open_on(&small(root, false), &disk).unwrap();
    assert_eq!(store.report().set_aside, ["main"]);
    let dropped = netabase_store::TableDef {
        dropped: Some(netabase_store::Version(2)),
        ..main.clone()
    };
    store.put_table(dropped).unwrap();
    assert!(store.health().set_aside.is_empty());
    store.checkpoint().unwrap();
    store.close().unwrap();
    for _ in 0..2 {
        let store = open_on(&small(root, false), &disk).unwrap();
        assert!(store.report().set_aside.is_empty());
        store.flush_to_segments().unwrap();
        store.close().unwrap();
    }
    let left = of_kind(&disk, ".parquet");
    let of_main = |path: &&PathBuf| path.to_str().unwrap().contains(&main.id.to_string());
    assert_eq!(left.iter().filter(of_main).count(), 0);
}
