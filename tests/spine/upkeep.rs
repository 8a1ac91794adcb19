//! `netabase backup`, `restore`, `check`, `repair` and `compact`: what they do, what they say when they
//! cannot, and the exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use netabase::Netabase;
use tempfile::TempDir;

use crate::processes::{run, stderr};

/// Rows of the table whose rows are in a segment.
const ROWS: u64 = 300_000;

/// A scratch folder with a data folder `data` in it: a table in a segment, and one in the log.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        let scratch = Self(tempfile::tempdir().unwrap());
        let script = format!(
            "CREATE TABLE big (k BIGINT PRIMARY KEY, v TEXT) WITH (shards = 1);
             INSERT INTO big SELECT value, 'v' || value FROM generate_series(1, {ROWS});
             CREATE TABLE small (k BIGINT PRIMARY KEY);
             INSERT INTO small VALUES (1), (2);"
        );
        let made = run(&["sql", "--data-dir", &scratch.path("data"), "-c", &script]);
        assert!(made.status.success(), "{}", stderr(&made));
        scratch
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs a command in which words that begin with `@` are paths in this folder.
    fn run(&self, command: &str) -> Output {
        let words: Vec<String> = command
            .split_whitespace()
            .map(|word| match word.strip_prefix('@') {
                Some(name) => self.path(name),
                None => word.to_owned(),
            })
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        run(&words)
    }

    /// A command that succeeds and says all of this on standard output.
    fn says(&self, command: &str, parts: &[&str]) {
        let output = self.run(command);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{command}: {}",
            stderr(&output)
        );
        let text = String::from_utf8_lossy(&output.stdout);
        for part in parts {
            assert!(text.contains(part), "{command} does not say {part}: {text}");
        }
    }

    /// A command that fails with this code, and says all of this on standard error only.
    fn fails(&self, command: &str, code: i32, parts: &[&str]) {
        let output = self.run(command);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{command}: {text}");
        for part in parts {
            assert!(text.contains(part), "{command} does not say {part}: {text}");
        }
    }

    fn count(&self, folder: &str, table: &str) -> String {
        let sql = format!("SELECT count(*) AS n FROM {table}");
        let answer = run(&[
            "sql",
            "--data-dir",
            &self.path(folder),
            "--format",
            "csv",
            "-c",
            &sql,
        ]);
        assert!(answer.status.success(), "{}", stderr(&answer));
        String::from_utf8_lossy(&answer.stdout).trim().to_owned()
    }

    fn is_there(&self, name: &str) -> bool {
        self.0.path().join(name).exists()
    }

    /// The first file beneath a folder whose name ends like this.
    fn file(&self, folder: &str, ending: &str) -> PathBuf {
        find(&self.0.path().join(folder), ending).unwrap()
    }
}

fn find(folder: &Path, ending: &str) -> Option<PathBuf> {
    fs::read_dir(folder).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return find(&path, ending);
        }
        path.to_str().unwrap().ends_with(ending).then_some(path)
    })
}

/// Changes one byte in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_command_of_the_documentation_works() {
    let scratch = Scratch::new();
    let rows = format!("{} rows", ROWS + 2);
    scratch.says(
        "backup --data-dir @data --to @all",
        &["backup 1", "2 tables", &rows, "copied 3 files"],
    );
    // The segment's files are there already.
    let kept = &["backup 2", "3 files", "copied 1 files", "removed 0 older"];
    scratch.says("backup --data-dir @data --to @all --keep 7", kept);
    scratch.says(
        "backup --data-dir @data --to @one.tar --file",
        &["backup 1", &rows],
    );
    scratch.says(
        "backup --data-dir @data --to @all --table small",
        &["backup 3", "1 tables, 2 rows"],
    );
    scratch.says(
        "restore --from @all --data-dir @last",
        &["backup 3", "2 rows", "all verified"],
    );
    scratch.says(
        "restore --from @all/manifests/000002.json --data-dir @second",
        &["backup 2", &rows],
    );
    scratch.says(
        "restore --from @one.tar --data-dir @part --table big",
        &["1 tables, 300000 rows"],
    );
    scratch.says(
        "check --data-dir @second",
        &["2 tables", &rows, "nothing is damaged"],
    );
    scratch.says(
        "compact --data-dir @second --table big",
        &["compacted 1 tables"],
    );
    scratch.says("compact --data-dir @second", &["compacted 2 tables"]);
    assert_eq!(scratch.count("last", "small"), "n\n2");
    assert_eq!(scratch.count("second", "big"), "n\n300000");
    assert_eq!(scratch.count("part", "big"), "n\n300000");
    scratch.says(
        "backup --data-dir @data --to @all --keep 1",
        &["backup 4", "removed 3 older backups"],
    );
    scratch.fails(
        "restore --from @all/manifests/000002.json --data-dir @gone",
        4,
        &["000002.json"],
    );
    scratch.says(
        "repair --data-dir @second --backend sqlite",
        &["with sqlite: 2 tables", "the old index is in"],
    );
    scratch.fails(
        "backup --data-dir @second --to @all",
        3,
        &["made with sqlite", "sled was asked for"],
    );
    scratch.says(
        "backup --data-dir @second --to @all --backend sqlite",
        &[&rows],
    );
    scratch.says(
        "compact --data-dir @second --backend sqlite",
        &["compacted 2 tables"],
    );
}

