//! Opening a store.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use parking_lot::Mutex;

use super::committer::{Committer, MAX_QUEUED_REQUESTS};
use super::core::Core;
use super::folder::Folder;
use super::home::SegmentHome;
use super::index::{self, Manifest};
use super::maintenance::{Maintenance, job_queue};
use super::replay::{LogEnd, OpenReport, Replay};
use super::{Shared, Store, Writer};
use crate::backend::{self, Backend, MemoryBackend};
use crate::disk::{Disk, OsDisk};
use crate::error::{Error, Result};
use crate::log::{FrameFolder, LogWriter, Series};
use crate::segment::FileName;
use crate::settings::Settings;

/// Progress of the log's replay: bytes read, bytes in all.
pub(super) type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Components of a store that are not plain data. All have defaults.
#[derive(Debug, Default)]
pub struct Components {
    /// The index; `settings.backend` and `settings.index_cache_bytes` are ignored then.
    pub backend: Option<Arc<dyn Backend>>,
    /// What the log, checkpoints and segments are kept on; the operating system's files otherwise.
    pub disk: Option<Arc<dyn Disk>>,
}

impl Store {
    /// Opens the store, and creates its folder if needed. Fails with
    /// - `InvalidInput` if a setting is out of bounds, the folder has a newer format, or its index
    ///   was made with another backend;
    /// - `Unavailable` if the folder is in use;
    /// - `NotFound` if it is to be read only and is not there;
    /// - `Corrupt` if the log or a checkpoint is damaged; nothing is cut off then. A damaged segment
    ///   sets its table aside at most, see [`health`](Self::health);
    /// - `Io` if the system refuses.
    pub fn open(settings: Settings) -> Result<Self> {
        Self::open_with(settings, Components::default(), |_, _| {})
    }

    /// Like `open`, with components of the caller's, and progress: bytes of the log read so far,
    /// and in all.
    pub fn open_with(
        settings: Settings,
        components: Components,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self> {
        open(settings, components, &mut progress)
    }
}

fn open(settings: Settings, components: Components, progress: Progress<'_>) -> Result<Store> {
    let started = Instant::now();
    settings.validate()?;
    let opened = match settings.data_dir.clone() {
        None => Opened::in_memory(settings, components.backend)?,
        Some(root) if settings.read_only => {
            let folder = Folder::open_read_only(&root)?;
            open_folder(settings, folder, components, progress)?
        }
        Some(root) => {
            let folder = Folder::open(&root)?;
            open_folder(settings, folder, components, progress)?
        }
    };
    opened.start(started)
}

/// A store that is read, and not running yet.
pub(super) struct Opened {
    pub(super) core: Arc<Core>,
    pub(super) report: OpenReport,
    log: Option<LogWriter>,
    checkpoints: Option<(FrameFolder, u64)>,
    lock: Option<std::fs::File>,
}

impl Opened {
    fn in_memory(settings: Settings, backend: Option<Arc<dyn Backend>>) -> Result<Self> {
        if settings.read_only {
            return Err(Error::invalid("read_only needs a data_dir"));
        }
        let backend = backend.unwrap_or_else(|| Arc::new(MemoryBackend::new()));
        Ok(Self {
            core: Arc::new(Core::new(settings, backend, None)),
            report: OpenReport {
                clean: true,
                ..OpenReport::default()
            },
            log: None,
            checkpoints: None,
            lock: None,
        })
    }

