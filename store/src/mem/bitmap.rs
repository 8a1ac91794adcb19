//! Which rows of a batch are current: one bit each, copied only when a snapshot needs it.

use arrow::buffer::{BooleanBuffer, Buffer};

/// Bits in arrow's order (least significant first).
#[derive(Debug)]
pub(super) struct Bitmap {
    bytes: Vec<u8>,
    len: usize,
    set: usize,
    frozen: Option<BooleanBuffer>,
}

impl Bitmap {
    /// `len` bits, all set.
    pub(super) fn all(len: usize) -> Self {
        Self {
            bytes: vec![u8::MAX; len.div_ceil(8)],
            len,
            set: len,
            frozen: None,
        }
    }

    /// Number of set bits.
    pub(super) fn set(&self) -> usize {
        self.set
    }

    pub(super) fn is_all(&self) -> bool {
        self.set == self.len
    }

    pub(super) fn is_set(&self, row: usize) -> bool {
        let byte = self.bytes.get(row / 8).copied().unwrap_or_default();
        row < self.len && byte & (1 << (row % 8)) != 0
    }

    pub(super) fn unset(&mut self, row: usize) {
        let mask = 1 << (row % 8);
        if let Some(byte) = self.bytes.get_mut(row / 8)
            && *byte & mask != 0
            && row < self.len
        {
            *byte &= !mask;
            self.set -= 1;
            self.frozen = None;
        }
    }

    /// The bits as they are now, for ever; `None` if all are set.
    pub(super) fn freeze(&mut self) -> Option<BooleanBuffer> {
        if self.is_all() {
            return None;
        }
        let (bytes, len) = (&self.bytes, self.len);
        let frozen = self
            .frozen
            .get_or_insert_with(|| BooleanBuffer::new(Buffer::from(bytes.as_slice()), 0, len));
        Some(frozen.clone())
    }
}
