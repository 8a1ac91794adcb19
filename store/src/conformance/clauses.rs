//! The clauses that one thread can try.

use std::collections::BTreeMap;

use super::data::{Bytes, Outcome, ensure, expect, same};
use crate::backend::{Backend, Batch, KeyValue, MAX_MAP_NAME};
use crate::error::{ErrorKind, Result};

/// Length of a large value.
const LARGE_VALUE: usize = 1 << 20;
/// Length of a large key.
const LARGE_KEY: usize = 1 << 10;
/// How many entries are many.
const MANY: u32 = 10_000;
/// How many of them are written at a time.
const MANY_BATCH: usize = 500;
/// How many of them are read at a time; no divisor of [`MANY`].
const MANY_PAGE: usize = 777;

pub(super) fn get(backend: &dyn Backend) -> Outcome {
    let entries: [(&[u8], &[u8]); 5] = [
        (b"", b"empty key"),
        (b"key", b"value"),
        (b"empty", b""),
        (&[0, 0], &[0, 255, 0]),
        (&[255; 4], b"high"),
    ];
    let mut batch = Batch::new();
    for (key, value) in entries {
        batch.put("map", key, value);
    }
    backend.apply(batch)?;
    for (key, value) in entries {
        expect(backend, "map", key, Some(value))?;
    }
    expect(backend, "map", b"ke", None)?;
    expect(backend, "map", &[0], None)?;
    expect(backend, "no such map", b"key", None)?;

    let mut batch = Batch::new();
    batch.put("map", b"key", b"replaced");
    batch.delete("map", b"empty");
    batch.delete("map", b"never there");
    batch.delete("no such map", b"key");
    backend.apply(batch)?;
    backend.apply(Batch::new())?;
    expect(backend, "map", b"key", Some(b"replaced"))?;
    expect(backend, "map", b"empty", None)?;
    expect(backend, "map", b"", Some(b"empty key"))
}

pub(super) fn maps(backend: &dyn Backend) -> Outcome {
    let long = "n".repeat(MAX_MAP_NAME);
    let names = [
        "a", "A", "a ", "ab", "b", "a\u{1}", "ä", "a/b", "'\"%_", &long,
    ];
    let mut batch = Batch::new();
    for name in names {
        batch.put(name, b"key", name.as_bytes());
    }
    backend.apply(batch)?;
    for name in names {
        let wanted = [(b"key".to_vec(), name.as_bytes().to_vec())];
        expect(backend, name, b"key", Some(name.as_bytes()))?;
        let found = backend.range(name, &[], None, usize::MAX)?;
        same(&found, &wanted, &format!("range of map {name:?}"))?;
    }
    let mut batch = Batch::new();
    batch.delete("a", b"key");
    backend.apply(batch)?;
    expect(backend, "a", b"key", None)?;
    for name in names.into_iter().skip(1) {
        expect(backend, name, b"key", Some(name.as_bytes()))?;
    }
    // A name and a key that read the same as another name and key when put side by side.
    expect(backend, "a", b"bkey", None)
}

pub(super) fn batches(backend: &dyn Backend) -> Outcome {
    let mut batch = Batch::new();
    for map in ["a", "b", "c"] {
        batch.put(map, b"key", b"first");
    }
    backend.apply(batch)?;
    for refused_at in 0..3 {
        let mut batch = Batch::new();
        for (number, map) in ["a", "b", "c"].into_iter().enumerate() {
            if number == refused_at {
                batch.put("zero\0byte", b"key", b"refused");
            }
            batch.put(map, b"key", b"second");
            batch.delete(map, b"key");
            batch.put(map, b"other", b"second");
        }
        let applied = backend.apply(batch);
        ensure(applied.is_err(), || {
            "a batch with a map's name that holds a zero byte was not refused".to_owned()
        })?;
        for map in ["a", "b", "c"] {
            expect(backend, map, b"key", Some(b"first"))?;
            expect(backend, map, b"other", None)?;
        }
    }
    let mut batch = Batch::new();
    batch.put("a", b"key", b"second");
    batch.delete("b", b"key");
    batch.put("d", b"key", b"new map");
    backend.apply(batch)?;
    expect(backend, "a", b"key", Some(b"second"))?;
    expect(backend, "b", b"key", None)?;
    expect(backend, "c", b"key", Some(b"first"))?;
    expect(backend, "d", b"key", Some(b"new map"))
}

