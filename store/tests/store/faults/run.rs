//! A store on a faulty disk, and what it must hold.

use std::collections::BTreeMap;
use std::path::Path;

use netabase_store::{
    BackendKind, Change, Components, Digest, Error, Settings, Stamp, Store, TableDef, Version,
};

use super::FaultDisk;
use crate::common::{Random, batches, digests, live, rows, settings, stamp, table};

/// Keys are below this, so that most of them meet.
const KEYS: u64 = 120;
pub(super) const SHARDS: u32 = 3;

/// What a key holds: its newest stamp, and whether it is a row.
type Records = BTreeMap<i64, (u64, &'static str, bool)>;

/// What acknowledged operations made of the store. `None`: the table is not there, or was dropped.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Model {
    pub(super) main: Option<Records>,
    pub(super) side: Option<Records>,
    side_dropped: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Create,
    CreateSide,
    DropSide,
    Write {
        side: bool,
        change: Change,
        ids: Vec<i64>,
        late: bool,
    },
    /// Rows and deletes of both tables in one write.
    Both(Vec<i64>),
    Bulk {
        side: bool,
        ids: Vec<i64>,
    },
    Checkpoint,
    Flush,
    Compact,
    Reopen,
}

/// Quick to open, and with files of a few kilobytes, so that there are many of each.
pub(super) fn small(root: &Path, background: bool) -> Settings {
    Settings {
        backend: BackendKind::Memory,
        background,
        log_file_bytes: 4 << 10,
        flush_bytes: 64 << 10,
        checkpoint_log_bytes: 64 << 10,
        cache_bytes: Some(0),
        ..settings(root)
    }
}

pub(super) fn open_on(settings: &Settings, disk: &FaultDisk) -> Result<Store, Error> {
    let components = Components {
        disk: Some(std::sync::Arc::new(disk.clone())),
        ..Components::default()
    };
    Store::open_with(settings.clone(), components, |_, _| {})
}

pub(super) fn main_table() -> TableDef {
    table("main", SHARDS)
}

pub(super) fn side_table() -> TableDef {
    table("side", 1)
}

fn def_of(side: bool) -> TableDef {
    if side { side_table() } else { main_table() }
}

/// A store, its disk, and what it must hold.
pub(super) struct Run {
    pub(super) settings: Settings,
    pub(super) disk: FaultDisk,
    pub(super) store: Option<Store>,
    pub(super) model: Model,
    pub(super) version: u64,
}

impl Run {
    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Takes a step. When it fails, gives what the store holds if it took effect all the same.
    pub(super) fn take(&mut self, step: &Step) -> Result<(), (Error, Model)> {
        self.version += 10;
        let after = self.after(step);
        match self.try_take(step) {
            Ok(()) => {
                self.model = after;
                Ok(())
            }
            Err(error) => Err((error, after)),
        }
    }

    fn stamp(&self, late: bool) -> Stamp {
        let version = if late {
            self.version / 20 * 10
        } else {
            self.version
        };
        stamp(version, if version % 20 == 0 { "a" } else { "b" })
    }

    fn after(&self, step: &Step) -> Model {
        let mut after = self.model.clone();
        match step {
            Step::Create => after.main = Some(after.main.unwrap_or_default()),
            Step::CreateSide if !after.side_dropped => {
                after.side = Some(after.side.unwrap_or_default());
            }
            Step::DropSide => {
                after.side = None;
                after.side_dropped = true;
            }
            Step::Write {
                side,
                change,
                ids,
                late,
            } => {
                let stamp = self.stamp(*late);
                note(&mut after, *side, ids, &stamp, *change == Change::Upsert);
            }
            Step::Both(ids) => {
                note(&mut after, false, ids, &self.stamp(false), true);
                note(&mut after, true, ids, &self.stamp(false), false);
            }
            Step::Bulk { side, ids } => note(&mut after, *side, ids, &self.stamp(false), true),
            _ => {}
        }
        after
    }

    fn try_take(&mut self, step: &Step) -> Result<(), Error> {
        if matches!(step, Step::Reopen) {
            let closed = self.store.take().unwrap().close();
            self.store = Some(open_on(&self.settings, &self.disk)?);
            return closed;
        }
        let store = self.store();
        match step {
            Step::Create => store.put_table(main_table()).map(drop),
            Step::CreateSide => store.put_table(side_table()).map(drop),
            Step::DropSide => store
                .put_table(TableDef {
                    dropped: Some(Version(2)),
                    ..side_table()
                })
                .map(drop),
            Step::Write {
                side,
                change,
                ids,
                late,
            } => store
                .write(batches(&def_of(*side), *change, ids, &self.stamp(*late)))
                .map(drop),
            Step::Both(ids) => {
                let mut all = batches(&main_table(), Change::Upsert, ids, &self.stamp(false));
                all.extend(batches(
                    &side_table(),
                    Change::Delete,
                    ids,
                    &self.stamp(false),
                ));
                store.write(all).map(drop)
            }
            Step::Bulk { side, ids } => self.bulk(&def_of(*side), ids),
            Step::Checkpoint => store.checkpoint(),
            Step::Flush => store.flush_to_segments(),
            Step::Compact => store.compact(main_table().id),
            Step::Reopen => Ok(()),
        }
    }

