//! One frame: how it looks on disk.
//!
//! ```text
//! magic u32 | payload length u32 | crc32c u32 | kind u8 | durable u64 | payload
//! ```
//!
//! All numbers are little-endian. The checksum covers length, kind, payload, then `durable`: the
//! caller computes it over the first three, and the writer's thread, which alone knows `durable`,
//! continues it.

use crate::error::{Error, Result};

/// Most bytes of one frame's payload: 64 MiB. Larger writes must be split.
pub const MAX_FRAME_BYTES: usize = 64 << 20;

/// First bytes of every frame.
pub(super) const FRAME_MAGIC: [u8; 4] = *b"NBf1";
/// Bytes before the payload.
pub(super) const FRAME_HEADER_BYTES: usize = 21;

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Rows of one atomic write.
    Write,
    /// A table definition.
    Table,
    /// Nothing; proves that what precedes it is on disk.
    Mark,
    /// The end of a checkpoint of format 1: log files with smaller numbers than the payload's are
    /// not needed. Read, not written any more.
    Checkpoint,
    /// Segments that were loaded at once.
    Bulk,
    /// In a checkpoint: a segment and its hidden rows.
    Segment,
    /// In a checkpoint: what else is known of a shard.
    Shard,
    /// In a checkpoint: its end, and where the log goes on.
    End,
}

impl FrameKind {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Write => 1,
            Self::Table => 2,
            Self::Mark => 3,
            Self::Checkpoint => 4,
            Self::Bulk => 5,
            Self::Segment => 6,
            Self::Shard => 7,
            Self::End => 8,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Write),
            2 => Some(Self::Table),
            3 => Some(Self::Mark),
            4 => Some(Self::Checkpoint),
            5 => Some(Self::Bulk),
            6 => Some(Self::Segment),
            7 => Some(Self::Shard),
            8 => Some(Self::End),
            _ => None,
        }
    }
}

/// A frame ready to be written, but for its `durable`.
#[derive(Debug)]
pub(crate) struct Frame {
    kind: FrameKind,
    payload: Vec<u8>,
    crc: u32,
}

impl Frame {
    /// Fails with `InvalidInput` if the payload exceeds [`MAX_FRAME_BYTES`].
    pub(crate) fn new(kind: FrameKind, payload: Vec<u8>) -> Result<Self> {
        if payload.len() > MAX_FRAME_BYTES {
            return Err(Error::invalid(format!(
                "this write takes {} bytes in the log; the limit is {MAX_FRAME_BYTES} \
                 (MAX_FRAME_BYTES): split it into smaller writes",
                payload.len()
            )));
        }
        let crc = start_crc(kind.code(), &payload);
        Ok(Self { kind, payload, crc })
    }

    /// Bytes on disk.
    pub(crate) fn disk_len(&self) -> u64 {
        (FRAME_HEADER_BYTES + self.payload.len()) as u64
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub(crate) fn header(&self, durable: u64) -> [u8; FRAME_HEADER_BYTES] {
        let durable = durable.to_le_bytes();
        let crc = crc32c::crc32c_append(self.crc, &durable);
        let mut header = [0; FRAME_HEADER_BYTES];
        let fields = [
            FRAME_MAGIC.as_slice(),
            &(self.payload.len() as u32).to_le_bytes(),
            &crc.to_le_bytes(),
            &[self.kind.code()],
            &durable,
        ];
        for (to, from) in header.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        header
    }
}

fn start_crc(kind: u8, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&(payload.len() as u32).to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &[kind]), payload)
}

/// The parsed bytes before a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameHeader {
    pub(super) len: usize,
    pub(super) durable: u64,
    crc: u32,
    kind: u8,
}

impl FrameHeader {
    /// `None` if these are not the first bytes of a frame of legal length.
    pub(super) fn parse(bytes: &[u8; FRAME_HEADER_BYTES]) -> Option<Self> {
        let [
            m0,
            m1,
            m2,
            m3,
            l0,
            l1,
            l2,
            l3,
            c0,
            c1,
            c2,
            c3,
            kind,
            durable @ ..,
        ] = *bytes;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        ([m0, m1, m2, m3] == FRAME_MAGIC && len <= MAX_FRAME_BYTES).then_some(Self {
            len,
            durable: u64::from_le_bytes(durable),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            kind,
        })
    }

    /// Whether this says it is of `kind`; only `check` knows.
    pub(super) fn may_be(&self, kind: FrameKind) -> bool {
        self.kind == kind.code()
    }

    /// The kind, if the checksum over header and payload holds.
    pub(super) fn check(&self, payload: &[u8]) -> Option<FrameKind> {
        let crc = crc32c::crc32c_append(start_crc(self.kind, payload), &self.durable.to_le_bytes());
        (crc == self.crc)
            .then(|| FrameKind::from_code(self.kind))
            .flatten()
    }
}
