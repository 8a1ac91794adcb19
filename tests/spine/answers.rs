//! Every peer gives the answers that plain DataFusion gives over the same files.

use std::time::{Duration, Instant};

use netabase::Role;

use crate::common::{HEAVY, PATIENCE, TABLES, builder, close, load, peers, question};
use crate::oracle::{assert_same, oracle};

/// Name, whether the order of rows is part of the answer, statement.
pub(crate) const QUERIES: &[(&str, bool, &str)] = &[
    ("count", true, "SELECT count(*) FROM flights"),
    (
        "group by one column",
        false,
        "SELECT carrier, count(*), sum(distance), avg(arr_delay), min(dep_delay), max(dep_delay) \
         FROM flights GROUP BY carrier",
    ),
    (
        "join of two",
        false,
        "SELECT a.name, count(*) AS n, sum(f.air_time) FROM flights f \
         JOIN airlines a ON a.carrier = f.carrier GROUP BY a.name",
    ),
    (
        "join of three",
        false,
        "SELECT a.name, p.engines, count(*), avg(f.dep_delay) FROM flights f \
         JOIN airlines a ON a.carrier = f.carrier JOIN planes p ON p.tailnum = f.tailnum \
         GROUP BY a.name, p.engines",
    ),
    (
        "join of four",
        false,
        "SELECT a.name, d.tzone, p.engine, count(*), sum(f.distance) FROM flights f \
         JOIN airlines a ON a.carrier = f.carrier JOIN planes p ON p.tailnum = f.tailnum \
         JOIN airports d ON d.faa = f.dest GROUP BY a.name, d.tzone, p.engine",
    ),
    (
        "left join and having",
        false,
        "SELECT p.manufacturer, count(*) AS n FROM flights f \
         LEFT JOIN planes p ON p.tailnum = f.tailnum GROUP BY p.manufacturer HAVING count(*) > 500",
    ),
    (
        "right join",
        false,
        "SELECT p.tailnum, count(f.flight) FROM flights f \
         RIGHT JOIN planes p ON p.tailnum = f.tailnum AND f.month = 2 GROUP BY p.tailnum",
    ),
    (
        "full join",
        false,
        "SELECT f.dest, d.faa, count(*) FROM (SELECT DISTINCT dest FROM flights) f \
         FULL JOIN airports d ON d.faa = f.dest GROUP BY f.dest, d.faa",
    ),
    (
        "order by with limit",
        true,
        "SELECT time_hour, carrier, flight, arr_delay FROM flights WHERE arr_delay IS NOT NULL \
         ORDER BY arr_delay DESC, time_hour, carrier, flight LIMIT 25",
    ),
    (
        "order by with offset",
        true,
        "SELECT faa, name FROM airports ORDER BY faa LIMIT 10 OFFSET 100",
    ),
    (
        "distinct",
        false,
        "SELECT DISTINCT origin, dest FROM flights",
    ),
    (
        "count distinct",
        false,
        "SELECT origin, count(DISTINCT dest), count(DISTINCT tailnum) FROM flights GROUP BY origin",
    ),
    (
        "window rank",
        false,
        "SELECT * FROM (SELECT carrier, flight, time_hour, arr_delay, row_number() OVER \
         (PARTITION BY carrier ORDER BY arr_delay DESC NULLS LAST, time_hour, flight) AS r \
         FROM flights) WHERE r <= 3",
    ),
    (
        "window running sum",
        false,
        "SELECT origin, month, n, sum(n) OVER (PARTITION BY origin ORDER BY month) FROM \
         (SELECT origin, month, count(*) AS n FROM flights GROUP BY origin, month)",
    ),
    (
        "common table expressions",
        true,
        "WITH d AS (SELECT dest, count(*) AS n FROM flights GROUP BY dest), \
         best AS (SELECT * FROM d ORDER BY n DESC, dest LIMIT 5) \
         SELECT a.name, best.n FROM best JOIN airports a ON a.faa = best.dest ORDER BY best.n DESC",
    ),
    (
        "recursive",
        true,
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 12) \
         SELECT t.n, count(f.flight) FROM t LEFT JOIN flights f ON f.month = t.n AND f.day = 1 \
         GROUP BY t.n ORDER BY t.n",
    ),
    (
        "union",
        false,
        "SELECT origin AS faa FROM flights UNION SELECT dest FROM flights",
    ),
    (
        "union all",
        false,
        "SELECT 'plane' AS what, count(*) AS n FROM planes UNION ALL \
         SELECT 'airport', count(*) FROM airports UNION ALL SELECT 'weather', count(*) FROM weather",
    ),
    (
        "intersect",
        false,
        "SELECT faa FROM airports INTERSECT SELECT dest FROM flights",
    ),
    (
        "except",
        false,
        "SELECT dest FROM flights EXCEPT SELECT faa FROM airports",
    ),
    (
        "correlated exists",
        false,
        "SELECT p.tailnum FROM planes p WHERE NOT EXISTS \
         (SELECT 1 FROM flights f WHERE f.tailnum = p.tailnum AND f.month <= 6)",
    ),
    (
        "correlated scalar",
        false,
        "SELECT f.carrier, f.flight, f.time_hour FROM flights f WHERE f.month = 1 AND f.arr_delay = \
         (SELECT max(g.arr_delay) FROM flights g WHERE g.carrier = f.carrier AND g.month = 1)",
    ),
    (
        "scalar subquery",
        false,
        "SELECT carrier, count(*) FROM flights WHERE distance > \
         (SELECT avg(distance) FROM flights) GROUP BY carrier",
    ),
    (
        "in subquery",
        false,
        "SELECT count(*), sum(distance) FROM flights WHERE tailnum IN \
         (SELECT tailnum FROM planes WHERE manufacturer LIKE 'B%' AND year >= 2000)",
    ),
    (
        "not in subquery",
        false,
        "SELECT count(*) FROM airports WHERE faa NOT IN (SELECT dest FROM flights)",
    ),
    (
        "weather by hour",
        false,
        "SELECT w.origin, f.month, count(*), avg(w.wind_speed), sum(f.dep_delay) FROM flights f \
         JOIN weather w ON w.origin = f.origin AND w.time_hour = f.time_hour \
         WHERE w.precip > 0 GROUP BY w.origin, f.month",
    ),
    (
        "cross join",
        false,
        "SELECT count(*) FROM airlines a CROSS JOIN (SELECT DISTINCT origin FROM flights) o",
    ),
    (
        "non-equal join",
        false,
        "SELECT a.faa, count(*) FROM airports a JOIN airports b \
         ON a.alt < b.alt AND a.tz = -10 AND b.tz = -9 GROUP BY a.faa",
    ),
    (
        "case and dates",
        false,
        "SELECT date_trunc('month', time_hour) AS m, \
         sum(CASE WHEN arr_delay > 60 THEN 1 ELSE 0 END), count(*) FILTER (WHERE dep_time IS NULL) \
         FROM flights GROUP BY m",
    ),
    (
        "limit alone",
        false,
        "SELECT count(*) FROM (SELECT * FROM flights LIMIT 1234)",
    ),
    (
        "point",
        true,
        "SELECT * FROM planes WHERE tailnum = 'N14228'",
    ),
    (
        "nothing",
        true,
        "SELECT * FROM flights WHERE carrier = 'nobody'",
    ),
    (
        "grouping sets",
        false,
        "SELECT origin, carrier, count(*) FROM flights GROUP BY GROUPING SETS ((origin), (carrier), ())",
    ),
    (
        "median",
        false,
        "SELECT origin, median(air_time) FROM flights GROUP BY origin",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_peer_answers_like_datafusion() {
    let _turn = HEAVY.lock().await;
    let peers = peers(3, "answers", |b| b).await;
    load(&peers[0], &TABLES, 2).await;
    let oracle = oracle().await;
    let by_airline = question("delays_by_airline");
    let by_origin = question("delays_by_origin");
    let mut queries = QUERIES.to_vec();
    queries.push(("the question, by airline", true, &by_airline));
    queries.push(("the question, by origin", true, &by_origin));
    let mut failures = Vec::new();
    for (name, ordered, sql) in queries {
        let want = oracle.sql(sql).await.unwrap().collect().await.unwrap();
        for (i, peer) in peers.iter().enumerate() {
            let what = format!("{name}, asked of peer {i}");
            let answer = async { peer.sql(sql).await?.collect().await };
            match tokio::time::timeout(PATIENCE, answer).await {
                Ok(Ok(got)) => {
                    let coverage = got.coverage().clone();
                    let compared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        assert_same(&what, got.batches(), &want, ordered);
                        assert_eq!(coverage.shards_answered, coverage.shards_total, "{what}");
                    }));
                    if compared.is_err() {
                        failures.push(what);
                    }
                }
                Ok(Err(e)) => failures.push(format!("{what}: {e}")),
                Err(_) => failures.push(format!("{what}: no answer in time")),
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    close(peers).await;
}

/// The plan that a peer of a network would run.
async fn plan(db: &netabase::Netabase, sql: &str) -> String {
    db.sql(sql).await.unwrap().plan_text().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_tables_are_looked_up_where_that_cannot_show() {
    let peers = peers(3, "lookups", |b| b).await;
    load(&peers[0], &["airlines", "planes", "weather"], 1).await;
    let db = &peers[1];
    let inner = "SELECT count(*) FROM weather w JOIN planes p ON p.seats = w.month";
    // How many rows the tables have is announced to the asking peer.
    let announced = async {
        while !plan(db, inner).await.contains("LookupJoinExec") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, announced).await.unwrap();
    // Rows of the build side come out by themselves: each must come once.
    let full = "SELECT count(*) FROM weather w FULL JOIN planes p ON p.seats = w.month";
    assert!(!plan(db, full).await.contains("LookupJoinExec"));
    // Groups by the join's keys rely on its partitions.
    let grouped = "SELECT w.month, count(*) FROM weather w JOIN planes p ON p.seats = w.month \
                   GROUP BY w.month";
    let limited = "SELECT count(*) FROM weather w JOIN (SELECT seats FROM planes LIMIT 100) p \
                   ON p.seats < 0 AND p.seats = w.month";
    let oracle = oracle().await;
    for sql in [inner, full, grouped, limited] {
        let want = oracle.sql(sql).await.unwrap().collect().await.unwrap();
        for peer in &peers {
            let got = peer.sql(sql).await.unwrap().collect().await.unwrap();
            assert_same(sql, got.batches(), &want, false);
        }
    }
    close(peers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_says_what_it_covers() {
    let peers = peers(3, "coverage", |b| b).await;
    load(&peers[0], &["airlines", "planes"], 1).await;
    // One that holds no shard itself: what it knows of rows, the others have announced.
    let asker = builder("coverage", &peers[0].addresses()[..1])
        .role(Role::Client)
        .open()
        .await
        .unwrap();
    asker.wait_for_peers(3, PATIENCE).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let announced: u64 = asker.peers().iter().map(|p| p.rows).sum();
        if announced == 16 + 3322 {
            break;
        }
        assert!(Instant::now() < deadline, "{announced} rows announced");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let answer = asker
        .sql("SELECT a.name, p.type FROM airlines a CROSS JOIN planes p")
        .await
        .unwrap();
    let got = answer.collect().await.unwrap();
    let coverage = got.coverage();
    assert_eq!(coverage.rows as usize, got.num_rows());
    assert_eq!(coverage.shards_total, 1 + 4);
    assert_eq!(coverage.shards_answered, 1 + 4);
    assert!(
        !coverage.peers.is_empty() && coverage.bytes > 0,
        "{coverage}"
    );
    let planes = coverage
        .tables
        .iter()
        .find(|t| t.table == "planes")
        .unwrap();
    assert_eq!(planes.shards.iter().map(|s| s.rows).sum::<u64>(), 3322);
    asker.close().await.unwrap();
    close(peers).await;
}
