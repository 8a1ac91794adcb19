//! An index finds what looking at every row finds.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use netabase_store::arrow::array::{ArrayRef, AsArray, Int64Array, StringViewArray};
use netabase_store::arrow::datatypes::Int64Type;
use netabase_store::{
    IndexDef, KeyRange, OuterRows, SegmentView, Settings, Store, TableDef, TableOptions,
};

use crate::common::{batches, live, open, settings, stamp, table, upsert};
use netabase_store::Change;

fn number(n: Option<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(vec![n]))
}

fn text(t: &str) -> ArrayRef {
    Arc::new(StringViewArray::from(vec![t]))
}

fn index(name: &str, columns: &[u32]) -> IndexDef {
    IndexDef {
        name: name.to_owned(),
        columns: columns.to_vec(),
    }
}

/// The table with these indexes.
fn indexed(revision: u64, indexes: &[IndexDef]) -> TableDef {
    TableDef {
        options: TableOptions {
            revision,
            indexes: indexes.to_vec(),
            ..TableOptions::default()
        },
        ..table("t", 2)
    }
}

fn indexes() -> Vec<IndexDef> {
    vec![index("by_note", &[2]), index("by_both", &[2, 1])]
}

fn quiet(dir: &Path) -> Settings {
    Settings {
        background: false,
        ..settings(dir)
    }
}

fn segments(store: &Store, def: &TableDef) -> Vec<SegmentView> {
    let snapshot = store.snapshot(def.id).unwrap();
    let shards = snapshot.shards.into_iter();
    shards.flat_map(|shard| shard.segments).collect()
}

/// Rows of a segment for which `wanted` holds, given note and text.
fn scanned(segment: &SegmentView, wanted: &dyn Fn(Option<i64>, &str) -> bool) -> Vec<u32> {
    let mut rows = Vec::new();
    for group in 0..segment.groups() {
        let notes = segment.column(group, 2).unwrap();
        let texts = segment.column(group, 1).unwrap();
        let notes = notes.as_primitive::<Int64Type>();
        for (row, note) in notes.iter().enumerate() {
            if wanted(note, texts.as_string_view().value(row)) {
                rows.push((group * 65_536 + row) as u32);
            }
        }
    }
    rows
}

/// The live ones of some rows, in the order of an index.
fn live_in_order(segment: &SegmentView, index: &IndexDef, rows: &[u32]) -> Vec<u32> {
    let notes = segment.column(0, 2).unwrap();
    let texts = segment.column(0, 1).unwrap();
    let key = |row: &u32| {
        let note = notes.as_primitive::<Int64Type>().iter().nth(*row as usize);
        let text = texts.as_string_view().value(*row as usize);
        let text = (index.columns.len() > 1).then(|| text.to_owned());
        (note, text, *row)
    };
    let mut live: Vec<u32> = rows.to_vec();
    live.retain(|row| segment.is_live(*row));
    live.sort_by_key(key);
    live
}

/// Compares the ends of a range with all of its rows, given in the index's order.
fn check_ends(segment: &SegmentView, index: &IndexDef, range: &KeyRange, live: &[u32]) {
    let count = segment.count_live(index, range).unwrap();
    assert_eq!(count, Some(live.len() as u64));
    let outer = |wanted| segment.outer_rows(index, range, wanted).unwrap().unwrap();
    for rows in [0, 1, 3, live.len(), usize::MAX] {
        let few = rows.min(live.len());
        assert_eq!(outer(OuterRows::First(rows)), live[..few]);
        let last: Vec<u32> = live.iter().rev().take(few).copied().collect();
        assert_eq!(outer(OuterRows::Last(rows)), last);
    }
}

/// Compares both indexes with scans of every segment; how many runs there were.
fn check(store: &Store, def: &TableDef, notes: &[Option<i64>]) -> usize {
    let [single, both] = &indexes()[..] else {
        unreachable!()
    };
    let mut runs = 0;
    for segment in segments(store, def) {
        let compare = |index, range: &KeyRange, wanted: &dyn Fn(Option<i64>, &str) -> bool| {
            let Some(found) = segment.lookup(index, range, usize::MAX).unwrap() else {
                return 0;
            };
            assert_eq!(found, scanned(&segment, wanted));
            let count = segment.count(index, range).unwrap();
            assert_eq!(count, Some(found.len() as u64));
            let few = segment.lookup(index, range, 2).unwrap().unwrap();
            assert_eq!(few.len(), found.len().min(2));
            assert!(few.iter().all(|row| found.contains(row)));
            let live = live_in_order(&segment, index, &found);
            check_ends(&segment, index, range, &live);
            1
        };
        for &note in notes {
            let equal = KeyRange::prefix(&[number(note)]).unwrap();
            runs += compare(single, &equal, &|n, _| n == note);
            compare(both, &equal, &|n, _| n == note);
            let from = text("row 3");
            let range =
                KeyRange::between(&[number(note)], Bound::Included(&from), Bound::Unbounded);
            compare(both, &range.unwrap(), &|n, t| n == note && t >= "row 3");
            if let (Some(least), value) = (note, number(note)) {
                let up = KeyRange::between(&[], Bound::Excluded(&value), Bound::Unbounded);
                compare(single, &up.unwrap(), &|n, _| n.is_some_and(|n| n > least));
                let down = KeyRange::between(&[], Bound::Unbounded, Bound::Included(&value));
                compare(both, &down.unwrap(), &|n, _| n.is_some_and(|n| n <= least));
            }
        }
    }
    runs
}