pub(super) fn order(backend: &dyn Backend) -> Outcome {
    let mut batch = Batch::new();
    batch.put("map", b"put twice", b"first");
    batch.put("map", b"put twice", b"last");
    batch.put("map", b"put, removed", b"first");
    batch.delete("map", b"put, removed");
    batch.delete("map", b"removed, put");
    batch.put("map", b"removed, put", b"last");
    // The same key of another map is another entry.
    batch.put("other", b"put twice", b"other");
    backend.apply(batch)?;
    expect(backend, "map", b"put twice", Some(b"last"))?;
    expect(backend, "map", b"put, removed", None)?;
    expect(backend, "map", b"removed, put", Some(b"last"))?;
    expect(backend, "other", b"put twice", Some(b"other"))
}

pub(super) fn ranges(backend: &dyn Backend) -> Outcome {
    let keys: [&[u8]; 10] = [
        b"",
        &[0],
        &[0, 0],
        &[0, 255],
        &[1],
        &[1, 0],
        &[127],
        &[128],
        &[255],
        &[255, 255],
    ];
    let between: [&[u8]; 4] = [&[0, 1], &[2], &[255, 0], &[255, 255, 0]];
    let mut model = BTreeMap::new();
    let mut batch = Batch::new();
    for key in keys.into_iter().rev() {
        model.insert(key.to_vec(), [b"value of ", key].concat());
        batch.put("map", key, [b"value of ", key].concat());
        batch.put("map\u{1}", key, b"later map");
        batch.put("mao", key, b"earlier map");
    }
    backend.apply(batch)?;
    let bounds = || keys.into_iter().chain(between);
    for start in bounds() {
        for end in bounds().map(Some).chain([None]) {
            for limit in [0, 1, 3, usize::MAX] {
                range(backend, &model, (start, end, limit))?;
            }
        }
    }
    let none = backend.range("no such map", &[], None, usize::MAX)?;
    same(&none, &[], "range of a map that is not there")
}

fn range(
    backend: &dyn Backend,
    model: &BTreeMap<Vec<u8>, Vec<u8>>,
    (start, end, limit): (&[u8], Option<&[u8]>, usize),
) -> Outcome {
    let wanted: Vec<KeyValue> = model
        .iter()
        .filter(|(key, _)| key.as_slice() >= start && end.is_none_or(|end| key.as_slice() < end))
        .take(limit)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let found = backend.range("map", start, end, limit)?;
    let end = end.map_or_else(|| "the end".to_owned(), |end| Bytes(end).to_string());
    let what = format!("range from {} to {end}, limit {limit}", Bytes(start));
    same(&found, &wanted, &what)
}

/// Bytes that are not all alike.
fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at * 31 + at / 251 + seed) as u8)
        .collect()
}

pub(super) fn large_values(backend: &dyn Backend) -> Outcome {
    let large = pattern(LARGE_VALUE, 1);
    let other = pattern(LARGE_VALUE, 2);
    let key = pattern(LARGE_KEY, 3);
    let mut batch = Batch::new();
    batch.put("map", b"1", large.clone());
    batch.put("map", b"2", other.clone());
    batch.put("map", key.clone(), b"large key");
    backend.apply(batch)?;
    expect(backend, "map", b"1", Some(&large))?;
    expect(backend, "map", &key, Some(b"large key"))?;
    let found = backend.range("map", b"1", Some(b"3"), usize::MAX)?;
    let wanted = [(b"1".to_vec(), large), (b"2".to_vec(), other.clone())];
    same(&found, &wanted, "range over two large values")?;

    let mut batch = Batch::new();
    batch.put("map", b"1", b"small now");
    backend.apply(batch)?;
    expect(backend, "map", b"1", Some(b"small now"))?;
    expect(backend, "map", b"2", Some(&other))
}

