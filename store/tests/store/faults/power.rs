//! Power may go at any moment, and the disk may forget whatever was not synced.

use std::path::Path;
use std::time::{Duration, Instant};

use super::FaultDisk;
use super::run::{Model, Run, Step, compare, open_on, random_step, small};
use crate::common::{Random, repeats};

/// How many seeds: more with `NETABASE_POWER_SEEDS=1000`.
const SEEDS: u64 = 300;
/// The first of them; `NETABASE_POWER_SEED=<number>` repeats one that failed.
const FIRST: u64 = 1;
/// How often the power goes, per seed.
const GENERATIONS: u64 = 3;
/// Steps between two losses of power.
const STEPS: u64 = 24;
/// Longest time for all seeds unless they were asked for by number: a slow machine tries fewer.
const MOST_TIME: Duration = Duration::from_secs(20);

#[test]
fn nothing_acknowledged_is_lost_with_the_power() {
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let first = repeats("NETABASE_POWER_SEED", FIRST);
    let single = std::env::var("NETABASE_POWER_SEED").is_ok();
    let wanted = repeats("NETABASE_POWER_SEEDS", if single { 1 } else { SEEDS });
    let patient = std::env::var("NETABASE_POWER_SEEDS").is_ok();
    let (mut tried, mut losses) = (0, 0);
    for seed in first..first + wanted {
        if !patient && started.elapsed() > MOST_TIME {
            break;
        }
        let lost = one_seed(dir.path(), seed);
        losses += lost.unwrap_or_else(|reason| panic!("NETABASE_POWER_SEED={seed}: {reason}"));
        tried += 1;
    }
    println!(
        "{tried} seeds, {losses} losses of power, {:?}",
        started.elapsed()
    );
}

/// Returns how often the power went while something was under way.
fn one_seed(root: &Path, seed: u64) -> Result<u64, String> {
    let mut random = Random::new(seed);
    let mut run = Run {
        settings: small(root, random.below(3) == 0),
        disk: FaultDisk::new(root),
        store: None,
        model: Model::default(),
        version: 10,
    };
    let mut losses = 0;
    for generation in 0..GENERATIONS {
        let when = format!("generation {generation}");
        let maybe = live_until_the_power_goes(&mut run, &mut random)
            .map_err(|reason| format!("{when}: {reason}"))?;
        losses += u64::from(run.disk.is_crashed());
        run.store = None;
        run.disk = run.disk.after_power_loss(&mut random);
        settle(&mut run, maybe, &mut random).map_err(|reason| format!("{when}: {reason}"))?;
    }
    Ok(losses)
}

/// Takes random steps. Returns what the step under way would have made of the store.
fn live_until_the_power_goes(run: &mut Run, random: &mut Random) -> Result<Model, String> {
    let most = [40, 200, 600][random.below(3) as usize];
    run.disk.crash_at(random.below(most));
    if run.store.is_none() {
        match open_on(&run.settings, &run.disk) {
            Ok(store) => run.store = Some(store),
            Err(_) if run.disk.is_crashed() => return Ok(run.model.clone()),
            Err(error) => return Err(format!("opening: {error}")),
        }
    }
    for _ in 0..STEPS {
        let step = random_step(&run.model, random);
        match run.take(&step) {
            Ok(()) => {}
            Err((_, maybe)) if run.disk.is_crashed() => return Ok(maybe),
            Err((error, _)) => return Err(format!("{step:?}: {error}")),
        }
    }
    Ok(run.model.clone())
}

/// Opens what is left, and finds out which of the two states it is.
fn settle(run: &mut Run, maybe: Model, random: &mut Random) -> Result<(), String> {
    let opened = open_on(&run.settings, &run.disk);
    let store = opened.map_err(|error| format!("opening after the loss: {error}"))?;
    if let Err(without) = compare(&store, &run.model) {
        compare(&store, &maybe).map_err(|with| {
            format!("neither without the last step: {without}\nnor with it: {with}")
        })?;
        run.model = maybe;
    }
    run.store = Some(store);
    // Sometimes the power goes again before anything was written, or while it opens.
    if random.below(4) == 0 {
        run.store = None;
    }
    Ok(())
}

#[test]
fn seeds_repeat() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(7);
    let mut run = Run {
        settings: small(dir.path(), false),
        disk: FaultDisk::new(dir.path()),
        store: None,
        model: Model::default(),
        version: 10,
    };
    run.store = Some(open_on(&run.settings, &run.disk).unwrap());
    for step in [Step::Create, Step::Flush] {
        run.take(&step).map_err(|(error, _)| error).unwrap();
    }
    let again = random.clone();
    let one = run.disk.after_power_loss(&mut random);
    let other = run.disk.after_power_loss(&mut again.clone());
    let bytes =
        |disk: &FaultDisk| -> Vec<_> { disk.files().iter().map(|path| disk.read(path)).collect() };
    assert_eq!(bytes(&one), bytes(&other));
}