const NOTES: [Option<i64>; 6] = [None, Some(0), Some(4), Some(40), Some(998), Some(5)];

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.join("segments")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Several segments with hidden rows.
fn filled(dir: &Path, def: &TableDef) -> Store {
    let store = Store::open(quiet(dir)).unwrap();
    store.put_table(def.clone()).unwrap();
    let all: Vec<i64> = (0..3000)
        .map(|n| n % 1000 * 7 % 1009 + n / 1000 * 2000)
        .collect();
    for (version, ids) in (10..).zip(all.chunks(700)) {
        upsert(&store, def, ids, version);
        store.flush_to_segments().unwrap();
    }
    upsert(&store, def, &[4, 40, 998], 100);
    let gone = batches(def, Change::Delete, &[0, 5, 2004], &stamp(101, "a"));
    store.write(gone).unwrap();
    store
}

fn build(store: &Store, def: &TableDef) -> u64 {
    let mut total = 0;
    store
        .build_indexes(def.id, &mut |_, of| total = of)
        .unwrap();
    total
}

#[test]
fn lookups_agree_with_scans_through_compaction_and_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let def = indexed(0, &indexes());
    let store = filled(dir.path(), &def);
    assert_eq!(check(&store, &def, &NOTES), 0);
    let segments = segments(&store, &def).len();
    assert!(segments >= 8);
    assert_eq!(build(&store, &def), 2 * segments as u64);
    assert_eq!(build(&store, &def), 0);
    assert_eq!(check(&store, &def, &NOTES), segments * NOTES.len());
    let before = live(&store, def.id);
    store.compact(def.id).unwrap();
    assert_eq!(check(&store, &def, &NOTES), 0);
    build(&store, &def);
    store.close().unwrap();
    // Runs are found again, and nobody reads a segment for it.
    let store = Store::open(quiet(dir.path())).unwrap();
    assert_eq!(store.report().orphans, 0);
    let runs = files(dir.path(), ".run.meta").len();
    assert!(check(&store, &def, &NOTES) >= 2 * NOTES.len());
    assert_eq!(build(&store, &def), 0);
    assert_eq!(live(&store, def.id), before);
    // A dropped index leaves nothing behind after the next opening.
    store.put_table(indexed(1, &indexes()[..1])).unwrap();
    store.close().unwrap();
    let store = Store::open(quiet(dir.path())).unwrap();
    assert_eq!(files(dir.path(), ".run.meta").len() * 2, runs);
    assert_eq!(live(&store, def.id), before);
}

#[test]
fn lost_and_damaged_runs_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let def = indexed(0, &indexes());
    let store = filled(dir.path(), &def);
    let all = build(&store, &def);
    let expected = check(&store, &def, &NOTES);
    for ending in [".run.meta", ".run.parquet", ".run.idx"] {
        for damage in [true, false] {
            store.close().unwrap();
            for path in files(dir.path(), ending) {
                if damage {
                    let mut bytes = std::fs::read(&path).unwrap();
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 0x40;
                    std::fs::write(&path, bytes).unwrap();
                } else {
                    std::fs::remove_file(&path).unwrap();
                }
            }
            let store = Store::open(quiet(dir.path())).unwrap();
            // Whatever a lookup still gives is right, and then it is known what is damaged.
            check(&store, &def, &NOTES);
            check(&store, &def, &NOTES);
            assert_eq!(build(&store, &def), all, "{ending}, damaged: {damage}");
            assert_eq!(check(&store, &def, &NOTES), expected);
            store.close().unwrap();
        }
    }
}

#[test]
fn an_index_is_made_while_rows_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let plain = table("t", 2);
    store.put_table(plain.clone()).unwrap();
    upsert(&store, &plain, &(0..2000).collect::<Vec<_>>(), 10);
    store.flush_to_segments().unwrap();
    let stop = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut version = 20;
            while !stop.load(Ordering::Relaxed) {
                version += 1;
                let first = version as i64 * 13 % 1900;
                upsert(
                    &store,
                    &plain,
                    &[first, first + 1, version as i64 + 5000],
                    version,
                );
                if version % 16 == 0 {
                    store.flush_to_segments().unwrap();
                }
            }
            version
        });
        let def = indexed(1, &indexes());
        store.put_table(def.clone()).unwrap();
        for _ in 0..5 {
            build(&store, &def);
            check(&store, &def, &NOTES);
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    let def = indexed(1, &indexes());
    store.flush_to_segments().unwrap();
    build(&store, &def);
    let segments = segments(&store, &def).len();
    assert_eq!(check(&store, &def, &NOTES), segments * NOTES.len());
    assert_eq!(live(&store, def.id).len() as u64, 2000 + written - 20);
    // The files of what was compacted are gone, runs included.
    store.compact(def.id).unwrap();
    build(&store, &def);
    store.close().unwrap();
    let store = open(dir.path());
    let runs = files(dir.path(), ".run.meta").len();
    let segments = self::segments(&store, &def).len();
    assert!(
        runs <= 2 * segments + 2,
        "{runs} runs of {segments} segments"
    );
}

#[test]
fn background_work_makes_the_runs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let def = indexed(0, &indexes());
    store.put_table(def.clone()).unwrap();
    upsert(&store, &def, &(0..500).collect::<Vec<_>>(), 10);
    store.flush_to_segments().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while check(&store, &def, &NOTES) < 2 * NOTES.len() {
        assert!(std::time::Instant::now() < deadline, "no runs were made");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
