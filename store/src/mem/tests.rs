//! The digest of a shard is that of its records, whatever the history.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use hashbrown::DefaultHashBuilder;
use proptest::prelude::*;

use super::{Incoming, Preparer, Shard, Stamps};
use crate::catalog::{Catalog, TableState};
use crate::clock::Version;
use crate::ids::{Stamp, TableId};
use crate::table::TableDef;
use crate::write::Change;

fn table() -> Arc<TableState> {
    let id = TableId::default();
    let mut catalog = Catalog::default();
    let def = TableDef {
        id,
        name: "t".into(),
        schema: Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)])),
        primary_key: vec![0],
        shard_key: vec![0],
        shards: 1,
        replicas: 1,
        local: true,
        owner: "o".into(),
        created: Version(1),
        dropped: None,
        placement: Vec::new(),
        options: Default::default(),
        attachment: Vec::new(),
    };
    catalog.install(def).unwrap();
    catalog.by_id(id).unwrap().state.clone()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn digest_equals_recomputation(
        steps in proptest::collection::vec(
            (any::<bool>(), proptest::collection::btree_set(0..300i64, 1..150), 1..30u64, 0..3u8),
            1..60,
        ),
    ) {
        let table = table();
        let hasher = DefaultHashBuilder::default();
        let preparer = Preparer { hasher: &hasher, trusted: false };
        let mut shard = Shard::default();
        for (delete, ids, version, author) in steps {
            let change = if delete { Change::Delete } else { Change::Upsert };
            let ids = Int64Array::from_iter_values(ids);
            let rows = RecordBatch::try_new(table.schema.clone(), vec![Arc::new(ids)]).unwrap();
            let stamp = Stamp { version: Version(version), author: format!("p{author}").into() };
            let part = preparer.prepare(&table, Incoming { table: table.id, shard: 0, change, stamps: Stamps::One(stamp), rows }).unwrap();
            shard.apply(part, &hasher);
            prop_assert_eq!(shard.tree(), shard.recomputed_digest());
            let frozen = shard.freeze(true);
            let current: usize = frozen.iter().map(|batch| batch.current_rows).sum();
            prop_assert_eq!(current as u64, shard.records());
            let live: usize = shard.freeze(false).iter().map(|batch| batch.current_rows).sum();
            prop_assert_eq!(live as u64, shard.live());
        }
    }
}
