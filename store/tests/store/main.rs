//! The store as its users see it: one binary, one module per promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod backup;
mod bulk;
mod check;
mod commit;
mod common;
mod compression;
mod convergence;
mod crash;
mod crowding;
mod expiry;
mod faults;
mod format;
mod fuzz;
mod indexes;
mod input;
mod keys;
mod lifecycle;
mod limits;
mod log;
mod lookups;
mod model;
mod read_only;
mod repair;
mod snapshots;
mod types;
