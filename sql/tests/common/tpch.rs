//! The tables and queries of TPC-H.

use std::fs;
use std::path::PathBuf;

use arrow::record_batch::RecordBatchReader;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

use super::tables::TestTable;

/// All tables at a scale, cut by the first column of their keys.
pub(crate) fn tables(scale: f64, shards: u32) -> Vec<TestTable> {
    let region = RegionArrow::new(RegionGenerator::new(scale, 1, 1));
    let nation = NationArrow::new(NationGenerator::new(scale, 1, 1));
    let supplier = SupplierArrow::new(SupplierGenerator::new(scale, 1, 1));
    let part = PartArrow::new(PartGenerator::new(scale, 1, 1));
    let customer = CustomerArrow::new(CustomerGenerator::new(scale, 1, 1));
    let orders = OrderArrow::new(OrderGenerator::new(scale, 1, 1));
    let partsupp = PartSuppArrow::new(PartSuppGenerator::new(scale, 1, 1));
    let lineitem = LineItemArrow::new(LineItemGenerator::new(scale, 1, 1));
    let mut tables = vec![
        table("region", &[0], region),
        table("nation", &[0], nation),
        table("supplier", &[0], supplier),
        table("part", &[0], part),
        table("customer", &[0], customer),
        table("orders", &[0], orders),
        table("partsupp", &[0, 1], partsupp),
        table("lineitem", &[0, 3], lineitem),
    ];
    for table in &mut tables {
        table.shards = shards;
    }
    tables
}

fn table(name: &'static str, key: &'static [usize], source: impl RecordBatchReader) -> TestTable {
    TestTable {
        name,
        key,
        shard_key: 1,
        shards: 1,
        schema: source.schema(),
        rows: source.map(|batch| batch.unwrap()).collect(),
    }
}

/// The text of a query: the one that is measured.
pub(crate) fn query(number: usize) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../benches/queries");
    fs::read_to_string(path.join(format!("q{number:02}.sql"))).unwrap()
}
