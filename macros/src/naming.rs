//! Names of tables, columns and indexes.
//!
//! Invariant: what passes here passes the checks of the store, which are the same.

use syn::{Error, LitStr, Result};

/// Longest name, in bytes; `MAX_NAME` of the store.
const MAX_NAME: usize = 128;
/// Columns that every table has beside its own.
const SYSTEM_COLUMNS: [&str; 3] = ["_version", "_author", "_expires"];

/// Checks the name of a table, column or index that is written out.
pub(crate) fn check_given(what: &str, given: &LitStr) -> Result<String> {
    let name = given.value();
    check(what, &name).map_err(|text| Error::new(given.span(), text))?;
    Ok(name)
}

/// Checks a name, however it came about.
pub(crate) fn check(what: &str, name: &str) -> std::result::Result<(), String> {
    if name.is_empty() {
        return Err(format!(
            "the name of {what} is empty: give it 1 to {MAX_NAME} bytes, or leave the attribute out"
        ));
    }
    if name.len() > MAX_NAME {
        return Err(format!(
            "the name of {what} has {} bytes: give it 1 to {MAX_NAME}",
            name.len()
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(format!(
            "the name of {what} has control characters: leave them out"
        ));
    }
    Ok(())
}

/// Checks the name of a column of a table.
pub(crate) fn check_column(name: &str) -> std::result::Result<(), String> {
    check("a column", name)?;
    if SYSTEM_COLUMNS.contains(&name) {
        return Err(format!(
            "every table has a column `{name}` of its own: give this one another name with \
             #[record(rename = \"…\")]"
        ));
    }
    Ok(())
}
