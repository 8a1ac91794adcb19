//! What fuzzers need of the inside: decoders, and files around hostile payloads.
//!
//! Frames have checksums, so that changed bytes of a file hardly ever get past them; a fuzzer has to
//! make frames whose checksums are right around payloads that are not. Not an interface: hidden from
//! the documentation, and free to change.

use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::OsDisk;
use crate::log::{Frame, FrameFolder, FrameKind, Series, decode_frame};
use crate::payload;
use crate::segment::decode_index_for_fuzzing;
use crate::store::{archive_for_fuzzing, files_for_fuzzing};

/// Whether bytes are the index file of a segment.
pub fn decode_index(bytes: &[u8]) -> bool {
    decode_index_for_fuzzing(bytes)
}

/// Whether bytes are the payload of a write.
pub fn decode_payload(bytes: &[u8]) -> bool {
    payload::decode(bytes).is_ok()
}

/// A file of frames, of the log or a checkpoint, with these payloads. Kinds that there are not are
/// left out.
pub fn file_of_frames(checkpoint: bool, frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let series = if checkpoint {
        Series::Checkpoint
    } else {
        Series::Log
    };
    let folder = FrameFolder::new(Arc::new(OsDisk), PathBuf::new(), series);
    let mut bytes = folder.header(1).to_vec();
    for (kind, payload) in frames {
        let kind = FrameKind::from_code(*kind);
        let frame = kind.and_then(|kind| Frame::new(kind, payload.clone()).ok());
        if let Some(frame) = frame {
            bytes.extend_from_slice(&frame.header(0));
            bytes.extend_from_slice(frame.payload());
        }
    }
    bytes
}

/// Files by their names.
pub type Files = Vec<(String, Vec<u8>)>;

/// A backup in one file, with these files and this text of its manifest: headers, checksums and the
/// list of files are right.
pub fn archive(files: &[(String, Vec<u8>)], manifest: &[u8]) -> Vec<u8> {
    archive_for_fuzzing(files, manifest)
}

/// The files of a backup in one file, and the text of its manifest; `None` if it is none.
pub fn files_of_archive(bytes: &[u8]) -> Option<(Files, Vec<u8>)> {
    files_for_fuzzing(bytes)
}

/// The frames of a file, up to the first that is none.
pub fn frames_of_file(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let header = FrameFolder::new(Arc::new(OsDisk), PathBuf::new(), Series::Log).header(1);
    let mut frames = Vec::new();
    bytes = bytes.get(header.len()..).unwrap_or_default();
    while let Some((kind, payload, rest)) = decode_frame(bytes) {
        frames.push((kind.code(), payload.to_vec()));
        bytes = rest;
    }
    frames
}
