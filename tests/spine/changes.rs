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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_and_whole_statements_reach_every_peer() {
    let peers = peers(3, "statements", |b| b).await;
    let create = "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT NOT NULL DEFAULT 7, \
                  twice BIGINT GENERATED ALWAYS AS (v * 2) STORED, CHECK (v < 1000)) WITH (replicas = 2)";
    peers[0].sql(create).await.unwrap();
    let insert = "INSERT INTO t (k) SELECT value FROM generate_series(1, 100)";
    assert_eq!(written(&peers[1], insert).await, 100);
    assert!(
        peers[2]
            .sql("INSERT INTO t (k, v) VALUES (500, 1000)")
            .await
            .is_err()
    );
    // Fifty keys are there and fifty are new; the ones that are there take what both say.
    let upsert = "INSERT INTO t (k, v) SELECT value, 1 FROM generate_series(51, 150) \
                  ON CONFLICT (k) DO UPDATE SET v = t.v + excluded.v";
    assert_eq!(written(&peers[2], upsert).await, 100);
    let merge = "MERGE INTO t USING (SELECT value AS k FROM generate_series(101, 200)) AS s ON t.k = s.k \
                 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (k, v) VALUES (s.k, 3)";
    assert_eq!(written(&peers[0], merge).await, 100);
    let k = (1..=100).sum::<i64>() + (151..=200).sum::<i64>();
    let v = 50 * 7 + 50 * 8 + 50 * 3;
    for peer in &peers {
        assert_eq!(sums(peer).await, [150, k, v]);
    }
    let returned = peers[1]
        .sql("DELETE FROM t WHERE k = 151 RETURNING twice")
        .await
        .unwrap();
    let returned = returned.collect().await.unwrap();
    assert_eq!(
        returned.batches()[0]
            .column(0)
            .as_primitive::<Int64Type>()
            .value(0),
        6
    );
    // A view and an altered table are known to all of them, at once or a moment later.
    peers[0]
        .sql("CREATE VIEW big AS SELECT k, v FROM t WHERE v > 7")
        .await
        .unwrap();
    peers[0]
        .sql("ALTER TABLE t ADD COLUMN note TEXT DEFAULT 'none'")
        .await
        .unwrap();
    for peer in &peers {
        let text = "SELECT count(*) AS a, count(note) AS b, (SELECT count(*) FROM big) AS c FROM t";
        let rows = eventually(peer, text).await;
        assert_eq!(rows, [149, 149, 50]);
    }
    let session = peers[2].session();
    session
        .script("BEGIN; UPDATE t SET v = 0; DELETE FROM t WHERE k < 51")
        .await
        .unwrap();
    assert_eq!(sums(&peers[2]).await[0], 149);
    let own = session
        .sql("SELECT count(*), sum(v), max(v) FROM t")
        .await
        .unwrap();
    let own = own.collect().await.unwrap();
    let own = own
        .batches()
        .iter()
        .find(|rows| rows.num_rows() > 0)
        .unwrap();
    let own = [0, 1, 2].map(|column| own.column(column).as_primitive::<Int64Type>().value(0));
    assert_eq!(own, [99, 0, 0]);
    session.sql("COMMIT").await.unwrap();
    for peer in &peers {
        let [rows, _, v] = sums(peer).await;
        assert_eq!((rows, v), (99, 0));
    }
    close(peers).await;
}

/// Three numbers of a query, as soon as it can be asked.
async fn eventually(peer: &Netabase, text: &str) -> [i64; 3] {
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let failed = match peer.sql(text).await {
            Ok(answer) => match answer.collect().await {
                Ok(rows) => {
                    let rows = rows
                        .batches()
                        .iter()
                        .find(|rows| rows.num_rows() > 0)
                        .cloned();
                    let rows = rows.unwrap();
                    let number = |place| rows.column(place).as_primitive::<Int64Type>().value(0);
                    return [0, 1, 2].map(number);
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        assert!(std::time::Instant::now() < limit, "{failed}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_and_names_are_those_of_every_peer() {
    let peers = peers(3, "schemas", |b| b).await;
    peers[0].sql("CREATE SCHEMA shop").await.unwrap();
    let create = "CREATE TABLE shop.t (k BIGINT PRIMARY KEY, v BIGINT) WITH (replicas = 2)";
    peers[1].sql(create).await.unwrap();
    let create = "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT) WITH (replicas = 2)";
    peers[2].sql(create).await.unwrap();
    let insert = "INSERT INTO shop.t SELECT value, value + 0 AS v FROM generate_series(1, 100)";
    assert_eq!(written(&peers[2], insert).await, 100);
    assert_eq!(written(&peers[0], "INSERT INTO t VALUES (1, -1)").await, 1);
    let text = "SELECT (SELECT sum(v) FROM shop.t), (SELECT sum(v) FROM t), \
                (SELECT count(*) FROM t JOIN shop.t AS s ON t.k = s.k)";
    for peer in &peers {
        assert_eq!(eventually(peer, text).await, [5050, -1, 1]);
        let session = peer.session();
        session
            .sql("SET search_path TO shop, public")
            .await
            .unwrap();
        let found = session.sql("SELECT v FROM t WHERE k = 7").await.unwrap();
        assert!(found.show().await.unwrap().contains("| 7 |"));
    }
    // A table that is renamed is renamed everywhere, into another schema, too.
    peers[1]
        .sql("ALTER TABLE shop.t RENAME TO u")
        .await
        .unwrap();
    for peer in &peers {
        let text = "SELECT count(*), min(k), max(k) FROM shop.u";
        assert_eq!(eventually(peer, text).await, [100, 1, 100]);
    }
    peers[2]
        .sql("ALTER TABLE t RENAME TO shop.w")
        .await
        .unwrap();
    for peer in &peers {
        let text = "SELECT count(*), min(k), max(v) FROM shop.w";
        assert_eq!(eventually(peer, text).await, [1, 1, -1]);
    }
    let error = peers[2].sql("DROP SCHEMA shop").await.unwrap_err();
    assert!(
        error.to_string().contains("shop.u, shop.w are in it"),
        "{error}"
    );
    peers[2].sql("DROP SCHEMA shop CASCADE").await.unwrap();
    for peer in &peers {
        let text =
            "SELECT count(*), 0, 0 FROM information_schema.schemata WHERE schema_name = 'shop'";
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while eventually(peer, text).await[0] > 0 {
            assert!(std::time::Instant::now() < limit, "it is still there");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert!(peer.sql("SELECT * FROM shop.u").await.is_err());
    }
    close(peers).await;
}
