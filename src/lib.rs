//! netabase: a SQL database that an application embeds, and whose tables live on a peer-to-peer
//! network.
//!
//! Every process that opens a [`Netabase`] is a peer: it stores a share of the tables (or none, as
//! a [`Role::Client`]), and it can ask about all of them. There is no server. Every [`Answer`] says
//! in its [`Coverage`] which shards it was made from and which peers read them.
//!
//! ```
//! # async fn example() -> Result<(), netabase::Error> {
//! let db = netabase::Netabase::in_memory().await?;
//! db.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT)").await?;
//! db.sql("INSERT INTO t VALUES (1, 'one')").await?;
//! println!("{}", db.sql("SELECT * FROM t").await?.show().await?);
//! db.close().await
//! # }
//! ```
//!
//! Purpose of this crate: one handle over the layers beneath it (storage, SQL, network), with
//! errors, limits and shutdown in one place. Invariants: statements run on a runtime that the handle
//! owns, so that it works from any executor; an answer is whole or it is an error; after
//! [`Netabase::close`] nothing runs any more. Not here: planning, storage and network themselves.

#![forbid(unsafe_code)]

mod answer;
pub mod blocking;
mod builder;
mod coverage;
mod database;
mod joining;
mod objects;
mod opening;
mod prepared;
mod runtime;
mod session;
mod settings;
mod tables;
pub mod typed;
mod upkeep;
mod views;
mod watched;

pub use answer::{Answer, AnswerStream, Batches};
pub use arrow;
pub use builder::Builder;
pub use coverage::{Coverage, CoverageHandle, TableCoverage};
pub use database::Netabase;
pub use datafusion;
pub use netabase_distributed::{Counters, PeerInfo, Role};
pub use netabase_macros::{Record, RecordField};
pub use netabase_sql::{ShardRef, WriteReceipt, text_batch, text_schema};
pub use netabase_store::{
    BackendKind, BackupReport, BackupTarget, CheckReport, Codec, Durability, Error, ErrorKind,
    MAX_VALUE_BYTES, OpenReport, Problem, PruneReport, RepairReport, RestoreReport, StoreHealth,
    StoreStats, ValueCodec,
};
pub use prepared::{Bound, Prepared};
pub use session::Session;
pub use settings::Settings;
pub use typed::{ConversionError, Record, RecordField, Table};

/// The examples of the guide, which are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/typed.md")]
pub struct Guide;
