//! The backends of this crate conform; broken ones are caught by the clause that they break.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::*;
use crate::ErrorKind;
use crate::backend::{Batch, KeyValue, MemoryBackend, RedbBackend, SledBackend, SqliteBackend};

const CACHE: u64 = 4 << 20;
/// How long to wait for a lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a batch that is not atomic stays half done: long enough for a reader to see it.
const HALF_DONE: Duration = Duration::from_micros(200);

/// Both checks, on a backend that lives in a folder.
fn conforms<B: Backend + 'static>(open: impl Fn(&Path) -> Result<B>) {
    let dir = tempfile::tempdir().unwrap();
    check(&open(dir.path()).unwrap()).into_result().unwrap();
    check_reopen(|| Ok(Arc::new(open(dir.path())?)))
        .into_result()
        .unwrap();
}

#[test]
fn backend_memory_conforms() {
    let backend = Arc::new(MemoryBackend::new());
    check(&*backend).into_result().unwrap();
    check_reopen(|| Ok(backend.clone())).into_result().unwrap();
}

#[test]
fn backend_sled_conforms() {
    // sled lets go of its lock a moment after it was dropped, as the store knows when it opens one.
    conforms(|folder| {
        let since = Instant::now();
        loop {
            match SledBackend::open(folder, CACHE) {
                Err(error) if error.kind() == ErrorKind::Io && since.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                opened => return opened,
            }
        }
    });
}

#[test]
fn backend_sqlite_conforms() {
    conforms(|folder| SqliteBackend::open(folder, CACHE));
}

#[test]
fn backend_redb_conforms() {
    conforms(|folder| RedbBackend::open(folder, CACHE));
}

/// What is wrong with a backend.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    EmptyValueIsNothing,
    MapsInOneKeySpace,
    MapNamesWithoutCase,
    HalfOfRefusedBatch,
    FirstChangeCounts,
    EndIsIncluded,
    NoLimit,
    UnboundedRangeEndsAt255,
    LongValuesAreCut,
    ManyAreLost,
    AnyMapName,
    WrongKindOfError,
    ListsEmptyMaps,
    ClearsOneMap,
    ChangesOneByOne,
    Panics,
}

/// The backend in memory with one fault.
#[derive(Debug)]
struct Faulty {
    inner: MemoryBackend,
    fault: Fault,
    applied: AtomicU32,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        Self {
            inner: MemoryBackend::new(),
            fault,
            applied: AtomicU32::new(0),
        }
    }

    /// The map and key that stand for this map and key.
    fn place(&self, map: &str, key: &[u8]) -> (String, Vec<u8>) {
        match self.fault {
            Fault::MapsInOneKeySpace if !map.is_empty() && !map.contains('\0') => {
                ("all".to_owned(), [map.as_bytes(), key].concat())
            }
            Fault::MapNamesWithoutCase => (map.to_lowercase(), key.to_vec()),
            Fault::AnyMapName => (format!("{:.100}", format!("{map:?}")), key.to_vec()),
            _ => (map.to_owned(), key.to_vec()),
        }
    }

    fn altered(&self, batch: Batch) -> Vec<Batch> {
        let mut changes = batch.into_changes();
        if self.fault == Fault::FirstChangeCounts {
            changes.reverse();
        }
        let mut one = Batch::new();
        let mut many = Vec::new();
        for change in changes {
            let (map, key) = self.place(&change.map, &change.key);
            match change.value {
                Some(mut value) => {
                    if self.fault == Fault::LongValuesAreCut {
                        value.truncate(65_535);
                    }
                    one.put(&map, key, value);
                }
                None => one.delete(&map, key),
            }
            if matches!(
                self.fault,
                Fault::HalfOfRefusedBatch | Fault::ChangesOneByOne
            ) {
                many.push(std::mem::take(&mut one));
            }
        }
        many.push(one);
        many
    }
}

impl Backend for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }

    fn get(&self, map: &str, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if self.fault == Fault::Panics {
            panic!("on purpose");
        }
        let (map, key) = self.place(map, key);
        let found = self.inner.get(&map, &key);
        match self.fault {
            Fault::EmptyValueIsNothing => Ok(found?.filter(|value| !value.is_empty())),
            Fault::WrongKindOfError => found.map_err(|error| Error::corrupt(error.to_string())),
            _ => found,
        }
    }

    fn apply(&self, batch: Batch) -> Result<()> {
        if self.fault == Fault::ChangesOneByOne {
            // A refused batch is still refused whole: only readers beside it see the difference.
            batch
                .changes()
                .iter()
                .try_for_each(|change| self.inner.get(&change.map, &[]).map(|_| ()))?;
        }
        for (number, part) in self.altered(batch).into_iter().enumerate() {
            self.inner.apply(part)?;
            if self.fault == Fault::ChangesOneByOne && number == 32 {
                std::thread::sleep(HALF_DONE);
            }
        }
        if self.fault == Fault::ManyAreLost && self.applied.fetch_add(1, Ordering::Relaxed) > 25 {
            self.inner.clear()?;
        }
        Ok(())
    }

    fn range(
        &self,
        map: &str,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeyValue>> {
        let after = |end: &[u8]| [end, &[0]].concat();
        let (place, start) = self.place(map, start);
        match self.fault {
            Fault::EndIsIncluded => {
                let end = end.map(after);
                self.inner.range(&place, &start, end.as_deref(), limit)
            }
            Fault::NoLimit => self.inner.range(&place, &start, end, usize::MAX),
            Fault::UnboundedRangeEndsAt255 => {
                let end = end.unwrap_or(&[255]);
                self.inner.range(&place, &start, Some(end), limit)
            }
            _ => self.inner.range(&place, &start, end, limit),
        }
    }

    fn maps(&self) -> Result<Vec<String>> {
        let mut names = self.inner.maps()?;
        if self.fault == Fault::ListsEmptyMaps {
            names.push("was here once".to_owned());
        }
        Ok(names)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        if self.fault != Fault::ClearsOneMap {
            return self.inner.clear();
        }
        let Some(map) = self.inner.maps()?.pop() else {
            return Ok(());
        };
        let mut batch = Batch::new();
        for (key, _) in self.inner.range(&map, &[], None, usize::MAX)? {
            batch.delete(&map, key);
        }
        self.inner.apply(batch)
    }
}

