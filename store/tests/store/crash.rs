//! kill -9 at any moment loses nothing that was acknowledged.
//!
//! The process that is killed writes rows one by one, loads in bulk, makes checkpoints, compacts and
//! reopens, all at once, with background work that is always busy. It says what was acknowledged,
//! line by line, after the call has returned; this side believes these lines alone.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netabase_store::{BackendKind, Settings, Store, TableDef};

use crate::common::{Random, digests, ids, live, repeats, rows, settings, stamp, table, upsert};

/// Set in the child: the data folder to write into.
const FOLDER: &str = "NETABASE_CRASH_TEST_FOLDER";
/// Set in the child: the first numbers of writes and of loads, with a comma between.
const FIRST: &str = "NETABASE_CRASH_TEST_FIRST";
/// Set in the child: the name of the backend.
const BACKEND: &str = "NETABASE_CRASH_TEST_BACKEND";
/// Cycles: `NETABASE_CRASH_CYCLES=10000` for a long run.
const CYCLES: u64 = 200;
/// How long a child may take to its first acknowledgement.
const FIRST_ACK: Duration = Duration::from_secs(10);
/// Longest time unless cycles were asked for by number: a slow machine makes fewer.
const MOST_TIME: Duration = Duration::from_secs(40);
/// Cycles that even a slow machine must make.
const LEAST_CYCLES: u64 = 20;
/// A new folder, with another backend, after so many cycles, so that opening stays quick.
const CYCLES_PER_FOLDER: u64 = 50;
/// Rows of one bulk load.
const LOAD_ROWS: i64 = 40;

fn writes() -> TableDef {
    table("writes", 4)
}

fn loads() -> TableDef {
    table("loads", 3)
}

fn open(folder: &Path, backend: BackendKind) -> Store {
    let busy = Settings {
        flush_bytes: 64 << 10,
        checkpoint_log_bytes: 64 << 10,
        log_file_bytes: 16 << 10,
        backend,
        ..settings(folder)
    };
    Store::open(busy).unwrap()
}

fn acknowledge(kind: &str, number: i64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ack {kind} {number}").unwrap();
    out.flush().unwrap();
}

/// Not a test of its own: the process that is killed.
#[test]
fn child_that_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let first = std::env::var(FIRST).unwrap();
    let (first_write, first_load) = first.split_once(',').unwrap();
    let (first_write, first_load): (i64, i64) =
        (first_write.parse().unwrap(), first_load.parse().unwrap());
    let backend: BackendKind = std::env::var(BACKEND).unwrap().parse().unwrap();
    let store = open(folder, backend);
    store.put_table(writes()).unwrap();
    store.put_table(loads()).unwrap();
    // Whoever reopens has the lock alone.
    let shared = Arc::new(RwLock::new(store));
    let (loading, upkeep) = (shared.clone(), shared.clone());
    let path = folder.to_owned();
    std::thread::spawn(move || load_for_ever(&loading, first_load));
    std::thread::spawn(move || maintain_for_ever(&upkeep, &path, backend));
    for number in first_write.. {
        let store = shared.read().unwrap();
        upsert(&store, &writes(), &[number * 2, number * 2 + 1], 10);
        // Keys that meet in every segment, and go to and fro.
        upsert(&store, &writes(), &[-1 - number % 20], 10 + number as u64);
        drop(store);
        acknowledge("write", number);
    }
}

fn load_for_ever(store: &RwLock<Store>, first: i64) {
    for number in first.. {
        let store = store.read().unwrap();
        let keys: Vec<i64> = (0..LOAD_ROWS).map(|row| number * LOAD_ROWS + row).collect();
        let mut load = store.bulk_load(loads().id, stamp(10, "a")).unwrap();
        load.push(&rows(&loads(), &keys, 10)).unwrap();
        load.finish().unwrap();
        drop(store);
        acknowledge("load", number);
    }
}

fn maintain_for_ever(store: &RwLock<Store>, folder: &Path, backend: BackendKind) {
    for round in 0.. {
        std::thread::sleep(Duration::from_millis(3));
        match round % 9 {
            2 => store.read().unwrap().flush_to_segments().unwrap(),
            4 => store.read().unwrap().compact(loads().id).unwrap(),
            6 => store.read().unwrap().compact(writes().id).unwrap(),
            8 => {
                let mut store = store.write().unwrap();
                store.close().unwrap();
                *store = open(folder, backend);
            }
            _ => store.read().unwrap().checkpoint().unwrap(),
        }
    }
}

/// A store that children are killed over.
struct Place {
    dir: tempfile::TempDir,
    backend: BackendKind,
}

impl Place {
    fn new(number: u64) -> Self {
        let backends = [BackendKind::Sqlite, BackendKind::Sled, BackendKind::Redb];
        Self {
            dir: tempfile::tempdir().unwrap(),
            backend: backends[number as usize % backends.len()],
        }
    }
}

/// What was acknowledged so far: numbers of writes and of loads, from 0.
#[derive(Debug, Clone, Copy, Default)]
struct Acknowledged {
    writes: i64,
    loads: i64,
}

fn start_child(place: &Place, next: Acknowledged) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_is_killed", "--nocapture"])
        .env(FOLDER, place.dir.path())
        .env(BACKEND, place.backend.name())
        .env(FIRST, format!("{},{}", next.writes, next.loads))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads acknowledgements until the child is gone; says when the first has come.
