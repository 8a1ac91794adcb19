//! The Python module of netabase.
//!
//! Purpose: the facade with Python's manners: a context manager, exceptions by kind, Arrow streams.
//! Invariants: the interpreter is never held during a wait, and Ctrl-C ends every wait; string and
//! binary views never reach Python.
//! Not here: behaviour of its own.

#![forbid(unsafe_code)]

mod database;
mod failure;
mod result;
mod values;
mod wait;

use pyo3::prelude::*;

/// A SQL database whose tables live on a peer-to-peer network.
#[pymodule]
#[pyo3(name = "netabase")]
fn netabase_module(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    failure::register(m)?;
    m.add_class::<database::Database>()?;
    m.add_class::<result::ResultSet>()?;
    m.add_function(wrap_pyfunction!(database::open, m)?)?;
    Ok(())
}
