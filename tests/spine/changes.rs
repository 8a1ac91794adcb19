//! UPDATE and DELETE change rows wherever they lie, and no others.

use netabase::Netabase;
use netabase::arrow::array::AsArray;
use netabase::arrow::datatypes::Int64Type;

use crate::common::{close, peers};

/// Rows of the table, the sum of their keys and of their values.
async fn sums(peer: &Netabase) -> [i64; 3] {
    let text = "SELECT count(*), sum(k), sum(v) FROM t";
    let answer = peer.sql(text).await.unwrap().collect().await.unwrap();
    let rows = answer.batches().iter().find(|rows| rows.num_rows() > 0);
    let rows = rows.unwrap();
    [0, 1, 2].map(|column| rows.column(column).as_primitive::<Int64Type>().value(0))
}

async fn written(peer: &Netabase, text: &str) -> u64 {
    peer.sql(text).await.unwrap().receipt().unwrap().rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_and_deletes_reach_the_rows_of_every_peer() {
    let peers = peers(3, "changes", |b| b).await;
    let create = "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT NOT NULL) WITH (replicas = 2)";
    peers[0].sql(create).await.unwrap();
    let create = "CREATE TABLE u (k BIGINT PRIMARY KEY, add BIGINT) WITH (replicas = 2)";
    peers[1].sql(create).await.unwrap();
    let rows = |rows: std::ops::Range<u64>, value: fn(u64) -> u64| {
        let rows = rows.map(|k| format!("({k}, {})", value(k)));
        rows.collect::<Vec<_>>().join(", ")
    };
    let insert = format!("INSERT INTO t VALUES {}", rows(0..300, |k| k));
    assert_eq!(written(&peers[2], &insert).await, 300);
    let insert = format!("INSERT INTO u VALUES {}", rows(290..310, |_| 1000));
    assert_eq!(written(&peers[0], &insert).await, 20);
    // Every other row twice as much; those that u names 1000 more; the first hundred go.
    let update = "UPDATE t SET v = v * 2 WHERE k % 2 = 0";
    assert_eq!(written(&peers[1], update).await, 150);
    let update = "UPDATE t SET v = t.v + u.add FROM u WHERE u.k = t.k";
    assert_eq!(written(&peers[2], update).await, 10);
    let delete = "DELETE FROM t WHERE k IN (SELECT k FROM t WHERE k < 100)";
    assert_eq!(written(&peers[0], delete).await, 100);
    let delete = "DELETE FROM t AS x USING u WHERE u.k = x.k AND x.k > 294";
    assert_eq!(written(&peers[1], delete).await, 5);
    let value = |k: i64| {
        let doubled = if k % 2 == 0 { 2 * k } else { k };
        if k < 290 { doubled } else { doubled + 1000 }
    };
    let (k, v) = ((100..295).sum(), (100..295).map(value).sum());
    for peer in &peers {
        assert_eq!(sums(peer).await, [195, k, v]);
    }
    close(peers).await;
}
