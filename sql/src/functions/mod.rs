//! Functions beside DataFusion's: those for JSON, those that say where a session is, and the one that
//! samples are made with.
//!
//! Invariant: every session that plans or runs parts of queries has the same ones, on every peer,
//! because plans name functions.
//! Not here: what users define themselves; there is no such thing.

mod current;
mod json;
mod sample_hash;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ScalarUDF;

use crate::checked::register_checked;

pub(crate) use sample_hash::SampleHash;

/// Gives a session the functions that plans of this engine may name.
///
/// # Errors
/// When the session takes no functions.
pub fn register_functions(session: &mut dyn FunctionRegistry) -> Result<()> {
    register_checked(session)?;
    json::register(session)?;
    session.register_udf(Arc::new(ScalarUDF::from(SampleHash::new())))?;
    session.register_udf(Arc::new(ScalarUDF::from(current::Current::schema())))?;
    session.register_udf(Arc::new(ScalarUDF::from(current::Current::database())))?;
    Ok(())
}