#[test]
fn backend_faults_are_caught_by_their_clause() {
    let faults = [
        (Fault::EmptyValueIsNothing, Clause::Get),
        (Fault::MapsInOneKeySpace, Clause::Maps),
        (Fault::MapNamesWithoutCase, Clause::Maps),
        (Fault::HalfOfRefusedBatch, Clause::Batches),
        (Fault::FirstChangeCounts, Clause::Order),
        (Fault::EndIsIncluded, Clause::Ranges),
        (Fault::NoLimit, Clause::Ranges),
        (Fault::UnboundedRangeEndsAt255, Clause::Ranges),
        (Fault::LongValuesAreCut, Clause::LargeValues),
        (Fault::ManyAreLost, Clause::ManyKeys),
        (Fault::AnyMapName, Clause::MapNames),
        (Fault::WrongKindOfError, Clause::MapNames),
        (Fault::ListsEmptyMaps, Clause::Listing),
        (Fault::ClearsOneMap, Clause::Clear),
        (Fault::ChangesOneByOne, Clause::Concurrency),
        (Fault::Panics, Clause::Get),
    ];
    assert!(check(&Faulty::new(Fault::None)).violations.is_empty());
    for (fault, clause) in faults {
        let report = check(&Faulty::new(fault));
        assert!(
            report.violations.iter().any(|found| found.clause == clause),
            "{fault:?}: {report}"
        );
        let text = report.into_result().unwrap_err().to_string();
        assert!(
            text.contains("faulty") && text.contains(&clause.to_string()),
            "{text}"
        );
    }
}

#[test]
fn backend_narrow_faults_break_nothing_else() {
    let narrow = [
        (Fault::EmptyValueIsNothing, Clause::Get),
        (Fault::FirstChangeCounts, Clause::Order),
        (Fault::LongValuesAreCut, Clause::LargeValues),
        (Fault::WrongKindOfError, Clause::MapNames),
        (Fault::ChangesOneByOne, Clause::Concurrency),
    ];
    for (fault, clause) in narrow {
        let report = check(&Faulty::new(fault));
        let broken: Vec<Clause> = report.violations.iter().map(|found| found.clause).collect();
        assert_eq!(broken, [clause], "{fault:?}: {report}");
    }
}

/// Copies of a backend's entries, as a disk would hold them.
fn copy(from: &dyn Backend) -> Arc<MemoryBackend> {
    let to = MemoryBackend::new();
    let mut batch = Batch::new();
    for map in from.maps().unwrap() {
        for (key, value) in from.range(&map, &[], None, usize::MAX).unwrap() {
            batch.put(&map, key, value);
        }
    }
    to.apply(batch).unwrap();
    Arc::new(to)
}

/// What it holds is on disk after `flush`, or never if it forgets to.
#[derive(Debug)]
struct OnDisk {
    inner: Arc<MemoryBackend>,
    disk: Arc<Mutex<Arc<MemoryBackend>>>,
    forgets: bool,
}

impl Backend for OnDisk {
    fn name(&self) -> &str {
        "on disk"
    }

    fn get(&self, map: &str, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.inner.get(map, key)
    }

    fn apply(&self, batch: Batch) -> Result<()> {
        self.inner.apply(batch)
    }

    fn range(
        &self,
        map: &str,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeyValue>> {
        self.inner.range(map, start, end, limit)
    }

    fn maps(&self) -> Result<Vec<String>> {
        self.inner.maps()
    }

    fn flush(&self) -> Result<()> {
        if !self.forgets {
            *self.disk.lock() = copy(&*self.inner);
        }
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        self.inner.clear()
    }
}

#[test]
fn backend_that_forgets_to_flush_is_caught() {
    for forgets in [false, true] {
        let disk = Arc::new(Mutex::new(Arc::new(MemoryBackend::new())));
        let report = check_reopen(|| {
            let inner = copy(&**disk.lock());
            Ok(Arc::new(OnDisk {
                inner,
                disk: disk.clone(),
                forgets,
            }))
        });
        assert_eq!(report.violations.is_empty(), !forgets, "{report}");
        assert_eq!(report.backend, "on disk");
        assert_eq!(report.checked, [Clause::Reopen]);
    }
    let report = check_reopen(|| Err(Error::corrupt("no such disk")));
    assert!(report.to_string().contains("no such disk"));
}
