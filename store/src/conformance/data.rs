//! What the clauses share: comparing, and saying what differs.

use std::fmt;

use crate::backend::{Backend, KeyValue};
use crate::error::Error;

/// Longest key or value that a violation repeats.
const SHOWN_BYTES: usize = 12;

/// Why a clause is broken.
pub(super) struct Failure(pub(super) String);

pub(super) type Outcome<T = ()> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(format!("an operation failed: {error}"))
    }
}

pub(super) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Outcome {
    match holds {
        true => Ok(()),
        false => Err(Failure(otherwise())),
    }
}

/// A map and a key or value, as a violation repeats it.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..SHOWN_BYTES) {
            Some(start) if self.0.len() > SHOWN_BYTES => {
                write!(f, "{start:?}… ({} bytes)", self.0.len())
            }
            _ => write!(f, "{:?}", self.0),
        }
    }
}

fn shown(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| Bytes(value).to_string())
}

/// The value of `key` in `map` is `wanted`.
pub(super) fn expect(
    backend: &dyn Backend,
    map: &str,
    key: &[u8],
    wanted: Option<&[u8]>,
) -> Outcome {
    let found = backend.get(map, key)?;
    ensure(found.as_deref() == wanted, || {
        format!(
            "get of key {} in map {map:?} gave {}, not {}",
            Bytes(key),
            shown(found.as_deref()),
            shown(wanted)
        )
    })
}

/// Two lists of entries are the same; `what` names the call that gave `found`.
pub(super) fn same(found: &[KeyValue], wanted: &[KeyValue], what: &str) -> Outcome {
    if found == wanted {
        return Ok(());
    }
    let keys = |entries: &[KeyValue]| {
        let shown: Vec<String> = entries
            .iter()
            .take(SHOWN_BYTES)
            .map(|(key, value)| format!("{} = {}", Bytes(key), Bytes(value)))
            .collect();
        format!("{} entries ({})", entries.len(), shown.join(", "))
    };
    Err(Failure(format!(
        "{what} gave {}, not {}",
        keys(found),
        keys(wanted)
    )))
}
