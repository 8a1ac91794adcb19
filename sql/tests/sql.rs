//! The SQL layer over an in-memory store and a cluster of one.
//!
//! Behaviour lives in `slt/*.slt`; what a script cannot say is in `cases`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cases;
mod common;
