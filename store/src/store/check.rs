//! Looking for damage in a data folder, without changing anything in it.
//!
//! Idea: every file is read and compared with its checksums, then the store is opened as a reader
//! would, and the digest of every shard is computed from its records. Invariant: it goes on after
//! the first problem, and tells every file that has one. Non-goal: the index, which is rebuilt when
//! it is lost, and which its own library reads.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::folder::Folder;
use super::home::{SegmentHome, own_file};
use super::open::open_folder;
use super::{Components, Store, checkpoint, recompute};
use crate::backend::MemoryBackend;
use crate::catalog::TableState;
use crate::disk::{Disk, OsDisk};
use crate::error::{Error, ErrorKind, Result};
use crate::log::{FrameFolder, Series, TornTail, scan_file};
use crate::segment::Segment;
use crate::settings::Settings;

/// Damage in a data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The file, or the folder of a shard's segments.
    pub file: PathBuf,
    /// What is wrong, and how to get out of it.
    pub text: String,
}

/// What a check read and found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// Files that were read.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Live tables.
    pub tables: usize,
    /// Live rows that were counted.
    pub rows: u64,
    /// What is damaged; empty: nothing.
    pub problems: Vec<Problem>,
    /// The unacknowledged end of the log, which the next open cuts off; no damage.
    pub torn_tail: Option<TornTail>,
    /// Bytes of zeros at the end of the log. A store that was killed leaves them there, and that is no
    /// damage; one that was closed does not, unless the disk refused to cut them off.
    pub zeros_ahead: u64,
    /// Files of segments that nothing refers to, which the next open removes; no damage.
    pub orphans: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Store {
    /// Reads every file of a data folder that nobody writes to, compares all checksums, and computes
    /// every digest from the rows. Changes nothing, and goes on after damage. `progress` is told the
    /// bytes read, and in all.
    ///
    /// Fails with `InvalidInput` if `settings` name no folder or it has a newer format, `NotFound`
    /// if there is none, `Unavailable` if it is in use, `Io` if the system refuses. Damage is no
    /// failure: it is in the report.
    pub fn check(settings: Settings, mut progress: impl FnMut(u64, u64)) -> Result<CheckReport> {
        let started = Instant::now();
        settings.validate()?;
        let root = settings.data_dir.clone().ok_or_else(|| {
            Error::invalid("a store in memory has no files to check: set data_dir to its folder")
        })?;
        // Held to the end, so that nobody writes meanwhile.
        let folder = Folder::open_read_only(&root)?;
        let mut check = Check {
            folder: &folder,
            settings,
            disk: Arc::new(OsDisk),
            report: CheckReport::default(),
            progress: &mut progress,
            total: 0,
        };
        check.run()?;
        let mut report = check.report;
        report.elapsed = started.elapsed();
        Ok(report)
    }
}

struct Check<'a> {
    folder: &'a Folder,
    settings: Settings,
    disk: Arc<dyn Disk>,
    report: CheckReport,
    progress: &'a mut dyn FnMut(u64, u64),
    total: u64,
}

