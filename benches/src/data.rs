//! The rows that every contender gets: the flights of 2013 and what they join to.

use std::path::{Path, PathBuf};

/// One table: its definition for netabase, and the file with its rows.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) definition: String,
    pub(crate) file: PathBuf,
}

/// Name and definition, in the order in which they are loaded.
const TABLES: &[(&str, &str)] = &[
    ("airlines", include_str!("../../console/sql/airlines.sql")),
    ("airports", include_str!("../../console/sql/airports.sql")),
    ("planes", include_str!("../../console/sql/planes.sql")),
    ("weather", include_str!("../../console/sql/weather.sql")),
    ("flights", include_str!("../../console/sql/flights.sql")),
];

/// The tables, in that order.
pub(crate) fn tables() -> Vec<Table> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data");
    let table = |&(name, definition): &(&'static str, &str)| Table {
        name,
        definition: definition.to_owned(),
        file: data.join(format!("{name}.parquet")),
    };
    TABLES.iter().map(table).collect()
}
