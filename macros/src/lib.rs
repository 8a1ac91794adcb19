//! The derive macros of netabase: `Record` for rows of a table, `RecordField` for values of a column.
//!
//! Idea: a struct says once what a table is (columns, key, indexes, options), and everything else
//! is generated code that the crate `netabase` does the work of; see its module `typed`.
//!
//! Invariant: misuse that can be seen in the tokens is a compile error here, at the token that is
//! wrong, and its text says what to write instead; all of a struct's mistakes are told at once.
//! Nothing is expanded beside an error, so that no second error hides the first.
//!
//! Not here: types. Whether a field's type can be a column is said by the trait bounds of the
//! generated code, at the type; only the types that everybody tries first are named by the macro.

#![forbid(unsafe_code)]

mod attributes;
mod case;
mod container;
mod field;
mod naming;
mod record;
mod record_field;
mod serde_attributes;
mod table;
mod types;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct the row of a table; see `netabase::Record` and the guide in `docs/typed.md`.
#[proc_macro_derive(Record, attributes(record))]
pub fn derive_record(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    tokens(record::expand(&input))
}

/// Makes a struct or an enum without data the value of a column; see `netabase::RecordField`.
#[proc_macro_derive(RecordField, attributes(record))]
pub fn derive_record_field(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    tokens(record_field::expand(&input))
}

fn tokens(expanded: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expanded
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}
