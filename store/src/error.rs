//! The one error type of the store.
//!
//! Purpose: tell the caller what to do (`kind`), and the reader what happened and how to get out
//! of it (the text). Invariant: at most seven kinds; each says whether a retry can help.
//! Non-goal: the text is not an interface; never match on it.

use std::io;
use std::path::{Path, PathBuf};

use arrow::error::ArrowError;

/// The result of every fallible operation of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The arguments are wrong. Retrying the same call fails again.
    InvalidInput,
    /// The named thing does not exist. Retry only after creating it.
    NotFound,
    /// The input contradicts itself or what is stored. Retrying the same call fails again.
    Conflict,
    /// A configured or built-in limit is reached. Free something or raise the limit, then retry.
    Capacity,
    /// The store is closed, or its folder is used by another process. Retry later.
    Unavailable,
    /// Stored bytes are damaged. Do not retry; follow the way out in the text.
    Corrupt,
    /// The operating system refused. If the text says that the store takes no more writes, reopen
    /// it; otherwise make room or repair what the text names, then retry.
    Io,
}

/// An error of the store: a kind for programs, a text for people.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
pub struct Error(Box<Repr>);

#[derive(Debug, thiserror::Error)]
enum Repr {
    #[error("{text}")]
    Plain { kind: ErrorKind, text: String },
    #[error("{text}")]
    Because {
        kind: ErrorKind,
        text: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{text}")]
    File { file: PathBuf, text: String },
    #[error("{context}: {source}")]
    Io {
        context: String,
        source: io::Error,
        doubt: bool,
    },
    #[error("{context}: {source}")]
    Arrow { context: String, source: ArrowError },
    #[error("{}: damaged at byte {offset}: {reason}. Restore this file from a copy or another replica; to give up everything from that byte on, cut the file there and remove the files after it", .file.display())]
    Log {
        file: PathBuf,
        offset: u64,
        reason: String,
    },
}

impl Error {
    /// An error of `kind` whose text is `text`. For backends supplied from outside.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self(Box::new(Repr::Plain {
            kind,
            text: text.into(),
        }))
    }

    /// The same with what the text was made of, for layers above that can say more about it. It is
    /// found again as the error's source.
    pub fn because(
        kind: ErrorKind,
        text: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(Repr::Because {
            kind,
            text: text.into(),
            source: Box::new(source),
        }))
    }

    /// What the caller can do about this error.
    pub fn kind(&self) -> ErrorKind {
        match &*self.0 {
            Repr::Plain { kind, .. } | Repr::Because { kind, .. } => *kind,
            Repr::Io { .. } => ErrorKind::Io,
            Repr::Arrow { .. } => ErrorKind::InvalidInput,
            Repr::File { .. } | Repr::Log { .. } => ErrorKind::Corrupt,
        }
    }

    /// The damaged file, where the error knows it.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &*self.0 {
            Repr::File { file, .. } | Repr::Log { file, .. } => Some(file),
            _ => None,
        }
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, text)
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, text)
    }

    pub(crate) fn conflict(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, text)
    }

    pub(crate) fn capacity(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Capacity, text)
    }

    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, text)
    }

    pub(crate) fn corrupt(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, text)
    }

    /// Damage of one file; `text` names it, too.
    pub(crate) fn damaged(file: &Path, text: impl Into<String>) -> Self {
        Self(Box::new(Repr::File {
            file: file.to_path_buf(),
            text: text.into(),
        }))
    }

    pub(crate) fn closed() -> Self {
        Self::new(
            ErrorKind::Unavailable,
            "the store is closed; open it again to use it",
        )
    }

    pub(crate) fn io(context: impl Into<String>, source: io::Error) -> Self {
        Self(Box::new(Repr::Io {
            context: context.into(),
            source,
            doubt: false,
        }))
    }

    /// Like `io`, for what leaves open what the disk holds: a failed sync or rename. The kernel may
    /// have dropped the pages, and a second sync would report success without them.
    pub(crate) fn in_doubt(context: impl Into<String>, source: io::Error) -> Self {
        Self(Box::new(Repr::Io {
            context: context.into(),
            source,
            doubt: true,
        }))
    }

    /// Whether nothing may be written any more after this.
    pub(crate) fn is_in_doubt(&self) -> bool {
        matches!(&*self.0, Repr::Io { doubt: true, .. })
    }

    pub(crate) fn arrow(context: impl Into<String>, source: ArrowError) -> Self {
        Self(Box::new(Repr::Arrow {
            context: context.into(),
            source,
        }))
    }

    pub(crate) fn log(file: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Self(Box::new(Repr::Log {
            file: file.to_path_buf(),
            offset,
            reason: reason.into(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_the_thing_and_the_way_out() {
        let error = Error::log(Path::new("log/000001.log"), 24, "checksum differs");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        assert!(text.contains("log/000001.log") && text.contains("24") && text.contains("Restore"));
    }
}
