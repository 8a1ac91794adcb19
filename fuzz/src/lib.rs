//! Fuzz targets of the store. How to run them: `README.md` beside this package.

#![forbid(unsafe_code)]

mod targets;

pub use targets::*;

/// The reader of arrow panics on some bytes, and the store catches that. libFuzzer's hook would end the
/// process at once; without it, a panic that nobody catches still does. All are told, with their place.
pub fn let_panics_be_caught() {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}