pub(super) fn many_keys(backend: &dyn Backend) -> Outcome {
    // A step that has no divisor in common with the number visits every key once, out of order.
    let scrambled: Vec<u32> = (0..MANY).map(|at| at * 7919 % MANY).collect();
    for part in scrambled.chunks(MANY_BATCH) {
        let mut batch = Batch::new();
        for number in part {
            batch.put("map", number.to_be_bytes(), number.to_le_bytes());
        }
        backend.apply(batch)?;
    }
    let all: Vec<u32> = (0..MANY).collect();
    expect_numbers(backend, &all)?;
    for number in all.iter().step_by(97) {
        let wanted = number.to_le_bytes();
        expect(backend, "map", &number.to_be_bytes(), Some(&wanted))?;
    }
    let (even, odd): (Vec<u32>, Vec<u32>) = all.iter().partition(|number| **number % 2 == 0);
    for part in odd.chunks(MANY_BATCH) {
        let mut batch = Batch::new();
        for number in part {
            batch.delete("map", number.to_be_bytes());
        }
        backend.apply(batch)?;
    }
    expect_numbers(backend, &even)
}

/// Reads the map page by page, and finds exactly these numbers.
fn expect_numbers(backend: &dyn Backend, numbers: &[u32]) -> Outcome {
    let mut start = Vec::new();
    let mut wanted = numbers.chunks(MANY_PAGE);
    loop {
        let page: Vec<KeyValue> = wanted
            .next()
            .unwrap_or_default()
            .iter()
            .map(|number| (number.to_be_bytes().to_vec(), number.to_le_bytes().to_vec()))
            .collect();
        let found = backend.range("map", &start, None, MANY_PAGE)?;
        let what = format!(
            "a page of a map of {}, from {}",
            numbers.len(),
            Bytes(&start)
        );
        same(&found, &page, &what)?;
        let Some((last, _)) = found.last() else {
            return Ok(());
        };
        start.clone_from(last);
        start.push(0);
    }
}

pub(super) fn map_names(backend: &dyn Backend) -> Outcome {
    let long = "n".repeat(MAX_MAP_NAME + 1);
    for name in ["", "\0", "a\0", "a\0b", &long] {
        let mut put = Batch::new();
        put.put(name, b"key", b"value");
        let mut delete = Batch::new();
        delete.delete(name, b"key");
        refused("get", name, backend.get(name, b"key"))?;
        refused("put", name, backend.apply(put))?;
        refused("delete", name, backend.apply(delete))?;
        refused("range", name, backend.range(name, &[], None, 1))?;
    }
    Ok(())
}

fn refused<T>(what: &str, name: &str, result: Result<T>) -> Outcome {
    let name = Bytes(name.as_bytes());
    match result {
        Err(error) => ensure(error.kind() == ErrorKind::InvalidInput, || {
            format!(
                "{what} with map name {name} failed as {:?}, not as InvalidInput",
                error.kind()
            )
        }),
        Ok(_) => ensure(false, || {
            format!("{what} with map name {name} was not refused")
        }),
    }
}

pub(super) fn listing(backend: &dyn Backend) -> Outcome {
    let expect_names = |wanted: &[&str]| {
        let found = backend.maps()?;
        ensure(found == wanted, || {
            format!("maps gave {found:?}, not {wanted:?}")
        })
    };
    expect_names(&[])?;
    let mut batch = Batch::new();
    for name in ["b", "a", "ab", "a\u{1}", "a/b", "ü"] {
        batch.put(name, b"", b"");
        batch.put(name, [0], b"");
        batch.put(name, [255; 3], b"");
    }
    backend.apply(batch)?;
    expect_names(&["a", "a\u{1}", "a/b", "ab", "b", "ü"])?;
    let mut batch = Batch::new();
    for key in [&[] as &[u8], &[0], &[255; 3]] {
        batch.delete("ab", key);
    }
    batch.delete("b", [0]);
    backend.apply(batch)?;
    expect_names(&["a", "a\u{1}", "a/b", "b", "ü"])
}

pub(super) fn clear(backend: &dyn Backend) -> Outcome {
    let entries = || {
        let mut batch = Batch::new();
        for map in ["a", "b", "ü"] {
            batch.put(map, b"", b"value");
            batch.put(map, [255; 3], b"value");
        }
        batch
    };
    backend.apply(entries())?;
    backend.clear()?;
    for map in ["a", "b", "ü"] {
        let left = backend.range(map, &[], None, usize::MAX)?;
        same(&left, &[], &format!("range of map {map:?} after clear"))?;
        expect(backend, map, b"", None)?;
    }
    let names = backend.maps()?;
    ensure(names.is_empty(), || {
        format!("after clear, maps gave {names:?}")
    })?;
    backend.clear()?;
    backend.apply(entries())?;
    expect(backend, "ü", b"", Some(b"value"))
}
