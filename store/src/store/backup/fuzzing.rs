//! Archives around hostile files.
//!
//! Everything in a backup is listed with its hash, so that changed bytes hardly ever get past it; a
//! fuzzer has to make archives whose hashes are right around files that are not.

use std::path::Path;

use super::manifest::{FileEntry, Manifest, mark};
use super::target::manifest_name;
use super::{MARK, tar};
use crate::fuzzing::Files;

/// An archive with these files. A manifest that is understood lists them with their hashes.
pub(crate) fn archive_for_fuzzing(files: &[(String, Vec<u8>)], manifest: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    add(&mut archive, MARK, mark().as_bytes());
    for (name, bytes) in files {
        add(&mut archive, name, bytes);
    }
    let entry = |(name, bytes): &(String, Vec<u8>)| {
        let file = FileEntry {
            bytes: bytes.len() as u64,
            blake3: blake3::hash(bytes).to_hex().to_string(),
        };
        (name.clone(), file)
    };
    let understood = serde_json::from_slice(manifest)
        .ok()
        .map(|manifest| Manifest {
            files: files.iter().map(entry).collect(),
            ..manifest
        });
    let text = understood.and_then(|manifest| manifest.to_bytes().ok());
    add(
        &mut archive,
        &manifest_name(1),
        text.as_deref().unwrap_or(manifest),
    );
    archive.resize(archive.len() + 2 * tar::BLOCK, 0);
    archive
}

fn add(archive: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    if let Some(header) = tar::header(name, bytes.len() as u64, 0) {
        archive.extend(header);
        archive.extend(bytes);
        archive.resize(archive.len() + tar::padding(bytes.len() as u64), 0);
    }
}

/// The files of an archive but mark and manifest, and the JSON text of that.
pub(crate) fn files_for_fuzzing(mut archive: &[u8]) -> Option<(Files, Vec<u8>)> {
    let (mut files, mut text) = (Files::new(), None);
    while let Some((header, rest)) = archive.split_first_chunk() {
        let tar::Parsed::File(name, size) = tar::parse(header) else {
            break;
        };
        let (bytes, rest) = rest.split_at_checked(usize::try_from(size).ok()?)?;
        archive = rest.get(tar::padding(size)..)?;
        if name == manifest_name(1) {
            let manifest = Manifest::from_bytes(Path::new(&name), bytes).ok()?;
            text = serde_json::to_vec(&manifest).ok();
        } else if name != MARK {
            files.push((name, bytes.to_vec()));
        }
    }
    Some((files, text?))
}
