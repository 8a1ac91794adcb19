//! A disk without space: what cannot be done is tried again, and whatever can be done is.

use netabase_store::{Change, Error, ErrorKind, Settings, Store};

use super::run::{Model, Run, Step, compare, main_table, open_on, small};
use super::{Fault, FaultDisk, Kind};
use crate::common::{Random, batches, live, stamp, upsert, wait_for};

fn full(kind: Kind) -> Option<Fault> {
    Some(Fault {
        at: 0,
        kind,
        stays: true,
    })
}

fn new_run(dir: &std::path::Path) -> Run {
    let disk = FaultDisk::new(dir);
    let settings = small(dir, false);
    let store = open_on(&settings, &disk).unwrap();
    Run {
        settings,
        disk,
        store: Some(store),
        model: Model::default(),
        version: 10,
    }
}

fn take(run: &mut Run, step: &Step) -> Result<(), Error> {
    run.take(step).map_err(|(error, _)| error)
}

fn write(ids: std::ops::Range<i64>) -> Step {
    Step::Write {
        side: false,
        change: Change::Upsert,
        ids: ids.collect(),
        late: false,
    }
}

fn files_of(run: &Run, suffix: &str) -> usize {
    let all = run.disk.files().into_iter();
    all.filter(|path| path.to_str().unwrap().ends_with(suffix))
        .count()
}

#[track_caller]
fn assert_full(refused: Result<(), Error>) {
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(!error.to_string().contains("no more writes"), "{error}");
}

/// Everything that needs new files fails, and leaves none behind; writes go on. Then there is space
/// again.
#[test]
fn a_checkpoint_without_space_is_made_when_there_is_some() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = new_run(dir.path());
    for step in [
        Step::Create,
        write(0..40),
        Step::Flush,
        write(20..60),
        Step::Flush,
        write(50..90),
    ] {
        take(&mut run, &step).unwrap();
    }
    let before = (files_of(&run, ".parquet"), files_of(&run, ".idx"));
    run.disk.set_fault(full(Kind::FullBesideLog));
    for round in 0..3 {
        for step in [Step::Flush, Step::Checkpoint, Step::Compact] {
            assert_full(take(&mut run, &step));
            let after = (files_of(&run, ".parquet"), files_of(&run, ".idx"));
            assert_eq!((after, files_of(&run, ".new")), (before, 0), "{step:?}");
            let failure = run.store().health().background.unwrap();
            assert!(failure.contains(dir.path().to_str().unwrap()), "{failure}");
        }
        let late = Step::Write {
            side: false,
            change: Change::Delete,
            ids: (round * 7..round * 7 + 5).collect(),
            late: false,
        };
        take(&mut run, &late).unwrap();
        take(&mut run, &write(80 + round * 5..110)).unwrap();
        compare(run.store(), &run.model).unwrap();
    }
    let failed = run.store().stats().failed_jobs;
    assert_eq!(failed, 9);
    let lost = (
        run.disk.after_power_loss(&mut Random::new(3)),
        run.model.clone(),
    );
    run.disk.set_fault(None);
    take(&mut run, &Step::Checkpoint).unwrap();
    assert_eq!(run.store().health().background, None);
    compare(run.store(), &run.model).unwrap();
    for step in [Step::Compact, Step::Reopen, Step::Flush, Step::Reopen] {
        take(&mut run, &step).unwrap();
        compare(run.store(), &run.model).unwrap();
    }
    assert_eq!(run.store().report().orphans, 0);

    // What was acknowledged without space was on disk, though no checkpoint was.
    run.store = None;
    let store = open_on(&run.settings, &lost.0).unwrap();
    compare(&store, &lost.1).unwrap();
}

