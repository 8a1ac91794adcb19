//! Functions beside DataFusion's: those that PostgreSQL, SQLite and DuckDB have besides, those for JSON, those that
//! say where a session is, the one that samples are made with, and those that planning needs; and how DataFusion's
//! own are read.
//!
//! Invariant: every session that plans or runs parts of queries has the same ones, on every peer,
//! because plans name functions.
//! Not here: what users define themselves; there is no such thing.

mod current;
mod dates;
mod everywhere;
mod format;
mod forms;
mod in_list;
mod intervals;
mod json;
mod kinds;
mod lists;
mod one_row;
mod ordered;
mod patterns;
mod plain;
mod ranks;
mod room;
mod sample_hash;
mod text_casts;
mod type_of;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ScalarUDF;

use crate::checked::register_checked;
use crate::mended::{Bounded, Nullable};
use in_list::IsListed;

pub(crate) use dates::readable;
pub(crate) use in_list::{IS_LISTED, LongLists, LongListsOfIntegers};
use intervals::TEXT_TO_INTERVAL;
pub(crate) use intervals::{
    PARTS as INTERVAL_PARTS, in_words, is_plain as is_plain_interval, parse as interval_of,
    span_length,
};
pub(crate) use kinds::KnownKinds;
pub(crate) use lists::{ListLengths, counted};
pub(crate) use one_row::OneRow;
pub(crate) use plain::is_text;
pub(crate) use sample_hash::SampleHash;
pub(crate) use text_casts::{TextCasts, text_casts};

/// Functions that statements are rewritten to, and nobody calls.
const INTERNAL: [&str; 21] = [
    "as_json",
    "bounded",
    "checked_add",
    "checked_multiply",
    "checked_subtract",
    "in_list",
    "interval_divide",
    "interval_length",
    "interval_multiply",
    "json_from_scalar",
    "json_pair",
    "json_union_to_text",
    "jsonb_of_pairs",
    "mode_of_ordered",
    "nullable",
    "one_row",
    "percentile_of_ordered",
    "sample_hash",
    "scalar_to_json",
    "shown_text",
    "text_to_interval",
];

/// Whether a function is one that nobody calls.
pub(crate) fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name) || name.starts_with(forms::FORMED) || name == lists::TEXT_TO_LIST.name
}

/// Gives a session the functions that plans of this engine may name.
///
/// # Errors
/// When the session takes no functions.
pub fn register_functions(session: &mut dyn FunctionRegistry) -> Result<()> {
    register_checked(session)?;
    json::register(session)?;
    session.register_expr_planner(Arc::new(ranks::Ranks))?;
    session.register_expr_planner(Arc::new(intervals::Scaled))?;
    register_plain(session)?;
    everywhere::register(session)?;
    session.register_udf(Arc::new(ScalarUDF::from(SampleHash::new())))?;
    session.register_udf(Arc::new(ScalarUDF::from(IsListed::default())))?;
    session.register_udf(Arc::new(ScalarUDF::from(Nullable::new())))?;
    session.register_udf(Arc::new(ScalarUDF::from(Bounded::new())))?;
    session.register_udf(Arc::new(ScalarUDF::from(OneRow::new())))?;
    session.register_udf(Arc::new(ScalarUDF::from(current::Current::schema())))?;
    session.register_udf(Arc::new(ScalarUDF::from(current::Current::database())))?;
    Ok(())
}

fn register_plain(session: &mut dyn FunctionRegistry) -> Result<()> {
    let functions = (dates::FUNCTIONS.into_iter())
        .chain(format::FUNCTIONS)
        .chain(forms::FUNCTIONS)
        .chain(intervals::FUNCTIONS)
        .chain(ordered::FUNCTIONS)
        .chain(patterns::FUNCTIONS)
        .chain([lists::LEN, lists::TEXT_TO_LIST, type_of::TYPE_OF]);
    for plain in functions {
        session.register_udf(Arc::new(plain.function()))?;
    }
    // A registry without the function has nothing to mend.
    if let Ok(inner) = session.udf(dates::DATE_TRUNC) {
        let ours = dates::Truncate::new(inner);
        session.register_udf(Arc::new(ScalarUDF::new_from_impl(ours)))?;
    }
    Ok(())
}
