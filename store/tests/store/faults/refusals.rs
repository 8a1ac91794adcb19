//! Whichever operation of a run the disk refuses: the caller is told, nothing acknowledged is lost.

use std::path::Path;

use netabase_store::{Change, Error, ErrorKind};

use super::run::{Model, Run, Step, compare, main_table, open_on, small};
use super::{Fault, FaultDisk, Hit, Kind, Op};
use crate::common::{Random, repeats, upsert};

/// Every so many operations of the run fail in turn: all of them with `NETABASE_FAULT_STEP=1`.
const STEP: u64 = 29;

/// Everything that a store does with its files.
fn script() -> Vec<Step> {
    let ids = |range: std::ops::Range<i64>| range.collect::<Vec<i64>>();
    let write = |change, ids| Step::Write {
        side: false,
        change,
        ids,
        late: false,
    };
    vec![
        Step::Create,
        Step::CreateSide,
        write(Change::Upsert, ids(0..30)),
        Step::Both(ids(10..20)),
        write(Change::Delete, ids(5..8)),
        Step::Bulk {
            side: false,
            ids: ids(20..50),
        },
        Step::Bulk {
            side: true,
            ids: ids(0..15),
        },
        Step::Checkpoint,
        write(Change::Upsert, ids(40..60)),
        Step::Flush,
        write(Change::Upsert, ids(0..100)),
        write(Change::Delete, ids(45..55)),
        Step::Bulk {
            side: false,
            ids: ids(50..70),
        },
        Step::Reopen,
        Step::Compact,
        Step::DropSide,
        Step::Checkpoint,
        Step::Reopen,
        write(Change::Upsert, ids(90..120)),
        Step::Reopen,
    ]
}

fn new_run(root: &Path) -> Run {
    Run {
        settings: small(root, false),
        disk: FaultDisk::new(root),
        store: None,
        model: Model::default(),
        version: 10,
    }
}

/// What became of a run.
struct Told {
    /// The first error that a caller got, and what its call was about to make of the store.
    error: Option<(Error, Model)>,
    /// What the disk refused.
    hit: Vec<Hit>,
}

fn run_with(run: &mut Run, fault: Fault) -> Told {
    run.disk.set_fault(Some(fault));
    let mut error = match open_on(&run.settings, &run.disk) {
        Ok(store) => {
            run.store = Some(store);
            None
        }
        Err(error) => Some((error, run.model.clone())),
    };
    if error.is_none() {
        error = script().iter().find_map(|step| run.take(step).err());
    }
    let hit = run.disk.hit();
    Told { error, hit }
}

fn names_file(error: &Error, hit: &[Hit]) -> bool {
    let text = error.to_string();
    hit.iter().any(|Hit { path, .. }| {
        // A checkpoint is written under another name first.
        let stem = path.with_extension("");
        text.contains(path.to_str().unwrap()) || text.contains(stem.to_str().unwrap())
    })
}

/// Whether the disk may have lost something without saying so later: a sync or a rename of log,
/// checkpoint or their folders failed, or a write to the log that could not be cut off. That zeros
/// cannot be cut off takes nothing.
fn is_in_doubt(hit: &[Hit]) -> bool {
    let any = |ops: &[Op]| {
        hit.iter().any(|Hit { path, op }| {
            let folder = path.parent().unwrap();
            let is = |name| path.ends_with(name) || folder.ends_with(name);
            ops.contains(op) && (is("log") || is("checkpoints"))
        })
    };
    any(&[Op::Sync, Op::Rename]) || any(&[Op::Cut]) && any(&[Op::Grow, Op::Overwrite])
}

