//! Tables and batches for the tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netabase_store::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use netabase_store::arrow::buffer::BooleanBuffer;
use netabase_store::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use netabase_store::{
    Change, Digest, Error, ErrorKind, KeyEncoder, Settings, ShardBatch, Stamp, Store, TableDef,
    TableId, TableSnapshot, Version,
};

/// How long work in the background may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A table `name(id BIGINT, text VARCHAR NOT NULL, note BIGINT)`.
pub(crate) fn table(name: &str, shards: u32) -> TableDef {
    TableDef {
        id: TableId::derive(&[name.as_bytes()]),
        name: name.to_owned(),
        schema: Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("text", DataType::Utf8View, false),
            Field::new("note", DataType::Int64, true),
        ])),
        primary_key: vec![0],
        shard_key: vec![0],
        shards,
        replicas: 1,
        local: false,
        owner: "owner".into(),
        created: Version(1),
        dropped: None,
        placement: Vec::new(),
        options: Default::default(),
        attachment: Vec::new(),
    }
}

pub(crate) fn stamp(version: u64, author: &str) -> Stamp {
    Stamp {
        version: Version(version),
        author: author.into(),
    }
}

/// Rows with these ids; the text tells the version.
pub(crate) fn rows(def: &TableDef, ids: &[i64], version: u64) -> RecordBatch {
    let text: StringViewArray = ids
        .iter()
        .map(|id| Some(format!("row {id} written at version {version}")))
        .collect();
    let note: Int64Array = ids.iter().map(|id| (id % 2 == 0).then_some(*id)).collect();
    let id = Int64Array::from(ids.to_vec());
    RecordBatch::try_new(
        def.schema.clone(),
        vec![Arc::new(id), Arc::new(text), Arc::new(note)],
    )
    .unwrap()
}

pub(crate) fn keys(def: &TableDef, ids: &[i64]) -> RecordBatch {
    let id = Int64Array::from(ids.to_vec());
    RecordBatch::try_new(def.key_schema(), vec![Arc::new(id)]).unwrap()
}

/// One batch per shard.
pub(crate) fn batches(
    def: &TableDef,
    change: Change,
    ids: &[i64],
    stamp: &Stamp,
) -> Vec<ShardBatch> {
    let rows = match change {
        Change::Upsert => rows(def, ids, stamp.version.0),
        Change::Delete => keys(def, ids),
    };
    KeyEncoder::new(def)
        .unwrap()
        .split(&rows)
        .unwrap()
        .into_iter()
        .map(|(shard, rows)| ShardBatch {
            table: def.id,
            shard,
            change,
            stamp: stamp.clone(),
            rows,
        })
        .collect()
}

pub(crate) fn upsert(store: &Store, def: &TableDef, ids: &[i64], version: u64) {
    store
        .write(batches(def, Change::Upsert, ids, &stamp(version, "a")))
        .unwrap();
}

pub(crate) fn settings(dir: &Path) -> Settings {
    Settings {
        data_dir: Some(dir.to_path_buf()),
        ..Settings::default()
    }
}

pub(crate) fn open(dir: &Path) -> Store {
    Store::open(settings(dir)).unwrap()
}

/// The live rows: id to text.
pub(crate) fn live(store: &Store, table: TableId) -> BTreeMap<i64, String> {
    rows_of(&store.snapshot(table).unwrap())
}

/// The live rows of a snapshot: id to text.
pub(crate) fn rows_of(snapshot: &TableSnapshot) -> BTreeMap<i64, String> {
    let mut all = BTreeMap::new();
    for shard in &snapshot.shards {
        let before = all.len();
        for batch in &shard.batches {
            let (ids, texts) = (batch.rows.column(0), batch.rows.column(1));
            let added = add_live(&mut all, (ids, texts), batch.live.as_ref());
            assert_eq!(added, batch.live_rows);
        }
        for segment in &shard.segments {
            let mut added = 0;
            for group in 0..segment.groups() {
                let ids = segment.column(group, 0).unwrap();
                let texts = segment.column(group, 1).unwrap();
                added += add_live(&mut all, (&ids, &texts), segment.live(group));
            }
            assert_eq!(added as u64, segment.live_rows());
        }
        assert_eq!((all.len() - before) as u64, shard.rows);
    }
    all
}

fn add_live(
    all: &mut BTreeMap<i64, String>,
    (ids, texts): (&ArrayRef, &ArrayRef),
    live: Option<&BooleanBuffer>,
) -> usize {
    let ids = ids.as_primitive::<Int64Type>();
    let texts = texts.as_string_view();
    let mut added = 0;
    for row in 0..ids.len() {
        if live.is_none_or(|live| live.value(row)) {
            let twice = all.insert(ids.value(row), texts.value(row).to_owned());
            assert!(twice.is_none(), "key {} is live twice", ids.value(row));
            added += 1;
        }
    }
    added
}

pub(crate) fn ids(store: &Store, table: TableId) -> Vec<i64> {
    live(store, table).into_keys().collect()
}

pub(crate) fn digests(store: &Store, table: TableId) -> Vec<Digest> {
    let stats = store.shard_stats(table).unwrap();
    stats.into_iter().map(|shard| shard.digest).collect()
}

/// The only log file, or the last one.
pub(crate) fn last_log_file(dir: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(dir.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.pop().unwrap()
}

/// Numbers that look random and are the same for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (SplitMix64).
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// How often something is repeated: what the environment variable says, or `usual`.
pub(crate) fn repeats(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

#[track_caller]
pub(crate) fn refused(
    result: Result<impl std::fmt::Debug, Error>,
    kind: ErrorKind,
    words: &[&str],
) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(
            error.to_string().contains(word),
            "\"{error}\" lacks {word:?}"
        );
    }
}

/// Waits for work in the background.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The files beneath a folder, in order.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}
