//! Rows in the log are compressed as their table says.

use netabase_store::{BackendKind, Codec, Settings, Store, TableDef, TableOptions};

use crate::common::{digests, live, settings, table, upsert};

fn quiet(dir: &std::path::Path) -> Settings {
    Settings {
        backend: BackendKind::Memory,
        background: false,
        ..settings(dir)
    }
}

fn with_codec(name: &str, codec: Option<Codec>) -> TableDef {
    TableDef {
        options: TableOptions {
            revision: 1,
            codec,
            ..TableOptions::default()
        },
        ..table(name, 1)
    }
}

/// Bytes that writing these rows adds to the log.
fn logged(store: &Store, def: &TableDef, ids: &[i64], version: u64) -> u64 {
    let before = store.stats().bytes_logged;
    upsert(store, def, ids, version);
    store.stats().bytes_logged - before
}

#[test]
fn rows_in_the_log_have_the_codec_of_their_table() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(quiet(dir.path())).unwrap();
    let tables = [
        ("plain", Some(Codec::None)),
        ("usual", None),
        ("lz4", Some(Codec::Lz4)),
        ("zstd", Some(Codec::Zstd(1))),
    ]
    .map(|(name, codec)| with_codec(name, codec));
    let many: Vec<i64> = (0..5000).collect();
    let (mut large, mut small) = (Vec::new(), Vec::new());
    for def in &tables {
        store.put_table(def.clone()).unwrap();
        large.push(logged(&store, def, &many, 10));
        small.push(logged(&store, def, &[4999], 20));
    }
    let [plain, usual, lz4, zstd] = large[..] else {
        panic!("{large:?}");
    };
    assert_eq!(usual, lz4);
    assert!(lz4 * 2 < plain && zstd < lz4, "{large:?}");
    // One row is as fast as ever: nothing is compressed.
    assert_eq!(small, [small[0]; 4]);

    // An option that changes holds from the next write on.
    let mut changed = tables[0].clone();
    changed.options.revision = 2;
    changed.options.codec = Some(Codec::Zstd(22));
    store.put_table(changed.clone()).unwrap();
    assert!(logged(&store, &changed, &many, 30) < lz4);

    let wanted: Vec<_> = tables
        .iter()
        .map(|def| (live(&store, def.id), digests(&store, def.id)))
        .collect();
    store.close().unwrap();
    for round in 0..2 {
        let store = Store::open(quiet(dir.path())).unwrap();
        for (def, wanted) in tables.iter().zip(&wanted) {
            let found = (live(&store, def.id), digests(&store, def.id));
            assert_eq!(&found, wanted, "{} in round {round}", def.name);
        }
        store.checkpoint().unwrap();
        store.close().unwrap();
    }
}
