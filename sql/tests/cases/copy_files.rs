//! COPY from several files, from large ones and from damaged ones.

use std::path::{Path, PathBuf};

use datafusion::arrow::ipc::writer::StreamWriter;
use netabase_sql::store::ErrorKind;
use netabase_sql::{CopyOptions, Engine, EngineSettings};

use crate::common::{engine, engine_in_folder, engine_with, failure, rows, run, value};

const TABLE: &str = "CREATE TABLE t (k BIGINT PRIMARY KEY, s TEXT NOT NULL, v DOUBLE)";

async fn table() -> Engine {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, s TEXT, v DOUBLE)",
    )
    .await;
    engine
}

fn from(path: &Path) -> String {
    format!("COPY t FROM '{}'", path.display())
}

/// A file of so many rows.
async fn file(folder: &Path, name: &str, rows: usize) -> PathBuf {
    let path = folder.join(name);
    // Not so small that it is read at once.
    let options = match name {
        "large.parquet" => "(COMPRESSION none)",
        _ => "",
    };
    let query = format!(
        "SELECT value AS k, 'text ' || value AS s, value * 0.5 AS v FROM generate_series(1, {rows})"
    );
    run(
        &engine(),
        &format!("COPY ({query}) TO '{}' {options}", path.display()),
    )
    .await;
    path
}

