//! The commands that a newcomer types first.

use crate::common::HEAVY;
use crate::processes::{run, stderr};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_answers_and_ends() {
    let _turn = HEAVY.lock().await;
    let demo = || run(&["demo", "--batch"]);
    let done = tokio::task::spawn_blocking(demo).await.unwrap();
    let out = String::from_utf8_lossy(&done.stdout);
    let err = stderr(&done);
    assert!(done.status.success(), "{err}");
    assert!(
        out.contains("ExpressJet Airlines Inc.") && out.contains("Newark Liberty Intl"),
        "{out}"
    );
    assert!(
        err.contains("from 3 peers") && err.contains("ShardScan"),
        "{err}"
    );
}

#[test]
fn values_live_in_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let kv = |args: &[&str]| run(&[&["kv"], args, &["--data-dir", folder]].concat());
    assert!(kv(&["put", "greeting", "hello"]).status.success());
    assert_eq!(kv(&["get", "greeting"]).stdout, b"hello");
    let sql = "SELECT value FROM objects WHERE key = 'greeting'";
    let seen = run(&["sql", "--data-dir", folder, "--format", "json", "-c", sql]);
    assert!(
        seen.status.success() && seen.stdout.starts_with(b"{"),
        "{}",
        stderr(&seen)
    );
    assert!(kv(&["del", "greeting"]).status.success());
    let gone = kv(&["get", "greeting"]);
    assert_eq!((gone.status.code(), gone.stdout.len()), (Some(4), 0));
    let nowhere = run(&["kv", "put", "greeting", "hello"]);
    assert_eq!(nowhere.status.code(), Some(2), "{}", stderr(&nowhere));
}