/// After an error: reads go on, and so do writes if nothing is in doubt.
fn check_running(run: &Run, told: &Told, fault: Fault, what: &str) {
    let Some(store) = &run.store else { return };
    if store.table("main").is_none() {
        return;
    }
    // A disk that reads nothing at all cannot be read; any other can.
    if fault.kind == Kind::Broken {
        run.disk.set_fault(None);
    }
    compare(store, &run.model).unwrap_or_else(|reason| panic!("{what}: running: {reason}"));
    run.disk.set_fault(None);
    let refused = store.put_table(crate::common::table("other", 1)).err();
    if told.error.is_some() && is_in_doubt(&told.hit) {
        let refused = refused.unwrap_or_else(|| panic!("{what}: it still takes writes"));
        assert_eq!(refused.kind(), ErrorKind::Io, "{what}: {refused}");
        let text = refused.to_string();
        assert!(text.contains("no more writes"), "{what}: {text}");
        assert!(store.health().failed.is_some(), "{what}");
        let refused = store.meta_put("peers", b"k", b"v").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Io, "{what}: {refused}");
        return;
    }
    // Writing took place or it did not, and what was begun could be taken back.
    let full = matches!(fault.kind, Kind::Full | Kind::Short);
    let wrote = |hit: &Hit| matches!(hit.op, Op::Grow | Op::Overwrite | Op::Cut);
    let wrote = told.hit.iter().all(wrote);
    if full || !fault.stays && wrote {
        assert!(refused.is_none(), "{what}: {}", refused.unwrap());
        assert_eq!(store.health().failed, None, "{what}");
        store.meta_put("peers", b"k", b"v").unwrap();
    }
}

/// What is acknowledged after a refusal, if anything is, survives the loss of power.
fn go_on_and_lose_power(run: &mut Run, maybe: &mut Model, what: &str) {
    if run.store.is_some() && run.model.main.is_some() {
        let ids: Vec<i64> = (200..210).collect();
        if run.take(&Step::Bulk { side: false, ids }).is_ok() {
            let ids = vec![207, 300];
            let last = Step::Write {
                side: false,
                change: Change::Upsert,
                ids,
                late: false,
            };
            if let Err((error, _)) = run.take(&last) {
                panic!("{what}: a load was taken, then a write refused: {error}");
            }
            *maybe = run.model.clone();
        }
    }
    run.store = None;
    run.disk = run.disk.after_power_loss(&mut Random::new(run.disk.ops()));
}

/// What is on the disk is one of the two states, and the store works.
fn check_reopened(run: &mut Run, maybe: &Model, what: &str) {
    run.store = None;
    run.disk.set_fault(None);
    let failed = |reason: String| -> ! { panic!("{what}: after opening again: {reason}") };
    let store = open_on(&run.settings, &run.disk).unwrap_or_else(|error| failed(error.to_string()));
    // The check while it was running may have made this one.
    if let Err(without) = compare(&store, &run.model) {
        compare(&store, maybe).unwrap_or_else(|with| failed(format!("{without}\nnor: {with}")));
    }
    store.put_table(main_table()).unwrap();
    upsert(&store, &main_table(), &[500], 1);
    store.flush_to_segments().unwrap();
    store.compact(main_table().id).unwrap();
    let rows = crate::common::live(&store, main_table().id);
    store.close().unwrap();
    let store = open_on(&run.settings, &run.disk).unwrap();
    assert_eq!(crate::common::live(&store, main_table().id), rows, "{what}");
}

