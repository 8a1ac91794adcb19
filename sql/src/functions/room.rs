//! How much a call may make for one batch.
//!
//! Invariant: room is taken before bytes are made. Texts that grow with their arguments, nested in each other,
//! would otherwise outgrow memory, and 2 GiB, at which Arrow's builders panic.

use datafusion::error::{DataFusionError, Result};

use crate::error::{capacity, error_to_datafusion};

/// What a call may make for one batch: 256 MiB.
pub(super) const MAX_RESULT_BYTES: usize = 256 << 20;

/// What is left of it.
pub(super) struct Room {
    left: usize,
    maker: &'static str,
}

impl Room {
    /// All of it, for a function of this name.
    pub(super) fn of(maker: &'static str) -> Self {
        Self {
            left: MAX_RESULT_BYTES,
            maker,
        }
    }

    /// Takes the room of so many bytes, and fails if there is less.
    pub(super) fn take(&mut self, bytes: usize) -> Result<()> {
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or_else(|| too_much(self.maker))?;
        Ok(())
    }
}

pub(super) fn too_much(maker: &str) -> DataFusionError {
    error_to_datafusion(capacity(format!(
        "{maker} would make more than {MAX_RESULT_BYTES} bytes at once: ask for less, or for fewer rows"
    )))
}
