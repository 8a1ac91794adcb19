//! A peer dies by `kill -9` and comes back.

use std::time::{Duration, Instant};

use netabase::{ErrorKind, Netabase, Role};

use crate::common::{HEAVY, PATIENCE, data, ddl, load, question};
use crate::oracle::{assert_same, oracle};
use crate::processes::{Peer, three};

const DEADLINE: Duration = Duration::from_secs(15);

async fn client(network: &str, peers: &[Peer]) -> Netabase {
    let mut builder = Netabase::builder()
        .network(network)
        .role(Role::Client)
        .listen("/ip4/127.0.0.1/tcp/0")
        .deadline(DEADLINE)
        .join_timeout(PATIENCE);
    for peer in peers {
        builder = builder.bootstrap(peer.address.clone());
    }
    let db = builder.open().await.unwrap();
    db.wait_for_peers(peers.len(), PATIENCE).await.unwrap();
    db
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_replicas_the_answer_stays_exact() {
    let _turn = HEAVY.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three("two-replicas", dir.path());
    let db = client("two-replicas", &peers).await;
    load(&db, &["flights", "airlines"], 2).await;
    // So many shards that each peer holds some of them, whatever its name.
    let planes = ddl("planes", 2).replace("shards = 4", "shards = 32");
    assert!(planes.contains("32"));
    db.sql(&planes).await.unwrap();
    db.load("planes", &data("planes"), |_, _| {}).await.unwrap();
    let sql = question("delays_by_airline");
    let want = oracle()
        .await
        .sql(&sql)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let ask = async |what: &str| {
        let answer = async { db.sql(&sql).await?.collect().await };
        let got = tokio::time::timeout(PATIENCE, answer)
            .await
            .expect(what)
            .expect(what);
        assert_same(what, got.batches(), &want, true);
        got.coverage().peers.clone()
    };
    assert_eq!(ask("all there").await.len(), 3);

    for victim in 0..3 {
        let gone = peers[victim].id.clone();
        peers[victim].kill();
        // At once, while the others may not have noticed yet, and again.
        for round in 0..3 {
            let by = ask(&format!("without peer {victim}, round {round}")).await;
            assert!(!by.contains(&gone), "a dead peer answered");
        }
        // A write to its shards is not acknowledged.
        let error = match db.sql("INSERT INTO planes SELECT * FROM planes").await {
            Err(e) => e,
            Ok(_) => panic!("a write without peer {victim} was acknowledged"),
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");

        let others: Vec<String> = (0..3)
            .filter(|i| *i != victim)
            .map(|i| peers[i].address.clone())
            .collect();
        peers[victim] = Peer::start(
            "two-replicas",
            &dir.path().join(victim.to_string()),
            &others,
        );
        assert_eq!(peers[victim].id, gone, "it keeps its identity");
        db.wait_for_peers(3, PATIENCE).await.unwrap();
        ask(&format!("with peer {victim} back")).await;
        let rewritten = db
            .sql("INSERT INTO planes SELECT * FROM planes")
            .await
            .unwrap();
        assert_eq!(rewritten.receipt().unwrap().replicas, 2);
    }
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_replica_the_missing_shards_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three("one-replica", dir.path());
    let db = client("one-replica", &peers).await;
    load(&db, &["weather"], 1).await;
    let sql = "SELECT count(*), sum(temp) FROM weather";
    let want = oracle()
        .await
        .sql(sql)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let before = db.sql(sql).await.unwrap().collect().await.unwrap();
    assert_same("before", before.batches(), &want, true);

    let victim = before.coverage().peers.first().unwrap().clone();
    let index = peers.iter().position(|p| p.id == victim).unwrap();
    peers[index].kill();
    let started = Instant::now();
    let error = match db.sql(sql).await {
        Err(e) => e,
        Ok(answer) => answer.collect().await.unwrap_err(),
    };
    assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    for part in ["\"weather\"", "shards are missing", &victim] {
        assert!(text.contains(part), "{text}");
    }

    let others: Vec<String> = (0..3)
        .filter(|i| *i != index)
        .map(|i| peers[i].address.clone())
        .collect();
    peers[index] = Peer::start("one-replica", &dir.path().join(index.to_string()), &others);
    db.wait_for_peers(3, PATIENCE).await.unwrap();
    let after = db.sql(sql).await.unwrap().collect().await.unwrap();
    assert_same("after", after.batches(), &want, true);
    db.close().await.unwrap();
}

/// The connection stays open, nothing is answered: only deadlines help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_peer_does_not_hang_a_query() {
    let dir = tempfile::tempdir().unwrap();
    let peers = three("frozen", dir.path());
    let db = client("frozen", &peers).await;
    load(&db, &["planes"], 2).await;
    let sql = "SELECT manufacturer, count(*) FROM planes GROUP BY manufacturer";
    let want = oracle()
        .await
        .sql(sql)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let signal = |name: &str| {
        let pid = peers[1].pid().to_string();
        assert!(
            std::process::Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    };
    signal("-STOP");
    let answer = async { db.sql(sql).await?.collect().await };
    let got = tokio::time::timeout(PATIENCE, answer).await;
    signal("-CONT");
    let got = got.expect("an answer or an error in time").unwrap();
    assert_same("frozen", got.batches(), &want, false);
    db.close().await.unwrap();
}