    fn bulk(&self, def: &TableDef, ids: &[i64]) -> Result<(), Error> {
        let stamp = self.stamp(false);
        let mut load = self.store().bulk_load(def.id, stamp.clone())?;
        let (first, last) = ids.split_at(ids.len() / 2);
        load.push(&rows(def, last, stamp.version.0))?;
        load.push(&rows(def, first, stamp.version.0))?;
        load.finish().map(drop)
    }
}

fn note(model: &mut Model, side: bool, ids: &[i64], stamp: &Stamp, row: bool) {
    let records = if side {
        &mut model.side
    } else {
        &mut model.main
    };
    let Some(records) = records else { return };
    let author = if &*stamp.author == "a" { "a" } else { "b" };
    for id in ids {
        let entry = records.entry(*id).or_insert((0, "", false));
        *entry = (*entry).max((stamp.version.0, author, row));
    }
}

/// A random step that can be taken now.
pub(super) fn random_step(model: &Model, random: &mut Random) -> Step {
    let both = model.main.is_some() && model.side.is_some();
    let side = model.side.is_some() && (model.main.is_none() || random.below(4) == 0);
    let late = random.below(6) == 0;
    let mut ids: Vec<i64> = Vec::new();
    let most = [1, 8, 60][random.below(3) as usize];
    for _ in 0..=random.below(most) {
        ids.push(random.below(KEYS) as i64);
    }
    ids.sort_unstable();
    ids.dedup();
    if model.main.is_none() {
        return Step::Create;
    }
    match random.below(24) {
        0..=7 => Step::Write {
            side,
            change: Change::Upsert,
            ids,
            late,
        },
        8..=10 => Step::Write {
            side,
            change: Change::Delete,
            ids,
            late,
        },
        11..=12 if both => Step::Both(ids),
        11..=15 => Step::Bulk { side, ids },
        16..=17 => Step::Checkpoint,
        18..=19 => Step::Flush,
        20 => Step::Compact,
        21 if both && random.below(3) == 0 => Step::DropSide,
        21 => Step::CreateSide,
        _ => Step::Reopen,
    }
}

/// Fails, saying why, unless the store holds exactly what the model says: rows, tombstones, digests.
pub(super) fn compare(store: &Store, model: &Model) -> Result<(), String> {
    for (def, records) in [(main_table(), &model.main), (side_table(), &model.side)] {
        let there = store.table(&def.name).is_some();
        let Some(records) = records else {
            if there {
                return Err(format!("table {} is there", def.name));
            }
            continue;
        };
        if !there {
            return Err(format!("table {} is not there", def.name));
        }
        let expected: BTreeMap<i64, String> = records
            .iter()
            .filter(|(_, (_, _, row))| *row)
            .map(|(id, (version, ..))| (*id, format!("row {id} written at version {version}")))
            .collect();
        let found = live(store, def.id);
        if found != expected {
            return Err(format!(
                "table {}:\n{found:?}\ninstead of\n{expected:?}",
                def.name
            ));
        }
        let digest = digests(store, def.id);
        if digest != digests_of(&def, records) {
            return Err(format!(
                "table {}: other digests than its records",
                def.name
            ));
        }
        if digest != exported(store, &def) {
            return Err(format!("table {}: other digests than its export", def.name));
        }
    }
    Ok(())
}

/// The digests of a store that has just these records.
fn digests_of(def: &TableDef, records: &Records) -> Vec<Digest> {
    let copy = Store::open(Settings::default()).unwrap();
    copy.put_table(def.clone()).unwrap();
    let mut groups: BTreeMap<(u64, &str, bool), Vec<i64>> = BTreeMap::new();
    for (id, record) in records {
        groups.entry(*record).or_default().push(*id);
    }
    for ((version, author, row), ids) in groups {
        let change = if row { Change::Upsert } else { Change::Delete };
        copy.write(batches(def, change, &ids, &stamp(version, author)))
            .unwrap();
    }
    digests(&copy, def.id)
}

fn exported(store: &Store, def: &TableDef) -> Vec<Digest> {
    let copy = Store::open(Settings::default()).unwrap();
    copy.put_table(def.clone()).unwrap();
    for shard in 0..def.shards {
        copy.write(store.export_shard(def.id, shard).unwrap())
            .unwrap();
    }
    digests(&copy, def.id)
}