fn listen(child: &mut Child, mut told: Acknowledged) -> (JoinHandle<Acknowledged>, Receiver<()>) {
    let out = BufReader::new(child.stdout.take().unwrap());
    let (started, wait) = sync_channel(1);
    let thread = std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            let mut words = line.rsplit(' ');
            let (number, kind) = (words.next(), words.next());
            let Some(number) = number.and_then(|text| text.parse::<i64>().ok()) else {
                continue;
            };
            match kind {
                Some("write") => told.writes = number + 1,
                Some("load") => told.loads = number + 1,
                _ => continue,
            }
            let _ = started.try_send(());
        }
        told
    });
    (thread, wait)
}

/// Starts a child, kills it at a random moment, and returns what it had acknowledged.
fn kill_one(place: &Place, next: Acknowledged, random: &mut Random, early: bool) -> Acknowledged {
    let mut child = start_child(place, next);
    let (thread, wait_for_first) = listen(&mut child, next);
    if early {
        std::thread::sleep(Duration::from_millis(random.below(60)));
    } else {
        let _ = wait_for_first.recv_timeout(FIRST_ACK);
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut complaints = String::new();
    let _ = child.stderr.take().unwrap().read_to_string(&mut complaints);
    assert!(!complaints.contains("panicked"), "{complaints}");
    thread.join().unwrap()
}

/// Checks what is there, and returns it: what was under way may be there as a whole, too.
fn check(store: &Store, told: Acknowledged, cycle: u64) -> Acknowledged {
    let mut found = Acknowledged::default();
    if store.table("writes").is_none() {
        assert_eq!((told.writes, told.loads), (0, 0), "cycle {cycle}");
        return found;
    }
    let written: Vec<i64> = ids(store, writes().id)
        .into_iter()
        .filter(|id| *id >= 0)
        .collect();
    assert_eq!(
        written,
        (0..written.len() as i64).collect::<Vec<_>>(),
        "cycle {cycle}"
    );
    assert_eq!(written.len() % 2, 0, "half a write in cycle {cycle}");
    found.writes = written.len() as i64 / 2;
    check_count(found.writes, told.writes, "writes", cycle);
    check_repeated(&live(store, writes().id), told.writes);
    if store.table("loads").is_some() {
        let loaded = ids(store, loads().id);
        assert_eq!(
            loaded,
            (0..loaded.len() as i64).collect::<Vec<_>>(),
            "cycle {cycle}"
        );
        assert_eq!(
            loaded.len() as i64 % LOAD_ROWS,
            0,
            "half a load in cycle {cycle}"
        );
        found.loads = loaded.len() as i64 / LOAD_ROWS;
    }
    check_count(found.loads, told.loads, "loads", cycle);
    // The second call of the last write may not have happened: the next child repeats both.
    found.writes = (found.writes - 1).max(0);
    found
}

fn check_count(found: i64, told: i64, what: &str, cycle: u64) {
    let fits = found == told || found == told + 1;
    assert!(fits, "{found} {what} instead of {told} in cycle {cycle}");
}

/// The keys that every write changes hold what the last one wrote.
fn check_repeated(rows: &BTreeMap<i64, String>, writes: i64) {
    for number in (writes - 20).max(0)..writes {
        let text = &rows[&(-1 - number % 20)];
        let version: i64 = text.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(version >= 10 + number, "key of write {number}: {text}");
    }
}

/// The digests are those of the rows: writing them to an empty store gives the same.
fn check_digests(store: &Store) {
    for def in [writes(), loads()] {
        if store.table(&def.name).is_none() {
            continue;
        }
        let copy = Store::open(Settings::default()).unwrap();
        copy.put_table(def.clone()).unwrap();
        for shard in 0..def.shards {
            copy.write(store.export_shard(def.id, shard).unwrap())
                .unwrap();
        }
        assert_eq!(
            digests(&copy, def.id),
            digests(store, def.id),
            "{}",
            def.name
        );
    }
}

#[test]
fn every_acknowledged_row_survives() {
    let started = Instant::now();
    let wanted = repeats("NETABASE_CRASH_CYCLES", CYCLES);
    let patient = std::env::var("NETABASE_CRASH_CYCLES").is_ok();
    let mut random = Random::new(repeats("NETABASE_CRASH_SEED", 0x5eed));
    let mut place = Place::new(0);
    let mut next = Acknowledged::default();
    let (mut cycles, mut writing, mut survived) = (0, 0, 0);
    while cycles < wanted && (patient || cycles < LEAST_CYCLES || started.elapsed() < MOST_TIME) {
        if cycles % CYCLES_PER_FOLDER == 0 {
            survived += next.writes + next.loads;
            place = Place::new(cycles / CYCLES_PER_FOLDER);
            next = Acknowledged::default();
        }
        // Every eighth child is killed at any moment, most often while it opens the store; the
        // others once they write, however slow the machine is.
        let told = kill_one(&place, next, &mut random, cycles % 8 == 7);
        writing += u64::from(told.writes + told.loads > next.writes + next.loads);
        cycles += 1;
        let store = open(place.dir.path(), place.backend);
        next = check(&store, told, cycles);
        check_digests(&store);
        store.close().unwrap();
    }
    survived += next.writes + next.loads;
    println!(
        "{cycles} kills, {writing} of them while writing; {survived} writes and loads survived, {:?}",
        started.elapsed()
    );
    assert!(
        writing * 2 > cycles,
        "only {writing} of {cycles} children got to write"
    );
}
