//! Statements about one key give the row wherever it lies.

use netabase::arrow::array::AsArray;
use netabase::arrow::datatypes::Int64Type;
use netabase::{Answer, Netabase};

use crate::common::{close, peers};

/// Rows of the table. With one replica, two thirds are elsewhere.
const ROWS: i64 = 60;
/// So many that every peer holds some: of eight, one peer in eight tables would have none.
const SHARDS: usize = 64;

async fn value(answer: Answer) -> Option<i64> {
    let coverage = answer.coverage_handle();
    let answer = answer.collect().await.unwrap();
    let coverage = coverage.current();
    assert!(coverage.is_complete());
    assert_eq!((coverage.shards_total, coverage.peers.len()), (SHARDS, 3));
    let rows = answer.batches().iter().find(|rows| rows.num_rows() > 0)?;
    Some(rows.column(0).as_primitive::<Int64Type>().value(0))
}

async fn count(peer: &Netabase, text: &str) -> u64 {
    peer.sql(text).await.unwrap().receipt().unwrap().rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_found_and_changed_wherever_its_shard_is() {
    let peers = peers(3, "points", |b| b).await;
    let create = format!(
        "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT) WITH (shards = {SHARDS}, replicas = 1)"
    );
    peers[0].sql(&create).await.unwrap();
    for k in 0..ROWS {
        let peer = &peers[k as usize % 3];
        assert_eq!(
            count(peer, &format!("INSERT INTO t VALUES ({k}, {k})")).await,
            1
        );
    }
    for (asker, peer) in peers.iter().enumerate() {
        let select = peer.prepare("SELECT v FROM t WHERE k = $1").await.unwrap();
        for k in 0..ROWS + 3 {
            let expected = (k < ROWS).then_some(k + 100 * asker as i64);
            let text = format!("SELECT v FROM t WHERE k = {k}");
            assert_eq!(value(peer.sql(&text).await.unwrap()).await, expected);
            assert_eq!(value(select.bind(k).query().await.unwrap()).await, expected);
            // The next peer that asks finds another value.
            let update = format!("UPDATE t SET v = v + 100 WHERE k = {k}");
            assert_eq!(count(peer, &update).await, u64::from(k < ROWS));
        }
    }
    for k in 0..ROWS + 3 {
        let peer = &peers[(k as usize + 1) % 3];
        let delete = format!("DELETE FROM t WHERE k = {k}");
        assert_eq!(count(peer, &delete).await, u64::from(k < ROWS));
    }
    for peer in &peers {
        assert_eq!(
            value(peer.sql("SELECT count(*) FROM t").await.unwrap()).await,
            Some(0)
        );
    }
    close(peers).await;
}
