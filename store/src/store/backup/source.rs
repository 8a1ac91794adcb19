//! Where a backup is read from: a folder, one of its manifests, or an archive.
//!
//! Invariant: whoever reads gets every file in the order it lies there, once, and learns the
//! manifest; nothing is trusted before it was compared with that. Non-goal: writing.

use std::fs::File;
use std::io::{BufReader, ErrorKind as IoKind, Read, Seek};
use std::path::{Path, PathBuf};

use super::manifest::{Manifest, check_format};
use super::target::{io, list_manifests, read, read_manifest};
use super::{MARK, MAX_MANIFEST, damaged, tar};
use crate::disk::OsDisk;
use crate::error::{Error, Result};

/// Buffer in front of files.
const BUFFER: usize = 256 << 10;

/// A backup that is there.
#[derive(Debug)]
pub(super) enum Source {
    /// In a folder.
    Folder { root: PathBuf, manifest: Manifest },
    /// In an archive, whose manifest comes last.
    Archive(PathBuf),
}

/// Takes the files of a backup: path in the backup, file to be named when it is damaged, contents.
pub(super) type Take<'a> = &'a mut dyn FnMut(&str, &Path, &mut dyn Read) -> Result<()>;

impl Source {
    /// Fails with `NotFound`, `InvalidInput` if it is something else, `Corrupt`.
    pub(super) fn open(from: &Path) -> Result<Self> {
        if from.is_dir() {
            return Self::in_folder(from, None);
        }
        let mut first = [0; tar::BLOCK];
        let read = File::open(from).and_then(|mut file| file.read_exact(&mut first));
        match read {
            Err(error) if error.kind() == IoKind::NotFound => Err(Error::not_found(format!(
                "there is no backup {}",
                from.display()
            ))),
            Err(error) if error.kind() != IoKind::UnexpectedEof => Err(io("read", from, error)),
            _ if from.extension().is_some_and(|end| end == "json") => {
                let root = from.parent().and_then(Path::parent);
                let root = root.filter(|root| !root.as_os_str().is_empty());
                Self::in_folder(root.unwrap_or(Path::new(".")), Some(from))
            }
            _ => match tar::parse(&first) {
                tar::Parsed::File(name, _) if name == MARK => Ok(Self::Archive(from.to_path_buf())),
                _ => Err(no_backup(from)),
            },
        }
    }

    fn in_folder(root: &Path, manifest: Option<&Path>) -> Result<Self> {
        let mark = root.join(MARK);
        match std::fs::metadata(&mark) {
            Ok(found) if found.is_file() => {}
            Err(error) if error.kind() != IoKind::NotFound => return Err(io("read", &mark, error)),
            _ => return Err(no_backup(root)),
        }
        check_format(&mark, &String::from_utf8_lossy(&read(&OsDisk, &mark)?))?;
        let last = match manifest {
            Some(path) => Some(path.to_path_buf()),
            None => list_manifests(&OsDisk, root)?.pop().map(|(_, path)| path),
        };
        let Some(path) = last else {
            return Err(Error::not_found(format!(
                "the folder {} holds no complete backup",
                root.display()
            )));
        };
        Ok(Self::Folder {
            root: root.to_path_buf(),
            manifest: read_manifest(&OsDisk, &path)?,
        })
    }

    /// Bytes to be read.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Folder { manifest, .. } => manifest.files.values().map(|file| file.bytes).sum(),
            Self::Archive(path) => std::fs::metadata(path).map_or(0, |meta| meta.len()),
        }
    }

    /// Gives every file to `take` that `wanted` names; returns the manifest.
    pub(super) fn read(&self, wanted: &dyn Fn(&str) -> bool, take: Take<'_>) -> Result<Manifest> {
        match self {
            Self::Folder { root, manifest } => {
                for path in manifest.files.keys().filter(|path| wanted(path)) {
                    let file = root.join(path);
                    let opened = File::open(&file).map_err(|error| match error.kind() {
                        IoKind::NotFound => damaged(&file, "the file is missing"),
                        _ => io("open", &file, error),
                    })?;
                    take(path, &file, &mut BufReader::with_capacity(BUFFER, opened))?;
                }
                Ok(manifest.clone())
            }
            Self::Archive(path) => read_archive(path, wanted, take),
        }
    }
}

/// Reads an archive once from its beginning to its end, passing over what is not wanted.
fn read_archive(path: &Path, wanted: &dyn Fn(&str) -> bool, take: Take<'_>) -> Result<Manifest> {
    let failed = |error: std::io::Error| match error.kind() {
        IoKind::UnexpectedEof => damaged(path, "the archive ends early"),
        _ => io("read", path, error),
    };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let mut manifest = None;
    let mut header = [0; tar::BLOCK];
    loop {
        reader.read_exact(&mut header).map_err(failed)?;
        let (name, size) = match tar::parse(&header) {
            tar::Parsed::File(name, size) => (name, size),
            tar::Parsed::End => break,
            tar::Parsed::Wrong => return Err(damaged(path, "a header in it is damaged")),
        };
        let start = reader.stream_position().map_err(failed)?;
        let next = start
            .saturating_add(size)
            .saturating_add(tar::padding(size) as u64);
        if next > length {
            return Err(damaged(path, "the archive ends early"));
        }
        let mut contents = reader.by_ref().take(size);
        if name.starts_with("manifests/") && size <= MAX_MANIFEST {
            let mut bytes = Vec::new();
            contents.read_to_end(&mut bytes).map_err(failed)?;
            manifest = Some(Manifest::from_bytes(path, &bytes)?);
        } else if wanted(&name) {
            take(&name, path, &mut contents)?;
        }
        let at = reader.stream_position().map_err(failed)?;
        let rest = i64::try_from(next - at).unwrap_or(i64::MAX);
        reader.seek_relative(rest).map_err(failed)?;
    }
    manifest.ok_or_else(|| damaged(path, "it has no manifest"))
}

/// The manifest alone.
pub(super) fn manifest_of(source: &Source) -> Result<Manifest> {
    source.read(&|_| false, &mut |_, _, _| Ok(()))
}

fn no_backup(path: &Path) -> Error {
    Error::invalid(format!(
        "{} is not a backup: name the folder, the archive or the manifest that a backup wrote",
        path.display()
    ))
}