impl Check<'_> {
    fn run(&mut self) -> Result<()> {
        let log = self.frames(self.folder.log(), Series::Log);
        let checkpoints = self.frames(self.folder.checkpoints(), Series::Checkpoint);
        self.total = frame_bytes(&log)? + frame_bytes(&checkpoints)?;
        let core = self.open(&checkpoints)?;
        let segments = core.as_deref().map(segments_of).unwrap_or_default();
        self.total += segments.iter().map(|(_, s)| file_bytes(s)).sum::<u64>();
        self.scan(&checkpoints)?;
        self.scan(&log)?;
        let mut damaged = HashSet::new();
        for (table, segment) in &segments {
            if let Err(error) = segment.verify() {
                damaged.insert((table.id, segment.meta().shard));
                self.problem(&segment.data_path(), &error)?;
            }
            self.read(2, file_bytes(segment));
        }
        let set_aside = core.as_deref().map(Core::tables_set_aside);
        let set_aside = set_aside.unwrap_or_default();
        for (_, error) in &set_aside {
            self.unless_told(error)?;
        }
        self.orphans(&segments, !set_aside.is_empty())?;
        if let Some(core) = core {
            for table in core.catalog.read().all() {
                // Without its rows in the log a table has no digests to compare.
                let skipped = table.state.is_dropped() || table.state.is_set_aside();
                for shard in 0..table.state.shards {
                    if !skipped && !damaged.contains(&(table.def.id, shard)) {
                        self.digest(&table.state, shard)?;
                    }
                }
            }
            self.report.tables = core.catalog.read().visible().len();
        }
        Ok(())
    }

    /// What a reader would see; if that fails, what the last checkpoint says.
    fn open(&mut self, checkpoints: &FrameFolder) -> Result<Option<Arc<Core>>> {
        let settings = Settings {
            read_only: true,
            background: false,
            cache_bytes: Some(0),
            ..self.settings.clone()
        };
        let again = Folder::open_read_only(&self.folder.root)?;
        let components = Components::default();
        match open_folder(settings.clone(), again, components, &mut |_, _| {}) {
            Ok(opened) => {
                self.report.torn_tail = opened.report.torn_tail.clone();
                self.report.zeros_ahead = opened.report.zeros_ahead;
                Ok(Some(opened.core))
            }
            Err(error) => {
                self.problem(&self.folder.log(), &error)?;
                self.open_checkpoint(settings, checkpoints)
            }
        }
    }

    fn open_checkpoint(
        &mut self,
        settings: Settings,
        checkpoints: &FrameFolder,
    ) -> Result<Option<Arc<Core>>> {
        let Some(&last) = checkpoints.numbers()?.last() else {
            return Ok(None);
        };
        let home = SegmentHome::new(
            Arc::clone(&self.disk),
            self.folder.segments(),
            0,
            settings.codec,
        );
        let core = Core::new(settings, Arc::new(MemoryBackend::new()), Some(home));
        // Without its rows in memory the digests cannot be compared; its files can be.
        match checkpoint::load(&core, checkpoints, last, &mut |_| Ok(())) {
            Ok(_) => Ok(Some(Arc::new(core))),
            Err(_) => Ok(None),
        }
    }

    /// Compares the checksums of all frames of all files.
    fn scan(&mut self, folder: &FrameFolder) -> Result<()> {
        let numbers = folder.numbers()?;
        for number in &numbers {
            let last = folder.series == Series::Log && numbers.last() == Some(number);
            if let Err(error) = scan_file(folder, *number, last, |_| Ok(())) {
                self.problem(&folder.file(*number), &error)?;
            }
            self.read(1, folder.file_len(*number));
        }
        Ok(())
    }

    fn digest(&mut self, table: &Arc<TableState>, shard: u32) -> Result<()> {
        let home = self.folder.segments().join(table.id.to_string());
        let home = home.join(shard.to_string());
        let found = match recompute::shard(table, shard) {
            Ok(found) => found,
            Err(error) => return self.problem(&home, &error),
        };
        let kept = table
            .mem
            .lock()
            .get(shard as usize)
            .map(|s| (s.live(), s.tree().root()));
        self.report.rows += found.rows;
        if kept == Some((found.rows, found.tree.root())) {
            return Ok(());
        }
        let text = format!(
            "shard {shard} of table \"{}\": its records do not have the digest that is kept for \
             them. Restore a backup, or remove this replica of the shard and fetch it again from \
             another",
            table.name
        );
        self.problem(&home, &Error::corrupt(text))
    }

    fn orphans(
        &mut self,
        segments: &[(Arc<TableState>, Arc<Segment>)],
        set_aside: bool,
    ) -> Result<()> {
        let known: HashSet<u64> = segments.iter().map(|(_, s)| s.meta().number).collect();
        let list = |path: &Path| {
            let names = self.disk.list(path);
            names.map_err(|error| Error::io(format!("list {}", path.display()), error))
        };
        let root = self.folder.segments();
        let mut orphans = 0;
        for table in list(&root)? {
            for shard in list(&root.join(&table)).unwrap_or_default() {
                let names = list(&root.join(&table).join(shard)).unwrap_or_default();
                let numbers = names
                    .iter()
                    .filter_map(|name| own_file(name).map(|f| f.number));
                orphans += numbers.filter(|number| !known.contains(number)).count() as u64;
            }
        }
        self.report.orphans = match set_aside {
            // They may be loads in the log.
            true => 0,
            false => orphans,
        };
        Ok(())
    }

    /// Notes damage of a file, unless that file has been told.
    fn unless_told(&mut self, error: &Error) -> Result<()> {
        let file = error.file().unwrap_or(Path::new("")).to_path_buf();
        match self.report.problems.iter().any(|told| told.file == file) {
            true => Ok(()),
            false => self.problem(&file, error),
        }
    }

    /// Notes what is damaged or cannot be read, once; any other error ends the check.
    fn problem(&mut self, file: &Path, error: &Error) -> Result<()> {
        if !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io) {
            return Err(Error::new(error.kind(), error.to_string()));
        }
        let text = error.to_string();
        let problems = &mut self.report.problems;
        if problems.iter().all(|problem| problem.text != text) {
            let file = error.file().unwrap_or(file).to_path_buf();
            problems.push(Problem { file, text });
        }
        Ok(())
    }

    fn read(&mut self, files: u64, bytes: u64) {
        self.report.files += files;
        self.report.bytes += bytes;
        (self.progress)(self.report.bytes.min(self.total), self.total);
    }

    fn frames(&self, path: PathBuf, series: Series) -> FrameFolder {
        FrameFolder::new(Arc::clone(&self.disk), path, series)
    }
}

fn frame_bytes(folder: &FrameFolder) -> Result<u64> {
    let numbers = folder.numbers()?;
    Ok(numbers.iter().map(|number| folder.file_len(*number)).sum())
}

fn file_bytes(segment: &Segment) -> u64 {
    super::core::file_bytes(segment)
}

/// All segments of tables that are not dropped.
fn segments_of(core: &Core) -> Vec<(Arc<TableState>, Arc<Segment>)> {
    let mut segments = Vec::new();
    for table in core.catalog.read().all() {
        for shard in table.state.mem.lock().iter() {
            let held = shard.segments().iter();
            segments.extend(held.map(|held| (Arc::clone(&table.state), Arc::clone(&held.segment))));
        }
    }
    segments
}