#[test]
fn whatever_the_disk_refuses_is_reported_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut whole = new_run(dir.path());
    let never = Fault {
        at: u64::MAX,
        kind: Kind::Broken,
        stays: false,
    };
    let told = run_with(&mut whole, never);
    assert!(told.error.is_none() && told.hit.is_empty());
    let all = whole.disk.ops();
    drop(whole);
    let (mut runs, mut reported) = (0, 0);
    let kinds = [
        (Kind::Full, false),
        (Kind::Short, true),
        (Kind::Broken, false),
        (Kind::Broken, true),
        (Kind::ReadOnly, true),
    ];
    let step = repeats("NETABASE_FAULT_STEP", STEP);
    for (number, (kind, stays)) in (0..).zip(kinds) {
        for at in (number % step..all).step_by(step as usize) {
            let what = format!("operation {at} of {all}, {kind:?}, stays {stays}");
            let mut run = new_run(dir.path());
            let fault = Fault { at, kind, stays };
            let told = run_with(&mut run, fault);
            runs += 1;
            let mut maybe = run.model.clone();
            if let Some((error, after)) = &told.error {
                reported += 1;
                assert_eq!(error.kind(), ErrorKind::Io, "{what}: {error}");
                assert!(
                    names_file(error, &told.hit),
                    "{what}: {error}\n{:?}",
                    told.hit
                );
                maybe = after.clone();
            }
            check_running(&run, &told, fault, &what);
            if at % 2 == 0 {
                go_on_and_lose_power(&mut run, &mut maybe, &what);
            }
            check_reopened(&mut run, &maybe, &what);
        }
    }
    println!("{all} operations, {runs} runs, {reported} refusals reported");
    assert!(reported * 3 > runs);
}

/// Zeros that cannot be cut off refuse the write that wanted another file, and nothing else.
#[test]
fn zeros_that_cannot_be_cut_off_take_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = new_run(dir.path());
    run.store = Some(open_on(&run.settings, &run.disk).unwrap());
    let take = |run: &mut Run, step: &Step| run.take(step).map_err(|(error, _)| error);
    let write = |id| Step::Write {
        side: false,
        change: Change::Upsert,
        ids: vec![id],
        late: false,
    };
    take(&mut run, &Step::Create).unwrap();
    let uncut = Fault {
        at: 0,
        kind: Kind::Uncut,
        stays: true,
    };
    run.disk.set_fault(Some(uncut));
    let refused = (0..200).find_map(|id| take(&mut run, &write(id)).err());
    let refused = refused.unwrap();
    assert_eq!(refused.kind(), ErrorKind::Io);
    assert!(refused.to_string().contains("cut zeros off"), "{refused}");
    assert_eq!(run.store().health().failed, None);
    compare(run.store(), &run.model).unwrap();
    run.disk.set_fault(None);
    for id in 200..240 {
        take(&mut run, &write(id)).unwrap();
    }
    run.disk.set_fault(Some(uncut));
    run.store.take().unwrap().close().unwrap();
    assert!(!run.disk.hit().is_empty());
    run.disk.set_fault(None);
    let store = open_on(&run.settings, &run.disk).unwrap();
    assert!(store.report().zeros_ahead > 0 && store.report().torn_tail.is_none());
    compare(&store, &run.model).unwrap();
    store.close().unwrap();
    let store = open_on(&run.settings, &run.disk).unwrap();
    assert_eq!(store.report().zeros_ahead, 0);
    compare(&store, &run.model).unwrap();
}

/// Whatever a load was refused, and whatever the failed syncs lost: the next one that is taken stays.
#[test]
fn a_load_after_a_refused_one_survives_the_loss_of_power() {
    let dir = tempfile::tempdir().unwrap();
    for at in 0..80 {
        let mut run = new_run(dir.path());
        run.store = Some(open_on(&run.settings, &run.disk).unwrap());
        run.take(&Step::Create).map_err(|(error, _)| error).unwrap();
        let load = |first: i64| Step::Bulk {
            side: false,
            ids: (first..first + 20).collect(),
        };
        run.disk.set_fault(Some(Fault {
            at,
            kind: Kind::Broken,
            stays: false,
        }));
        let mut maybe = run.model.clone();
        if let Err((_, after)) = run.take(&load(0)) {
            maybe = after;
        }
        run.disk.set_fault(None);
        if run.take(&load(100)).is_ok() {
            maybe = run.model.clone();
        }
        run.store = None;
        run.disk = run.disk.after_power_loss(&mut Random::new(at));
        check_reopened(&mut run, &maybe, &format!("operation {at}"));
    }
}
