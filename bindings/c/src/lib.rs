//! The C interface of netabase.
//!
//! Purpose: the blocking facade behind a dozen functions; rows leave as an Arrow C stream.
//! Invariants: a panic never crosses the boundary; every call says with a code what happened, and
//! `netabase_last_error` says it in words; string and binary views never reach C.
//! Not here: behaviour of its own.

#![deny(unsafe_op_in_unsafe_fn)]

mod calls;
mod failure;
mod memory;
mod rows;

pub use calls::{
    netabase_close, netabase_coverage, netabase_delete, netabase_exec, netabase_free, netabase_get,
    netabase_last_error, netabase_open, netabase_peer_id, netabase_put, netabase_t,
    netabase_wait_for_peers,
};
pub use failure::{
    NETABASE_CAPACITY, NETABASE_CONFLICT, NETABASE_CORRUPT, NETABASE_INVALID_INPUT, NETABASE_IO,
    NETABASE_NOT_FOUND, NETABASE_OK, NETABASE_OTHER, NETABASE_UNAVAILABLE,
};
