//! Who wrote a row, and when, is known to every peer, and samples are the same for all of them.

use netabase::Netabase;
use netabase::arrow::array::AsArray;
use netabase::arrow::datatypes::Int64Type;

use crate::common::{close, peers};

/// The first column of an answer, which is a text, and the second, which is a number.
async fn pairs(peer: &Netabase, sql: &str) -> Vec<(String, i64)> {
    let answer = peer.sql(sql).await.unwrap().collect().await.unwrap();
    let pairs = answer.batches().iter().flat_map(|rows| {
        let texts = rows.column(0).as_string_view().iter();
        let numbers = rows.column(1).as_primitive::<Int64Type>().values();
        let pairs = texts.zip(numbers.iter());
        pairs.map(|(text, number)| (text.unwrap_or_default().to_owned(), *number))
    });
    pairs.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_peer_knows_who_wrote_a_row() {
    let peers = peers(3, "provenance", |b| b).await;
    let create = "CREATE TABLE t (k BIGINT PRIMARY KEY, v TEXT) WITH (replicas = 2)";
    peers[0].sql(create).await.unwrap();
    for (index, peer) in peers.iter().enumerate() {
        let values = (0..100 * (index + 1)).map(|k| format!("({}, 'x')", 1000 * index + k));
        let insert = format!(
            "INSERT INTO t VALUES {}",
            values.collect::<Vec<_>>().join(", ")
        );
        peer.sql(&insert).await.unwrap();
    }
    let by_author = "SELECT _author, count(*) FROM t GROUP BY _author ORDER BY 2";
    let authors = pairs(&peers[0], by_author).await;
    let counts: Vec<i64> = authors.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [100, 200, 300]);
    let mine = peers[1].peer_id().to_owned();
    assert_eq!(authors[1].0, mine);
    // What one has written later, by its version; joined, sorted, and in a sample.
    let update = "UPDATE t SET v = 'y' WHERE _author = '{}' AND k < 1050";
    peers[2].sql(&update.replace("{}", &mine)).await.unwrap();
    let newer = "SELECT DISTINCT a._author, count(*) OVER () FROM t AS a JOIN t AS b ON a.k = b.k + 50 \
                 WHERE b._version > a._version AND a.k >= 1000 AND a.k < 2000";
    let sample = "SELECT max(v), sum(k) FROM t TABLESAMPLE BERNOULLI (40) REPEATABLE (3)";
    let json = "SELECT json_as_text('{\"a\": \"' || v || '\"}', 'a') || '', count(*) FROM t \
                WHERE json_as_text('{\"a\": \"' || v || '\"}', 'a') = 'y' GROUP BY 1";
    let sampled = pairs(&peers[0], sample).await;
    for peer in &peers {
        let counts = pairs(peer, by_author).await;
        let counts: Vec<i64> = counts.into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, [100, 150, 350]);
        assert_eq!(pairs(peer, newer).await, [(mine.clone(), 50)]);
        assert_eq!(pairs(peer, sample).await, sampled);
        let answer = peer.sql(json).await.unwrap().collect().await.unwrap();
        assert_eq!(
            answer
                .batches()
                .iter()
                .map(|rows| rows.num_rows())
                .sum::<usize>(),
            1
        );
    }
    let delete = "DELETE FROM t WHERE _version < (SELECT max(_version) FROM t)";
    peers[0].sql(delete).await.unwrap();
    let left = "SELECT v, count(*) FROM t GROUP BY v";
    assert_eq!(pairs(&peers[1], left).await, [("y".to_owned(), 50)]);
    close(peers).await;
}
