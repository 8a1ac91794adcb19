//! Opening a store.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use parking_lot::Mutex;

use super::committer::{Committer, MAX_QUEUED_REQUESTS};
use super::core::Core;
use super::folder::Folder;
use super::index::{self, Manifest};
use super::replay::{LogEnd, OpenReport, Replay};
use super::{Shared, Store, Writer};
use crate::backend::{self, Backend, MemoryBackend};
use crate::error::{Error, Result};
use crate::log::{LogWriter, list_files};
use crate::settings::Settings;

/// Progress of the log's replay: bytes read, bytes in all.
pub(super) type Progress<'a> = &'a mut dyn FnMut(u64, u64);

impl Store {
    /// Opens the store, and creates its folder if needed. Fails with
    /// - `InvalidInput` if a setting is out of bounds, the folder has a newer format, or its index
    ///   was made with another backend;
    /// - `Unavailable` if the folder is in use;
    /// - `Corrupt` if the log is damaged where it had been acknowledged; nothing is cut off then;
    /// - `Io` if the system refuses.
    pub fn open(settings: Settings) -> Result<Self> {
        let mut progress = |_, _| {};
        open(settings, None, &mut progress)
    }

    /// Like `open`, with a backend of the caller's, and progress: bytes of the log read so far,
    /// and in all. `settings.backend` and `settings.index_cache_bytes` are ignored.
    pub fn open_with(
        settings: Settings,
        backend: Arc<dyn Backend>,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self> {
        open(settings, Some(backend), &mut progress)
    }
}

fn open(
    settings: Settings,
    backend: Option<Arc<dyn Backend>>,
    progress: Progress<'_>,
) -> Result<Store> {
    let started = Instant::now();
    settings.validate()?;
    let mut report = OpenReport {
        clean: true,
        ..OpenReport::default()
    };
    let (core, log, lock) = match settings.data_dir.clone() {
        None => {
            let backend = backend.unwrap_or_else(|| Arc::new(MemoryBackend::new()));
            (Core::new(settings, backend), None, None)
        }
        Some(root) => {
            let folder = Folder::open(&root)?;
            let (core, log) = open_folder(settings, &folder, backend, &mut report, progress)?;
            (core, Some(log), Some(folder.lock))
        }
    };
    report.tables = core.catalog.read().visible().len();
    report.elapsed = started.elapsed();
    start(Arc::new(core), report, log, lock)
}

pub(super) fn start(
    core: Arc<Core>,
    report: OpenReport,
    log: Option<LogWriter>,
    lock: Option<std::fs::File>,
) -> Result<Store> {
    let (requests, receiver) = sync_channel(MAX_QUEUED_REQUESTS);
    let committer = Committer::new(core.clone(), receiver, log);
    let thread = std::thread::Builder::new()
        .name("netabase-log".to_owned())
        .spawn(move || committer.run())
        .map_err(|error| Error::io("start the log's thread", error))?;
    let writer = Writer {
        requests,
        thread,
        lock,
    };
    Ok(Store(Arc::new(Shared {
        core,
        report,
        writer: Mutex::new(Some(writer)),
    })))
}

pub(super) fn open_folder(
    settings: Settings,
    folder: &Folder,
    backend: Option<Arc<dyn Backend>>,
    report: &mut OpenReport,
    progress: Progress<'_>,
) -> Result<(Core, LogWriter)> {
    let (backend, moved_aside) = match (backend, settings.backend) {
        (Some(backend), _) => (backend, false),
        (None, kind) => backend::open(kind, &folder.index(), settings.index_cache_bytes)?,
    };
    let dir = folder.log();
    let manifest = index::manifest(&*backend);
    let core = Core::new(settings, backend.clone());
    let end = Replay {
        core: &core,
        dir: &dir,
        report,
        progress,
    }
    .run(&manifest)?;
    refuse_cutting_what_was_closed(&manifest, end, report)?;
    if let Some(torn) = &report.torn_tail {
        tracing::warn!(?torn, "cut off the unacknowledged end of the log");
    }
    let log = resume(&dir, end)?;
    log.remove_before(end.first)?;
    let agreed = index::reconcile(&*backend, &core.catalog.read(), &list_files(&dir)?)?;
    let fresh = end.len.is_none();
    report.index_rebuilt = !fresh && (moved_aside || !agreed);
    report.clean = fresh || was_clean(&manifest, end) && report.torn_tail.is_none();
    Ok((core, log))
}

/// A folder that was closed in good order had all of its log on disk. A bad frame within that length
/// is damage, though no later frame proves it; a file that merely ends early is cut as always.
fn refuse_cutting_what_was_closed(
    manifest: &Manifest,
    end: LogEnd,
    report: &OpenReport,
) -> Result<()> {
    let (Some((number, len)), Some(torn)) = (manifest.clean, &report.torn_tail) else {
        return Ok(());
    };
    if number == end.number && torn.offset < len && torn.offset + torn.bytes >= len {
        let reason = "this frame was on disk when the store was closed";
        return Err(Error::log(&torn.file, torn.offset, reason));
    }
    Ok(())
}

fn resume(dir: &Path, end: LogEnd) -> Result<LogWriter> {
    match end.len {
        Some(len) => LogWriter::resume(dir, end.number, len),
        None => LogWriter::create(dir, end.number),
    }
}

fn was_clean(manifest: &Manifest, end: LogEnd) -> bool {
    manifest
        .clean
        .is_some_and(|(number, len)| end.number == number && end.len == Some(len))
}