#[test]
fn what_is_not_there_is_not_made() {
    let scratch = Scratch::new();
    for command in [
        "backup --data-dir @missing --to @to",
        "check --data-dir @missing",
        "repair --data-dir @missing",
        "compact --data-dir @missing",
        "restore --from @missing --data-dir @new",
        "restore --from @data/manifests/000001.json --data-dir @new",
    ] {
        scratch.fails(command, 4, &[]);
    }
    scratch.fails(
        "check --data-dir @missing",
        4,
        &["missing is not a data folder"],
    );
    for name in ["missing", "to", "new"] {
        assert!(!scratch.is_there(name), "{name} was made");
    }
    scratch.fails(
        "backup --data-dir @data --to @to --table nowhere",
        4,
        &["\"nowhere\""],
    );
    scratch.fails(
        "compact --data-dir @data --table nowhere",
        4,
        &["\"nowhere\""],
    );
    scratch.says("backup --data-dir @data --to @to", &["backup 1"]);
    scratch.fails(
        "restore --from @to --data-dir @new --table nowhere",
        4,
        &["\"nowhere\""],
    );
    assert!(!scratch.is_there("new"));
}

#[test]
fn folders_of_others_are_left_alone() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("foreign")).unwrap();
    let note = PathBuf::from(scratch.path("foreign/note"));
    fs::write(&note, "mine").unwrap();
    scratch.says("backup --data-dir @data --to @all", &["backup 1"]);
    for (command, code, part) in [
        (
            "backup --data-dir @foreign --to @to",
            4,
            "foreign is not a data folder",
        ),
        (
            "check --data-dir @foreign",
            4,
            "foreign is not a data folder",
        ),
        ("repair --data-dir @foreign", 4, "no store is in"),
        (
            "compact --data-dir @foreign",
            4,
            "foreign is not a data folder",
        ),
        (
            "backup --data-dir @data --to @foreign",
            3,
            "choose another one",
        ),
        (
            "backup --data-dir @data --to @data",
            3,
            "choose another one",
        ),
        (
            "backup --data-dir @data --to @foreign/note --file",
            3,
            "choose another name",
        ),
        (
            "restore --from @foreign --data-dir @new",
            3,
            "is not a backup",
        ),
        (
            "restore --from @foreign/note --data-dir @new",
            3,
            "is not a backup",
        ),
        ("restore --from @all --data-dir @foreign", 3, "is not empty"),
        ("restore --from @all --data-dir @data", 3, "is not empty"),
    ] {
        scratch.fails(command, code, &[part]);
    }
    assert_eq!(fs::read_to_string(&note).unwrap(), "mine");
    assert_eq!(fs::read_dir(scratch.path("foreign")).unwrap().count(), 1);
    assert!(!scratch.is_there("new") && !scratch.is_there("to"));
    scratch.says("check --data-dir @data", &["nothing is damaged"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_in_use_is_refused() {
    let scratch = Scratch::new();
    let held = Netabase::embedded(scratch.path("data")).await.unwrap();
    for command in [
        "backup --data-dir @data --to @to",
        "check --data-dir @data",
        "repair --data-dir @data",
        "compact --data-dir @data",
    ] {
        scratch.fails(command, 7, &["in use"]);
    }
    assert!(!scratch.is_there("to"));
    held.close().await.unwrap();
    scratch.says("check --data-dir @data", &["nothing is damaged"]);
}

#[test]
fn damage_is_named() {
    let scratch = Scratch::new();
    scratch.says("backup --data-dir @data --to @all", &["backup 1"]);
    scratch.says(
        "backup --data-dir @data --to @one.tar --file",
        &["backup 1"],
    );
    // In the data folder: found by reading, and not copied to a new backup.
    damage(&scratch.file("data/segments", ".parquet"));
    scratch.fails("check --data-dir @data", 8, &["problems"]);
    let found = scratch.run("check --data-dir @data");
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(
        text.contains("damaged: ") && text.contains(".parquet"),
        "{text}"
    );
    scratch.fails("backup --data-dir @data --to @to", 8, &[".parquet"]);
    // In a backup: found by restoring, which leaves nothing behind.
    damage(&scratch.file("all/segments", ".parquet"));
    scratch.fails("restore --from @all --data-dir @new", 8, &[".parquet"]);
    damage(Path::new(&scratch.path("one.tar")));
    scratch.fails("restore --from @one.tar --data-dir @new", 8, &["one.tar"]);
    let manifest = scratch.file("all/manifests", ".json");
    fs::write(manifest, "{").unwrap();
    scratch.fails("restore --from @all --data-dir @new", 8, &["000001.json"]);
    assert!(!scratch.is_there("new"));
}

#[test]
fn wrong_usage_is_told_from_wrong_folders() {
    let scratch = Scratch(tempfile::tempdir().unwrap());
    for (command, part) in [
        ("check", "--data-dir"),
        ("repair", "--data-dir"),
        ("compact", "--data-dir"),
        ("backup --data-dir @data", "--to"),
        ("restore --from @all", "--data-dir"),
        ("restore --data-dir @data", "--from"),
        ("backup --data-dir @data --to @all --keep 0", "--keep"),
        (
            "backup --data-dir @data --to @all --file --keep 1",
            "--keep",
        ),
        (
            "repair --data-dir @data --backend nonsense",
            "sled, sqlite, redb, memory",
        ),
        ("check --data-dir @data more", "more"),
    ] {
        scratch.fails(command, 2, &[part]);
    }
}
