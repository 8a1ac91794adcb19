//! Changes of definitions that are broken off, that meet, or that take long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use netabase_sql::store::{ErrorKind, Settings, Store, Version};
use netabase_sql::{Engine, EngineSettings, LocalCluster, table_id};
use tokio::task::JoinHandle;

use crate::common::{engine, engine_with, failure, rows, run, value};

/// How long a condition may take to hold, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a statement is broken off until it is in its middle.
const TRIES: usize = 100;

/// Where the function `gate` waits.
#[derive(Default)]
struct Gate {
    reached: AtomicBool,
    open: AtomicBool,
}

impl Gate {
    /// Gives a session the function `gate`, which gives its value back once the gate is open.
    fn build(engine: &Engine) -> Arc<Self> {
        Self::of(engine, Volatility::Volatile)
    }

    fn of(engine: &Engine, volatility: Volatility) -> Arc<Self> {
        let gate = Arc::new(Self::default());
        let inside = Arc::clone(&gate);
        let function = create_udf(
            "gate",
            vec![DataType::Int64],
            DataType::Int64,
            volatility,
            Arc::new(move |values: &[ColumnarValue]| {
                inside.reached.store(true, Ordering::SeqCst);
                wait_for(&inside.open);
                Ok(values[0].clone())
            }),
        );
        engine.context().register_udf(function);
        gate
    }

    fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

fn wait_for(flag: &AtomicBool) {
    let began = Instant::now();
    while !flag.load(Ordering::SeqCst) {
        assert!(began.elapsed() < PATIENCE, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

type Running = JoinHandle<Result<(), netabase_sql::store::Error>>;

/// Begins a statement with `gate` in it, and returns when it is there.
async fn begun(engine: &Engine, text: &str) -> (Running, Arc<Gate>) {
    let session = engine.session();
    let gate = Gate::build(&session);
    let text = text.to_owned();
    let running = tokio::spawn(async move { session.sql(&text).await.map(|_| ()) });
    let inside = Arc::clone(&gate);
    tokio::task::spawn_blocking(move || wait_for(&inside.reached))
        .await
        .unwrap();
    (running, gate)
}

/// Begins a statement, and drops it in its middle, or after: how far it comes depends on the machine.
async fn broken_off(engine: &Engine, text: &str) {
    let (running, gate) = begun(engine, text).await;
    running.abort();
    gate.open();
    match running.await {
        Ok(done) => done.unwrap(),
        Err(error) => assert!(error.is_cancelled()),
    }
}

/// Runs a statement, again if another one is just being brought to its end.
async fn run_in_turn(engine: &Engine, text: &str) {
    let began = Instant::now();
    loop {
        match engine.sql(text).await {
            Ok(_) => return,
            Err(error) => {
                let waits = [ErrorKind::Conflict, ErrorKind::Unavailable].contains(&error.kind());
                assert!(waits && began.elapsed() < PATIENCE, "{text}: {error}");
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

const ALTER: &str = "ALTER TABLE t ALTER COLUMN v TYPE BIGINT USING gate(v)";

async fn with_table(engine: &Engine) {
    run(
        engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT);
         INSERT INTO t SELECT value AS k, value AS v FROM generate_series(1, 100)",
    )
    .await;
}

/// How many tables of this name live, seen or not.
fn living(engine: &Engine, name: &str) -> usize {
    let all = engine.store().all_tables();
    let mut living = all.into_iter().filter(|def| def.dropped.is_none());
    living.by_ref().filter(|def| def.name == name).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_alter_that_is_broken_off_loses_nothing() {
    let engine = engine();
    with_table(&engine).await;
    broken_off(&engine, ALTER).await;
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "100");
    run_in_turn(&engine, "ALTER TABLE t ADD COLUMN w INT DEFAULT 1").await;
    assert_eq!(value(&engine, "SELECT sum(w) FROM t").await, "100");
    assert_eq!(living(&engine, "t"), 1);
    run(&engine, "INSERT INTO t VALUES (101, 1, 1)").await;
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "101");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_dropped_after_an_alter_was_broken_off_stays_away() {
    for _ in 0..20 {
        let engine = engine();
        with_table(&engine).await;
        broken_off(&engine, ALTER).await;
        run_in_turn(&engine, "DROP TABLE t").await;
        assert_eq!(
            failure(&engine, "SELECT * FROM t").await.0,
            ErrorKind::NotFound
        );
        // The copy goes as soon as whoever made it sees that.
        let began = Instant::now();
        while living(&engine, "t") > 0 {
            assert!(began.elapsed() < PATIENCE, "the copy stays");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        with_table(&engine).await;
    }
}

/// Tables that databases without a network make in the same moment have the same id.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_another_database_works_on_is_not_in_work_here() {
    let (engine, other) = (engine(), engine());
    with_table(&other).await;
    let (running, gate) = begun(&other, ALTER).await;
    for def in other.store().all_tables() {
        engine.store().put_table(def.as_ref().clone()).unwrap();
    }
    assert_eq!(living(&engine, "t"), 2);
    run(&engine, "DROP TABLE t").await;
    assert_eq!(living(&engine, "t"), 0);
    gate.open();
    running.await.unwrap().unwrap();
    assert_eq!(value(&other, "SELECT count(*) FROM t").await, "100");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_dropped_during_an_alter_stays_away() {
    let engine = engine();
    with_table(&engine).await;
    let (running, gate) = begun(&engine, ALTER).await;
    run(&engine, "DROP TABLE t").await;
    gate.open();
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(
        failure(&engine, "SELECT * FROM t").await.0,
        ErrorKind::NotFound
    );
    assert_eq!(living(&engine, "t"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_definition_is_changed_by_one_statement_at_a_time() {
    let engine = engine();
    with_table(&engine).await;
    let (running, gate) = begun(&engine, ALTER).await;
    for other in [
        "ALTER TABLE t ADD COLUMN w INT",
        "ALTER TABLE t RENAME COLUMN v TO w",
        "ALTER TABLE t RENAME TO u",
        "ALTER TABLE t SET (ttl = '1h')",
        "COMMENT ON TABLE t IS 'numbers'",
        "CREATE INDEX t_v ON t (v)",
    ] {
        let (kind, text) = failure(&engine, other).await;
        assert_eq!(kind, ErrorKind::Conflict, "{other}: {text}");
        let write = failure(&engine, "INSERT INTO t VALUES (101, 1)").await;
        assert_eq!(write.0, ErrorKind::Unavailable, "{other}: {}", write.1);
    }
    gate.open();
    running.await.unwrap().unwrap();
    assert_eq!(value(&engine, "SELECT count(v) FROM t").await, "100");
    assert_eq!(living(&engine, "t"), 1);
    run(
        &engine,
        "COMMENT ON TABLE t IS 'numbers'; INSERT INTO t VALUES (101, 1)",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_written_after_a_freeze_has_ended_is_not_lost() {
    let engine = engine();
    with_table(&engine).await;
    let (running, gate) = begun(&engine, ALTER).await;
    let clock = engine.store().clock();
    let later = clock.now().millis() + 290_000;
    assert!(clock.observe(Version(later << 16)));
    engine.sql("INSERT INTO t VALUES (101, 1)").await.unwrap();
    gate.open();
    let error = running.await.unwrap().unwrap_err();
    assert!(
        error.to_string().contains("run the statement again"),
        "{error}"
    );
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "101");
    assert_eq!(living(&engine, "t"), 1);
    run(&engine, "ALTER TABLE t ADD COLUMN w INT").await;
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "101");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_looked_at_before_a_check_was_added_is_not_written() {
    let engine = engine();
    with_table(&engine).await;
    for insert in [
        "INSERT INTO t SELECT 1000, gate(-5)",
        "UPDATE t SET v = gate(-5) WHERE k = 1",
        "INSERT INTO t SELECT value, CASE value WHEN 1000 THEN gate(-5) ELSE 1 END FROM generate_series(1000, 200000)",
    ] {
        let (running, gate) = begun(&engine, insert).await;
        run(&engine, "ALTER TABLE t ADD CONSTRAINT above CHECK (v > 0)").await;
        gate.open();
        let error = running.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{insert}: {error}");
        assert_eq!(value(&engine, "SELECT min(v) FROM t").await, "1");
        assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "100");
        run(&engine, "ALTER TABLE t DROP CONSTRAINT above").await;
    }
}

fn open(dir: &std::path::Path) -> Engine {
    let settings = Settings {
        data_dir: Some(dir.to_path_buf()),
        background: false,
        ..Settings::default()
    };
    let store = Store::open(settings).unwrap();
    let cluster = Arc::new(LocalCluster::new(store.clone(), "me"));
    Engine::new(store, cluster, EngineSettings::default(), Ok).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_not_finished_is_gone_when_the_folder_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    with_table(&engine).await;
    let create = "CREATE TABLE u AS SELECT gate(k) AS k FROM t";
    let mut engine = engine;
    for (statement, left) in [(ALTER, (2, 0)), (create, (1, 1))] {
        let mut halves = 0;
        for _ in 0..TRIES {
            broken_off(&engine, statement).await;
            let half = (living(&engine, "t"), living(&engine, "u")) == left;
            engine.close_writes(PATIENCE).await.unwrap();
            let shown = engine.store().table("u").is_some();
            engine.store().close().unwrap();
            engine = open(dir.path());
            engine.discard_unfinished().await;
            assert_eq!(living(&engine, "t"), 1);
            assert_eq!(living(&engine, "u"), usize::from(shown));
            assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "100");
            if half && !shown {
                halves += 1;
                break;
            }
            run(&engine, "DROP TABLE IF EXISTS u").await;
        }
        assert_eq!(halves, 1, "{statement} was never broken off in its middle");
    }
    run(&engine, "INSERT INTO t VALUES (101, 1)").await;
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "101");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_table_is_seen_with_all_its_rows() {
    let engine = engine();
    with_table(&engine).await;
    for kind in ["TABLE", "MATERIALIZED VIEW"] {
        let create = format!("CREATE {kind} u AS SELECT gate(k) AS k FROM t");
        let (running, gate) = begun(&engine, &create).await;
        assert_eq!(
            failure(&engine, "SELECT * FROM u").await.0,
            ErrorKind::NotFound
        );
        gate.open();
        running.await.unwrap().unwrap();
        assert_eq!(value(&engine, "SELECT count(*) FROM u").await, "100");
        run(&engine, &format!("DROP {kind} u")).await;
    }
    let (running, gate) = begun(&engine, "CREATE TABLE u AS SELECT gate(k) AS k FROM t").await;
    run(&engine, "CREATE TABLE u (mine INT PRIMARY KEY)").await;
    gate.open();
    assert_eq!(
        running.await.unwrap().unwrap_err().kind(),
        ErrorKind::Conflict
    );
    run(&engine, "INSERT INTO u VALUES (1)").await;
    assert_eq!(living(&engine, "u"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_that_break_a_new_check_do_not_pass_it() {
    let engine = engine();
    with_table(&engine).await;
    let session = engine.session();
    let gate = Gate::of(&session, Volatility::Immutable);
    let adding = session.clone();
    let running = tokio::spawn(async move {
        let text = "ALTER TABLE t ADD CONSTRAINT c CHECK (gate(v) > 0)";
        adding.sql(text).await.map(|_| ())
    });
    let inside = Arc::clone(&gate);
    let reached = tokio::task::spawn_blocking(move || wait_for(&inside.reached));
    reached.await.unwrap();
    let (_, text) = failure(&engine, "INSERT INTO t VALUES (101, -1)").await;
    assert!(text.contains("being altered"), "{text}");
    gate.open();
    running.await.unwrap().unwrap();
    let (_, text) = failure(&session, "INSERT INTO t VALUES (101, -1)").await;
    assert!(text.contains("violates check"), "{text}");
    run(&session, "INSERT INTO t VALUES (101, 1)").await;
    let refused = failure(&session, "ALTER TABLE t ADD CHECK (v > 1)").await;
    assert!(refused.1.contains("violate"), "{refused:?}");
    run(&session, "INSERT INTO t VALUES (102, 1)").await;
    run(&session, "ALTER TABLE t DROP CONSTRAINT c").await;
}

/// What a crash left before definitions said whether they are finished.
#[tokio::test]
async fn half_a_copy_of_an_older_release_is_never_seen() {
    let engine = engine();
    with_table(&engine).await;
    let store = engine.store();
    let old = store.table("t").unwrap();
    let mut copy = old.as_ref().clone();
    copy.created = store.clock().now();
    copy.id = table_id("t", "me", copy.created);
    copy.options.rules.replaces = Some(old.id);
    store.put_table(copy).unwrap();
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "100");
    run(&engine, "ALTER TABLE t ADD COLUMN w INT").await;
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "100");
    run(&engine, "DROP TABLE t").await;
    assert_eq!(living(&engine, "t"), 0);
}

/// A table that such a release altered goes on to be one.
#[tokio::test]
async fn a_table_that_an_older_release_altered_is_seen() {
    let engine = engine();
    with_table(&engine).await;
    let store = engine.store();
    let mut old = store.table("t").unwrap().as_ref().clone();
    let mut new = old.clone();
    new.created = store.clock().now();
    new.id = table_id("t", "me", new.created);
    new.options.rules.replaces = Some(old.id);
    store.put_table(new).unwrap();
    old.dropped = Some(store.clock().now());
    store.put_table(old).unwrap();
    run(
        &engine,
        "INSERT INTO t VALUES (1, 1); ALTER TABLE t ADD COLUMN w INT",
    )
    .await;
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_rows_than_fit_in_memory_are_copied() {
    let engine = engine_with(EngineSettings {
        max_insert_bytes: 8 << 20,
        statement_timeout: Duration::from_secs(600),
        ..EngineSettings::default()
    });
    run(&engine, "CREATE TABLE t (k BIGINT PRIMARY KEY, v TEXT)").await;
    for first in (0..80).step_by(10) {
        let text = format!(
            "INSERT INTO t SELECT value, repeat('x', 500000) FROM generate_series({first}, {})",
            first + 9
        );
        run(&engine, &text).await;
    }
    run(&engine, "ALTER TABLE t ADD COLUMN w INT DEFAULT 1").await;
    let counted = "SELECT count(*), sum(w), sum(length(v)) FROM t";
    assert_eq!(rows(&engine, counted).await, [["80", "80", "40000000"]]);
    run(&engine, "CREATE TABLE u AS SELECT * FROM t").await;
    assert_eq!(value(&engine, "SELECT count(*) FROM u").await, "80");
    let (kind, text) = failure(
        &engine,
        "CREATE TABLE w (PRIMARY KEY (v)) AS SELECT v, k FROM t",
    )
    .await;
    assert_eq!(kind, ErrorKind::Conflict, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn definitions_take_as_long_as_they_take() {
    let engine = engine();
    with_table(&engine).await;
    run(&engine, "SET statement_timeout = '20ms'").await;
    let (running, gate) = begun(&engine, ALTER).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    gate.open();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_unique_index_and_rows_that_break_it_do_not_pass_each_other() {
    for round in 0..20 {
        let engine = engine();
        run(
            &engine,
            "CREATE LOCAL TABLE t (k BIGINT PRIMARY KEY, v BIGINT)",
        )
        .await;
        let writers = (0..8).map(|key| {
            let session = engine.session();
            let text = match (key + round) % 2 {
                0 => format!("INSERT INTO t VALUES ({key}, 7)"),
                _ => format!("INSERT INTO t SELECT {key}, 7"),
            };
            tokio::spawn(async move { session.sql(&text).await.is_ok() })
        });
        let writers: Vec<_> = writers.collect();
        let made = engine.sql("CREATE UNIQUE INDEX t_v ON t (v)").await.is_ok();
        let mut written = 0;
        for writer in writers {
            written += usize::from(writer.await.unwrap());
        }
        let there = value(&engine, "SELECT count(*) FROM t").await;
        assert_eq!(there, written.to_string(), "round {round}");
        assert!(!made || written <= 1, "round {round}: {written} rows");
    }
}
