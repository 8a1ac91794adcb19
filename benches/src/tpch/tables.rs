//! The tables of TPC-H: their definitions, and files that are generated once.
//!
//! Invariant: a folder of data is whole when it has its marker; anything else is generated again.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::record_batch::RecordBatchReader;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

use crate::Failure;
use crate::data::Table;

/// What generated the files; another text in the marker means other files.
const VERSION: &str = "tpchgen 4.0, zstd, 1\n";
/// Name of the marker.
const MARKER: &str = "VERSION";

/// Name, columns and key, in the order in which they are loaded. The first column of a key is what
/// other tables join by.
const TABLES: &[(&str, &str)] = &[
    ("region", include_str!("../../queries/tables/region.sql")),
    ("nation", include_str!("../../queries/tables/nation.sql")),
    (
        "supplier",
        include_str!("../../queries/tables/supplier.sql"),
    ),
    (
        "customer",
        include_str!("../../queries/tables/customer.sql"),
    ),
    ("part", include_str!("../../queries/tables/part.sql")),
    (
        "partsupp",
        include_str!("../../queries/tables/partsupp.sql"),
    ),
    ("orders", include_str!("../../queries/tables/orders.sql")),
    (
        "lineitem",
        include_str!("../../queries/tables/lineitem.sql"),
    ),
];

/// The tables over the files of a folder.
pub(crate) fn tables(data: &Path, shards: Option<usize>) -> Vec<Table> {
    let table = |&(name, definition): &(&'static str, &str)| Table {
        name,
        definition: defined(definition, shards),
        file: data.join(format!("{name}.parquet")),
    };
    TABLES.iter().map(table).collect()
}

fn defined(definition: &str, shards: Option<usize>) -> String {
    let definition = definition.trim();
    match (shards, definition.split_once("WITH (")) {
        (Some(count), Some((table, options))) => {
            format!("{table}WITH (shards = {count}, {options}")
        }
        (Some(count), None) => format!("{definition} WITH (shards = {count})"),
        (None, _) => definition.to_owned(),
    }
}

/// The folder with the data of a scale factor; generates what is missing.
pub(crate) fn generated(cache: &Path, scale: f64) -> Result<PathBuf, Failure> {
    let folder = cache.join(format!("tpch-sf{scale}"));
    let marker = folder.join(MARKER);
    if std::fs::read_to_string(&marker).is_ok_and(|version| version == VERSION) {
        return Ok(folder);
    }
    std::fs::create_dir_all(&folder)?;
    for (name, _) in TABLES {
        eprintln!("generating {name} at scale {scale}");
        write(&folder.join(format!("{name}.parquet")), rows(name, scale)?)?;
    }
    std::fs::write(marker, VERSION)?;
    Ok(folder)
}

fn rows(table: &str, scale: f64) -> Result<Box<dyn RecordBatchReader>, Failure> {
    Ok(match table {
        "region" => Box::new(RegionArrow::new(RegionGenerator::new(scale, 1, 1))),
        "nation" => Box::new(NationArrow::new(NationGenerator::new(scale, 1, 1))),
        "supplier" => Box::new(SupplierArrow::new(SupplierGenerator::new(scale, 1, 1))),
        "customer" => Box::new(CustomerArrow::new(CustomerGenerator::new(scale, 1, 1))),
        "part" => Box::new(PartArrow::new(PartGenerator::new(scale, 1, 1))),
        "partsupp" => Box::new(PartSuppArrow::new(PartSuppGenerator::new(scale, 1, 1))),
        "orders" => Box::new(OrderArrow::new(OrderGenerator::new(scale, 1, 1))),
        "lineitem" => Box::new(LineItemArrow::new(LineItemGenerator::new(scale, 1, 1))),
        other => return Err(format!("no table is called {other}").into()),
    })
}

fn write(path: &Path, rows: Box<dyn RecordBatchReader>) -> Result<(), Failure> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, rows.schema(), Some(properties))?;
    for batch in rows {
        writer.write(&batch?)?;
    }
    writer.close()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_written_into_definitions() {
        let tables = tables(Path::new("data"), Some(4));
        assert_eq!(tables.len(), 8);
        for table in tables {
            assert!(table.definition.contains(") WITH (shards = 4"));
        }
        assert_eq!(
            defined("CREATE TABLE t (a INT)\n", None),
            "CREATE TABLE t (a INT)"
        );
    }

    #[test]
    fn generators_have_the_columns_of_the_definitions() {
        for table in tables(Path::new("data"), None) {
            let schema = rows(table.name, 0.01).unwrap().schema();
            for field in schema.fields() {
                let column = format!(" {} ", field.name());
                assert!(table.definition.contains(&column), "{column}");
            }
            let columns = table.definition.matches(" NOT NULL").count();
            assert_eq!(columns, schema.fields().len(), "{}", table.name);
        }
    }
}