    pub(super) fn start(mut self, since: Instant) -> Result<Store> {
        self.report.tables = self.core.catalog.read().visible().len();
        self.report.elapsed = since.elapsed();
        let (requests, receiver) = sync_channel(MAX_QUEUED_REQUESTS);
        let folders = match (&self.log, self.checkpoints) {
            (Some(log), Some((checkpoints, last))) => {
                Some(((log.folder().clone(), checkpoints), last))
            }
            _ => None,
        };
        let (jobs, waiting) = job_queue();
        let background = folders.is_some().then(|| jobs.clone());
        let committer = Committer::new(self.core.clone(), receiver, self.log, background);
        let thread = spawn("netabase-log", move || committer.run())?;
        let maintenance = match folders {
            Some((folders, last)) => {
                let core = self.core.clone();
                let work = Maintenance::new(core, waiting, requests.clone(), folders, last);
                Some((jobs, spawn("netabase-upkeep", move || work.run())?))
            }
            None => None,
        };
        let writer = Writer {
            requests,
            thread,
            maintenance,
            lock: self.lock,
        };
        Ok(Store(Arc::new(Shared {
            core: self.core,
            report: self.report,
            writer: Mutex::new(Some(writer)),
        })))
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<std::thread::JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| Error::io(format!("start the thread {name}"), error))
}

pub(super) fn open_folder(
    settings: Settings,
    folder: Folder,
    components: Components,
    progress: Progress<'_>,
) -> Result<Opened> {
    let disk = components.disk.unwrap_or_else(|| Arc::new(OsDisk));
    let (backend, moved_aside) = match components.backend {
        Some(backend) => (backend, false),
        None if settings.read_only => (Arc::new(MemoryBackend::new()) as Arc<dyn Backend>, false),
        None => backend::open(
            settings.backend,
            &folder.index(),
            settings.index_cache_bytes,
        )?,
    };
    let log = FrameFolder::new(Arc::clone(&disk), folder.log(), Series::Log);
    let checkpoints = FrameFolder::new(disk.clone(), folder.checkpoints(), Series::Checkpoint);
    let home = SegmentHome::new(
        disk,
        folder.segments(),
        settings.cache_limit(),
        settings.codec,
    );
    let read_only = settings.read_only;
    let core = Arc::new(Core::new(settings, backend.clone(), Some(home)));
    let manifest = index::manifest(&*backend);
    let mut report = OpenReport::default();
    let end = Replay {
        core: &core,
        log: &log,
        checkpoints: &checkpoints,
        report: &mut report,
        progress,
    }
    .run(&manifest)?;
    refuse_cutting_what_was_closed(&manifest, end, &log)?;
    if report.zeros_ahead > 0 {
        let bytes = report.zeros_ahead;
        tracing::info!(
            bytes,
            "the log ends with zeros: it was not closed, or they could not be cut off"
        );
    }
    let set_aside = core.tables_set_aside().into_iter();
    report.set_aside = set_aside.map(|(table, _)| table).collect();
    let last = report.checkpoint.unwrap_or(0);
    let mut opened = Opened {
        core,
        report,
        log: None,
        checkpoints: Some((checkpoints, last)),
        lock: Some(folder.lock),
    };
    if !read_only {
        let writer = resume(&mut opened, log, end)?;
        let numbers = writer.folder().numbers()?;
        let agreed = index::reconcile(&*backend, &opened.core.catalog.read(), &numbers)?;
        let fresh = end.len.is_none();
        opened.report.index_rebuilt = !fresh && (moved_aside || !agreed);
        let torn = opened.report.torn_tail.is_some();
        opened.report.clean = fresh || was_clean(&manifest, end) && !torn;
        opened.log = Some(writer);
    }
    Ok(opened)
}

/// Goes on with the log, and removes what is not needed.
fn resume(opened: &mut Opened, log: FrameFolder, end: LogEnd) -> Result<LogWriter> {
    if let Some(torn) = &opened.report.torn_tail {
        tracing::warn!(?torn, "cut off the unacknowledged end of the log");
    }
    if end.len.is_none() {
        refuse_forgotten_segments(&opened.core)?;
    }
    let writer = match end.len {
        Some(len) => LogWriter::resume(log.clone(), end.number, len)?,
        None => LogWriter::create(log.clone(), end.number)?,
    };
    log.remove_before(end.first)?;
    if let Some((checkpoints, last)) = &opened.checkpoints {
        checkpoints.remove_before(*last)?;
    }
    let core = &opened.core;
    core.counters.log_bytes.store(end.bytes, Ordering::Relaxed);
    // Segments of tables that were dropped after the checkpoint are orphans as well, but are
    // still listed in it.
    let dropped = core.take_replaced();
    let known: HashSet<FileName> = core
        .segment_files()
        .into_iter()
        .chain(dropped.iter().map(|segment| segment.meta().number.into()))
        .collect();
    core.replace(dropped);
    // Loads in the log of a table that is set aside have files, too.
    let keep_all = !opened.report.set_aside.is_empty();
    if let Some(home) = &core.home {
        opened.report.orphans = home.remove_orphans(&|file| keep_all || known.contains(&file))?;
    }
    Ok(writer)
}

/// Without a log there was never a segment. If there are some, log and checkpoints are lost, and the
/// segments must not be taken for orphans and removed with the last of the rows.
fn refuse_forgotten_segments(core: &Core) -> Result<()> {
    let files = match &core.home {
        Some(home) => home.files()?,
        None => Vec::new(),
    };
    match files.first() {
        None => Ok(()),
        Some((_, path)) => Err(Error::corrupt(format!(
            "segment {} is there, but neither a checkpoint nor a log: they are lost. Restore the \
             folders log and checkpoints from a copy; to give up all rows, remove the folder \
             segments, too",
            path.display()
        ))),
    }
}

/// A folder that was closed in good order had all of its log on disk. A bad frame within that length
/// is damage, though no later frame proves it; a file that merely ends early is cut as always.
fn refuse_cutting_what_was_closed(
    manifest: &Manifest,
    end: LogEnd,
    log: &FrameFolder,
) -> Result<()> {
    let (Some((number, len)), Some(good)) = (manifest.clean, end.len) else {
        return Ok(());
    };
    if number == end.number && good < len && end.size >= len {
        let reason = "this frame was on disk when the store was closed";
        return Err(Error::log(&log.file(number), good, reason));
    }
    Ok(())
}

fn was_clean(manifest: &Manifest, end: LogEnd) -> bool {
    manifest
        .clean
        .is_some_and(|(number, len)| end.number == number && end.len == Some(len))
}
