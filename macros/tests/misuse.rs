//! Misuse of the derives, each with the error that the user reads.
//!
//! Every file in `misuse/` is compiled, and what the compiler says is compared with the `.stderr` file beside
//! it: text and place. `TRYBUILD=overwrite cargo test -p netabase-macros` writes them anew, to be read before
//! they are believed. The files know the macros alone, so that an error is one of the macros' own: what
//! compiles needs the crate `netabase`, whose tests see to it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

/// Fewest misuses that are told apart.
const LEAST: usize = 25;

#[test]
fn misuse_is_an_error_that_says_the_way_out() {
    // It compiles them, and fails, when it is dropped.
    trybuild::TestCases::new().compile_fail("tests/misuse/*.rs");
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/misuse")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let golden = paths.filter(|path| path.extension().is_some_and(|ending| ending == "stderr"));
    let golden = golden.count();
    assert!(golden >= LEAST, "{golden} of at least {LEAST} misuses");
}
