//! Functions beside DataFusion's: those for JSON, those that say where a session is, the one that samples are
//! made with, and those that planning needs; and how DataFusion's own are read.
//!
//! Invariant: every session that plans or runs parts of queries has the same ones, on every peer,
//! because plans name functions.
//! Not here: what users define themselves; there is no such thing.

mod current;
mod in_list;
mod json;
mod one_row;
mod ranks;
mod sample_hash;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ScalarUDF;

use crate::checked::register_checked;
use crate::mended::Nullable;
use in_list::IsListed;

pub(crate) use in_list::LongLists;
pub(crate) use one_row::OneRow;
pub(crate) use sample_hash::SampleHash;

/// Gives a session the functions that plans of this engine may name.
///
/// # Errors
/// When the session takes no functions.
pub fn register_functions(session: &mut dyn FunctionRegistry) -> Result<()> {
    register_checked(session)?;
    json::register(session)?;
    session.register_expr_planner(Arc::new(ranks::Ranks))?;
    session.register_udf(Arc::new(ScalarUDF::from(SampleHash::new())))?;
    session.register_udf(Arc::new(ScalarUDF::from(IsListed::default())))?;
    session.register_udf(Arc::new(ScalarUDF::from(Nullable::new())))?;
    session.register_udf(Arc::new(ScalarUDF::from(OneRow::new())))?;
    session.register_udf(Arc::new(ScalarUDF::from(current::Current::schema())))?;
    session.register_udf(Arc::new(ScalarUDF::from(current::Current::database())))?;
    Ok(())
}
