//! Failures and their exit codes.

use std::fmt;
use std::io;
use std::process::ExitCode;

use netabase::{Error, ErrorKind};

/// The codes, as shown by `--help`.
pub(crate) const HELP: &str = "Exit codes:
  0  success (also when the reader of standard output went away)
  1  any other failure
  2  wrong usage of the command line
  3  wrong SQL or input
  4  not found
  5  conflict
  6  a limit is reached
  7  unavailable: a peer cannot be reached, or the data folder is in use
  8  stored data is damaged
  9  the operating system refused

Every option can be set in the environment as NETABASE_<OPTION>.
RUST_LOG chooses what is logged to standard error.";

const OTHER: u8 = 1;
const USAGE: u8 = 2;
const IO: u8 = 9;

/// Why the command ends.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database said so.
    Database(Error),
    /// The command line makes no sense, although it can be parsed.
    Usage(String),
    /// A file or a stream cannot be used.
    Io(String),
    /// A child process or a signal handler failed.
    Other(String),
    /// Nobody reads standard output any more.
    ClosedPipe,
}

impl Failure {
    /// A failed use of the named thing.
    pub(crate) fn io(what: &str, error: &io::Error) -> Self {
        Self::Io(format!("{what}: {error}"))
    }

    /// A failed write to standard output.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ClosedPipe;
        }
        Self::io("standard output", error)
    }

    /// The exit code.
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Database(error) => ExitCode::from(code_of(error.kind())),
            Self::Usage(_) => ExitCode::from(USAGE),
            Self::Io(_) => ExitCode::from(IO),
            Self::Other(_) => ExitCode::from(OTHER),
            Self::ClosedPipe => ExitCode::SUCCESS,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => error.fmt(f),
            Self::Usage(text) | Self::Io(text) | Self::Other(text) => f.write_str(text),
            Self::ClosedPipe => f.write_str("the reader of standard output went away"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidInput => 3,
        ErrorKind::NotFound => 4,
        ErrorKind::Conflict => 5,
        ErrorKind::Capacity => 6,
        ErrorKind::Unavailable => 7,
        ErrorKind::Corrupt => 8,
        ErrorKind::Io => IO,
        _ => OTHER,
    }
}

/// Prints what the parser has to say: help and version are results, the rest is a wrong usage.
pub(crate) fn usage(message: &clap::Error) -> Result<(), Failure> {
    if message.use_stderr() {
        let text = message.to_string();
        return Err(Failure::Usage(
            text.strip_prefix("error: ")
                .unwrap_or(&text)
                .trim_end()
                .to_owned(),
        ));
    }
    message.print().map_err(|e| Failure::output(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(Failure::output(&closed), Failure::ClosedPipe));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(Failure::output(&full), Failure::Io(_)));
    }

    #[test]
    fn every_code_is_in_the_help() {
        for kind in [
            ErrorKind::InvalidInput,
            ErrorKind::NotFound,
            ErrorKind::Conflict,
            ErrorKind::Capacity,
            ErrorKind::Unavailable,
            ErrorKind::Corrupt,
            ErrorKind::Io,
        ] {
            assert!(HELP.contains(&format!("\n  {}  ", code_of(kind))));
        }
    }
}
