//! kill -9 at any moment loses nothing that was acknowledged.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use crate::common::{ids, open, table, upsert};

/// Set in the child: the data folder to write into.
const FOLDER: &str = "NETABASE_CRASH_TEST_FOLDER";
/// Set in the child: the first id to write.
const FIRST: &str = "NETABASE_CRASH_TEST_FIRST";
const CYCLES: u64 = 100;
/// How long a child may take to its first acknowledgement.
const FIRST_ACK: Duration = Duration::from_secs(10);
/// After this the test fails: a slow disk must not hang it.
const MOST_TIME: Duration = Duration::from_secs(600);

/// Not a test of its own: the process that is killed.
#[test]
fn child_that_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let first: i64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let store = open(folder.as_ref());
    let def = table("t", 4);
    store.put_table(def.clone()).unwrap();
    let mut out = std::io::stdout();
    for id in first.. {
        upsert(&store, &def, &[id * 2, id * 2 + 1], 10);
        writeln!(out, "ack {id}").unwrap();
        out.flush().unwrap();
        if id % 37 == 36 {
            store.checkpoint().unwrap();
        }
    }
}

fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn every_acknowledged_row_survives() {
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let mut random = 0x5eed;
    let mut acknowledged = 0i64;
    let mut next = 0i64;
    let (mut cycles, mut writing) = (0, 0);
    for cycle in 0..CYCLES {
        let spent = started.elapsed();
        assert!(spent < MOST_TIME, "only {cycle} cycles in {spent:?}");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child_that_is_killed", "--nocapture"])
            .env(FOLDER, dir.path())
            .env(FIRST, next.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (started_writing, wait_for_first) = sync_channel(1);
        let reader = std::thread::spawn(move || {
            let mut last = None;
            for line in out.lines().map_while(Result::ok) {
                if let Some((_, id)) = line.split_once("ack ") {
                    last = id.parse::<i64>().ok().or(last);
                    let _ = started_writing.try_send(());
                }
            }
            last
        });
        // Every fourth child is killed at any moment, most often while it opens the store; the
        // others once they write, however slow the machine is.
        if cycle % 4 == 3 {
            std::thread::sleep(Duration::from_millis(next_random(&mut random) % 100));
        } else {
            let _ = wait_for_first.recv_timeout(FIRST_ACK);
            std::thread::sleep(Duration::from_micros(next_random(&mut random) % 80_000));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        cycles += 1;
        if let Some(last) = reader.join().unwrap() {
            acknowledged = last + 1;
            writing += 1;
        }
        let store = open(dir.path());
        if acknowledged == 0 {
            continue;
        }
        let found = ids(&store, table("t", 4).id);
        let expected: Vec<i64> = (0..acknowledged * 2).collect();
        assert_eq!(
            found.get(..expected.len()),
            Some(expected.as_slice()),
            "cycle {cycle}"
        );
        // At most the one write that was under way may be there without an acknowledgement.
        assert!(found.len() as i64 <= acknowledged * 2 + 2, "cycle {cycle}");
        assert_eq!(
            found.len() % 2,
            0,
            "half a write is visible in cycle {cycle}"
        );
        next = found.len() as i64 / 2;
        acknowledged = next;
        store.close().unwrap();
    }
    println!("{cycles} kills, {writing} of them while writing; {acknowledged} writes survived");
    assert!(
        writing * 2 > cycles,
        "only {writing} of {cycles} children got to write"
    );
}
