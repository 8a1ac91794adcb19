//! Whether a backend keeps the contract of [`Backend`].
//!
//! Purpose: whoever writes a backend runs [`check`] and [`check_reopen`] in a test, and learns which
//! [`Clause`] it breaks, and how. Invariant: every clause is tried, on a backend that was cleared
//! before it; a panic of the backend is a violation like others. Non-goals: speed, and the loss of
//! power: only the machine's owner can pull that plug.
//!
//! ```
//! use netabase_store::{MemoryBackend, conformance};
//!
//! conformance::check(&MemoryBackend::new()).into_result()?;
//! # Ok::<(), netabase_store::Error>(())
//! ```

mod clauses;
mod concurrent;
mod data;
mod reopen;
#[cfg(test)]
mod tests;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use self::data::{Failure, Outcome};
use crate::backend::Backend;
use crate::error::{Error, Result};

/// A part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clause {
    /// What was put is found, until it is replaced or removed; empty keys and values are allowed.
    Get,
    /// The same key in different maps is different entries, however similar the names.
    Maps,
    /// A batch takes effect whole, over all its maps; a refused one not at all.
    Batches,
    /// Of the changes of a key in one batch, the last one counts.
    Order,
    /// A range is exactly the entries within its bounds, in order of bytes, up to its limit.
    Ranges,
    /// Values of a mebibyte, and keys of a kibibyte, are kept.
    LargeValues,
    /// Ten thousand entries of one map are kept, and can be read page by page.
    ManyKeys,
    /// Names that are empty, too long, or hold a zero byte are refused with `InvalidInput`.
    MapNames,
    /// The maps that have entries are listed, in order, and no others.
    Listing,
    /// Clearing removes everything, and the backend can be used afterwards.
    Clear,
    /// Threads that read while others write see whole batches, and no write is lost.
    Concurrency,
    /// What was flushed is there after opening again.
    Reopen,
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::Maps => "maps",
            Self::Batches => "batches",
            Self::Order => "order",
            Self::Ranges => "ranges",
            Self::LargeValues => "large values",
            Self::ManyKeys => "many keys",
            Self::MapNames => "map names",
            Self::Listing => "listing",
            Self::Clear => "clear",
            Self::Concurrency => "concurrency",
            Self::Reopen => "reopen",
        })
    }
}

/// A clause that a backend breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// Which one.
    pub clause: Clause,
    /// What happened, and what should have.
    pub detail: String,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a backend conforms only if the report has no violations"]
#[non_exhaustive]
pub struct Report {
    /// The name that the backend gives itself.
    pub backend: String,
    /// The clauses that were tried.
    pub checked: Vec<Clause>,
    /// Those that were broken; at most one violation each.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Fails with `InvalidInput`, naming every violation, if there is one.
    pub fn into_result(self) -> Result<()> {
        match self.violations.is_empty() {
            true => Ok(()),
            false => Err(Error::invalid(self.to_string())),
        }
    }

    fn new(backend: &str) -> Self {
        Self {
            backend: backend.to_owned(),
            checked: Vec::new(),
            violations: Vec::new(),
        }
    }

    fn check(&mut self, clause: Clause, run: impl FnOnce() -> Outcome) {
        self.checked.push(clause);
        let outcome = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err(Failure("the backend panicked".to_owned())));
        if let Err(Failure(detail)) = outcome {
            self.violations.push(Violation { clause, detail });
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            backend,
            checked,
            violations,
        } = self;
        let (broken, all) = (violations.len(), checked.len());
        write!(f, "backend {backend} breaks {broken} of {all} clauses")?;
        for Violation { clause, detail } in violations {
            write!(f, "\n- {clause}: {detail}")?;
        }
        Ok(())
    }
}

/// Tries one clause on a cleared backend.
type Try = fn(&dyn Backend) -> Outcome;

/// Tries every clause but [`Clause::Reopen`]. Everything in the backend is lost: give it an empty
/// one. Takes seconds where batches are slow.
pub fn check(backend: &dyn Backend) -> Report {
    let clauses: [(Clause, Try); 11] = [
        (Clause::Get, clauses::get),
        (Clause::Maps, clauses::maps),
        (Clause::Batches, clauses::batches),
        (Clause::Order, clauses::order),
        (Clause::Ranges, clauses::ranges),
        (Clause::LargeValues, clauses::large_values),
        (Clause::ManyKeys, clauses::many_keys),
        (Clause::MapNames, clauses::map_names),
        (Clause::Listing, clauses::listing),
        (Clause::Clear, clauses::clear),
        (Clause::Concurrency, concurrent::concurrency),
    ];
    let mut report = Report::new(backend.name());
    for (clause, run) in clauses {
        report.check(clause, || {
            backend.clear()?;
            run(backend)
        });
    }
    report
}

/// Tries [`Clause::Reopen`]. `open` opens the same data each time; it is called again only after
/// what it returned before was dropped, or, where that is all there is, may return the same backend.
/// Everything in it is lost.
pub fn check_reopen(mut open: impl FnMut() -> Result<Arc<dyn Backend>>) -> Report {
    let mut report = Report::new("that was opened again");
    let mut name = None;
    report.check(Clause::Reopen, || {
        reopen::reopen(&mut || {
            let backend = open()?;
            name = Some(backend.name().to_owned());
            Ok(backend)
        })
    });
    if let Some(name) = name {
        report.backend = name;
    }
    report
}
