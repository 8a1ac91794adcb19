//! Fuzz targets of the store. How to run them: `README.md` beside this package.

#![forbid(unsafe_code)]

mod targets;

pub use targets::*;