#[tokio::test]
async fn a_pattern_names_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    for (name, text) in [
        ("b.csv", "k,s\n2,b\n"),
        ("a.csv", "s,k\na,1\n"),
        ("c.csv", "k\n3\n"),
        (".hidden.csv", "k\n9\n"),
        ("x.json", "{\"k\": 8}"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    std::fs::create_dir(folder.path().join("folder.csv")).unwrap();
    run(&engine, &from(&folder.path().join("*.csv"))).await;
    let all = rows(&engine, "SELECT k, s FROM t ORDER BY k").await;
    assert_eq!(all, [["1", "a"], ["2", "b"], ["3", "NULL"]]);
    run(&engine, &from(&folder.path().join("x.j?on"))).await;
    assert_eq!(value(&engine, "SELECT max(k) FROM t").await, "8");
    // A file that is called like a pattern is that file.
    std::fs::write(folder.path().join("[a].csv"), "k\n10\n").unwrap();
    run(&engine, &from(&folder.path().join("[a].csv"))).await;
    assert_eq!(value(&engine, "SELECT max(k) FROM t").await, "10");
    for (pattern, kind, expected) in [
        ("*.parquet", ErrorKind::NotFound, "no file matches"),
        ("[", ErrorKind::InvalidInput, "not a pattern"),
        ("none.csv", ErrorKind::NotFound, "does not exist"),
        ("folder.csv", ErrorKind::InvalidInput, "is a folder"),
    ] {
        let (found, text) = failure(&engine, &from(&folder.path().join(pattern))).await;
        assert_eq!(found, kind, "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn several_files_are_loaded_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let pattern = folder.path().join("*.csv");
    std::fs::write(folder.path().join("a.csv"), "k\n1\n2\n").unwrap();
    for (text, kind, expected) in [
        (
            "k\n3\nx\n",
            ErrorKind::InvalidInput,
            "b.csv line 3: column \"k\"",
        ),
        ("k\n3\n2\n", ErrorKind::Conflict, "a.csv line 3"),
        (
            "k,z\n3,3\n",
            ErrorKind::InvalidInput,
            "b.csv: table \"t\" has no column \"z\"",
        ),
    ] {
        std::fs::write(folder.path().join("b.csv"), text).unwrap();
        let (found, error) = failure(&engine, &from(&pattern)).await;
        assert_eq!(found, kind, "{error}");
        assert!(error.contains(expected), "{error}");
        assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_of_every_format_go_to_segments() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.csv", "b.json", "large.parquet", "d.arrow"] {
        let path = file(folder.path(), name, 300_000).await;
        let (engine, _data) = engine_in_folder(2);
        run(&engine, TABLE).await;
        let mut heard = Vec::new();
        let options = CopyOptions::default();
        let told = |done, total| heard.push((done, total));
        let loaded = engine.copy_from("t", &path, options, told).await;
        assert_eq!(loaded.unwrap().rows, 300_000);
        let sane = |(done, total): &(u64, u64)| done <= total;
        assert!(heard.iter().all(sane), "{heard:?}");
        assert_eq!(heard.last(), Some(&(300_000, 300_000)));
        let sums = "SELECT count(*), sum(k), sum(v), max(s), count(DISTINCT s) FROM t";
        let found = rows(&engine, sums).await;
        let expected = [
            "300000",
            "45000150000",
            "22500075000.0",
            "text 99999",
            "300000",
        ];
        assert_eq!(found, [expected], "{name}");
        let segments = "SELECT segments > 0 FROM netabase.tables WHERE name = 't'";
        assert_eq!(value(&engine, segments).await, "true", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_of_a_large_file_is_named_and_nothing_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "a.csv", 300_000).await;
    let good = std::fs::read_to_string(&path).unwrap();
    assert!(good.len() > 4 << 20, "{} bytes", good.len());
    for (bad, kind, expected) in [
        (
            "x,y,1\n",
            ErrorKind::InvalidInput,
            "line 300002: column \"k\"",
        ),
        (
            "300001,,1\n",
            ErrorKind::InvalidInput,
            "line 300002: column \"s\"",
        ),
        ("7,y,1\n", ErrorKind::Conflict, "(7)"),
        (
            "300001,y\n",
            ErrorKind::InvalidInput,
            "line 300002: 2 fields",
        ),
    ] {
        std::fs::write(&path, format!("{good}{bad}")).unwrap();
        let (engine, _data) = engine_in_folder(2);
        run(&engine, TABLE).await;
        let (found, error) = failure(&engine, &from(&path)).await;
        assert_eq!(found, kind, "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("a.csv"), "{error}");
        assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_cut_are_errors_and_load_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.parquet", "b.arrow", "c.csv.gz", "d.json.zst", "e.json"] {
        let path = file(folder.path(), name, 400).await;
        let whole = std::fs::read(&path).unwrap();
        let engine = table().await;
        for cut in (1..whole.len()).step_by(whole.len() / 60 + 1) {
            // A text that is cut between two rows is whole.
            if name == "e.json" && whole[cut - 1..=cut].contains(&b'\n') {
                continue;
            }
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (kind, error) = failure(&engine, &from(&path)).await;
            assert_eq!(kind, ErrorKind::InvalidInput, "{name} at {cut}: {error}");
            assert!(error.contains(name), "{error}");
            assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "0");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_are_errors_and_nothing_worse() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.parquet", "b.arrow", "c.csv.gz", "d.json.zst", "e.json"] {
        let path = file(folder.path(), name, 400).await;
        let whole = std::fs::read(&path).unwrap();
        let engine = table().await;
        let mut refused = 0;
        for at in (0..whole.len()).step_by(whole.len() / 150 + 1) {
            for change in [0xff, 0x01, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= change;
                std::fs::write(&path, &bytes).unwrap();
                let Err(error) = engine.sql(&from(&path)).await else {
                    continue;
                };
                refused += 1;
                assert_ne!(error.kind(), ErrorKind::Corrupt, "{name} at {at}: {error}");
                assert!(!error.to_string().contains("background"), "{error}");
            }
        }
        assert!(refused > 10, "{name}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_arrow_is_read_like_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let engine = table().await;
    let query = "SELECT value AS k, arrow_cast('a' || (value % 3), 'Dictionary(Int32, Utf8)') AS s \
                 FROM generate_series(1, 1000)";
    let batches = engine.sql(query).await.unwrap().collect().await.unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    writer.write(&batches[0]).unwrap();
    let bytes = writer.into_inner().unwrap();
    let path = folder.path().join("stream.arrow");
    std::fs::write(&path, &bytes).unwrap();
    run(&engine, &from(&path)).await;
    let found = rows(&engine, "SELECT count(*), sum(k), count(DISTINCT s) FROM t").await;
    assert_eq!(found, [["1000", "500500", "3"]]);
    // Without the mark at its end it may be a part.
    std::fs::write(&path, &bytes[..bytes.len() - 8]).unwrap();
    let (_, error) = failure(&engine, &from(&path)).await;
    assert!(error.contains("ends before its last row"), "{error}");
    // A length beyond the file must not be set aside.
    let mut lying = bytes.clone();
    lying[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    std::fs::write(&path, &lying).unwrap();
    let (_, error) = failure(&engine, &from(&path)).await;
    assert!(error.contains("longer than it can be"), "{error}");
}

#[tokio::test]
async fn rows_beyond_the_limit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_with(EngineSettings {
        max_insert_bytes: 1 << 16,
        ..EngineSettings::default()
    });
    run(&engine, TABLE).await;
    for name in ["a.csv.gz", "b.json", "c.parquet", "d.arrow"] {
        let path = file(folder.path(), name, 20_000).await;
        let (kind, text) = failure(&engine, &from(&path)).await;
        assert_eq!(kind, ErrorKind::Capacity, "{text}");
        assert!(text.contains("max_insert_bytes"), "{text}");
        assert!(text.contains(name), "{text}");
    }
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "0");
}
