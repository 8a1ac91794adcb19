//! The whole stack: several peers, real data, real failures. One behaviour per module.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs
)]

mod answers;
mod bad_input;
mod changes;
mod common;
mod demo;
mod gossip;
mod languages;
mod loss;
mod objects;
mod oracle;
mod points;
mod processes;
mod provenance;
mod transports;
mod upkeep;
