//! The committed header is what the sources say.
//!
//! `NETABASE_WRITE_HEADER=1 cargo test -p netabase-c --test header` writes it anew.

#![allow(clippy::unwrap_used)]

use std::path::Path;

/// The files with exported items, in the order of the header.
const SOURCES: [&str; 2] = ["src/failure.rs", "src/calls.rs"];

#[test]
fn header_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root.join(source));
    }
    let mut generated = Vec::new();
    builder.generate().unwrap().write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();

    let header = root.join("include/netabase.h");
    if std::env::var_os("NETABASE_WRITE_HEADER").is_some() {
        std::fs::write(&header, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&header).unwrap_or_default();
    assert_eq!(
        committed, generated,
        "bindings/c/include/netabase.h is out of date: run this test with NETABASE_WRITE_HEADER=1"
    );
}