/// The checkpoint that failed is made later, as of its own moment, and what a snapshot, a load, a drop
/// or a compaction did in between is kept.
#[test]
fn what_happens_between_two_tries_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = new_run(dir.path());
    for step in [Step::Create, Step::CreateSide, write(0..30), Step::Flush] {
        take(&mut run, &step).unwrap();
    }
    let both = |first: i64| Step::Both((first..first + 20).collect());
    take(&mut run, &both(10)).unwrap();
    for round in 0..4 {
        run.disk.set_fault(full(Kind::FullBesideLog));
        assert_full(take(&mut run, &Step::Flush));
        run.disk.set_fault(None);
        let bulk = |side, first: i64| Step::Bulk {
            side,
            ids: (first..first + 25).collect(),
        };
        let between = match round {
            0 => vec![write(5..15), bulk(false, 0), both(40)],
            1 => vec![bulk(true, 10), write(0..50)],
            2 => vec![Step::DropSide, write(60..70)],
            _ => vec![write(30..45)],
        };
        for step in &between {
            take(&mut run, step).unwrap();
            compare(run.store(), &run.model).unwrap();
        }
        if round % 2 == 0 {
            run.store = None;
            run.disk = run.disk.after_power_loss(&mut Random::new(round));
            run.store = Some(open_on(&run.settings, &run.disk).unwrap());
        } else {
            take(&mut run, &Step::Compact).unwrap();
            take(&mut run, &Step::Reopen).unwrap();
        }
        compare(run.store(), &run.model).unwrap();
        if round < 2 {
            take(&mut run, &both(round as i64 * 13)).unwrap();
        } else {
            take(&mut run, &write(round as i64 * 13..90)).unwrap();
        }
    }
}

/// A write that finds no space is refused as a whole, and the next one is taken.
#[test]
fn a_write_without_space_is_refused_alone() {
    let dir = tempfile::tempdir().unwrap();
    for kind in [Kind::Full, Kind::Short] {
        let mut run = new_run(dir.path());
        take(&mut run, &Step::Create).unwrap();
        for first in 0..40 {
            run.disk.set_fault(full(kind));
            assert_full(take(&mut run, &write(first..first + 30)));
            compare(run.store(), &run.model).unwrap();
            run.disk.set_fault(None);
            take(&mut run, &write(first..first + 20)).unwrap();
        }
        compare(run.store(), &run.model).unwrap();
        run.store = None;
        run.disk = run.disk.after_power_loss(&mut Random::new(5));
        run.store = Some(open_on(&run.settings, &run.disk).unwrap());
        compare(run.store(), &run.model).unwrap();
    }
}

fn write_until_due(store: &Store, version: &mut u64) {
    let before = store.stats().checkpoints + store.stats().failed_jobs;
    wait_for("nothing was due", || {
        *version += 10;
        let ids: Vec<i64> = (0..500).collect();
        upsert(store, &main_table(), &ids, *version);
        store.stats().checkpoints + store.stats().failed_jobs > before
    });
}

/// Nobody asks for it: the background tries again by itself, and not all the time.
#[test]
fn the_background_tries_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultDisk::new(dir.path());
    let settings = Settings {
        log_file_bytes: 1 << 20,
        ..small(dir.path(), true)
    };
    let store = open_on(&settings, &disk).unwrap();
    store.put_table(main_table()).unwrap();
    let mut version = 10;
    disk.set_fault(full(Kind::FullBesideLog));
    write_until_due(&store, &mut version);
    for _ in 0..50 {
        version += 10;
        let rows = batches(&main_table(), Change::Upsert, &[1, 2], &stamp(version, "a"));
        store.write(rows).unwrap();
    }
    let health = store.health();
    assert!(health.failed.is_none() && health.background.is_some());
    assert!(store.stats().failed_jobs < 5);
    assert_eq!(store.stats().checkpoints, 0);
    disk.set_fault(None);
    wait_for("no checkpoint was made", || store.stats().checkpoints > 0);
    wait_for("the failure is still shown", || {
        store.health().background.is_none()
    });
    let rows = live(&store, main_table().id);
    store.close().unwrap();
    let store = open_on(&settings, &disk).unwrap();
    assert_eq!(live(&store, main_table().id), rows);
}
