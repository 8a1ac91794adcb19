//! Plans really travel by gossip, fragments really run at the holders, and neither is needed for a
//! right answer.

use netabase::{Counters, Netabase};

use crate::common::{HEAVY, close, load, peers, question};
use crate::oracle::{assert_same, oracle};

const SUM: &str = "SELECT origin, count(*), sum(distance) FROM flights GROUP BY origin";

fn total(peers: &[Netabase], figure: impl Fn(&Counters) -> u64) -> u64 {
    peers.iter().map(|p| figure(&p.counters())).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_arrive_by_gossip_and_aggregate_where_the_rows_are() {
    let _turn = HEAVY.lock().await;
    let peers = peers(3, "gossip", |b| b).await;
    load(&peers[0], &["flights"], 1).await;
    let want = oracle()
        .await
        .sql(SUM)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    for peer in &peers {
        let got = peer.sql(SUM).await.unwrap().collect().await.unwrap();
        assert_same(SUM, got.batches(), &want, false);
    }
    assert!(total(&peers, |c| c.plans_pushed) > 0);
    assert!(total(&peers, |c| c.plans_by_gossip) > 0);
    assert!(total(&peers, |c| c.partial_aggregates) > 0);
    assert!(total(&peers, |c| c.tasks_run) >= total(&peers, |c| c.partial_aggregates));
    assert_eq!(total(&peers, |c| c.plans_refused), 0);
    assert_eq!(total(&peers, |c| c.gossip_rejected), 0);
    // What a peer counts can be asked from afar.
    let asked = peers[0].peer_counters(peers[1].peer_id()).await.unwrap();
    assert_eq!(
        asked.partial_aggregates,
        peers[1].counters().partial_aggregates
    );
    close(peers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_gossip_plans_are_pulled() {
    let _turn = HEAVY.lock().await;
    let peers = peers(3, "silence", |b| b.drop_gossip(true)).await;
    load(&peers[0], &["flights", "airlines", "planes"], 2).await;
    let sql = question("delays_by_airline");
    let want = oracle()
        .await
        .sql(&sql)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    for peer in &peers {
        let got = peer.sql(&sql).await.unwrap().collect().await.unwrap();
        assert_same("by pull", got.batches(), &want, true);
    }
    assert_eq!(total(&peers, |c| c.plans_by_gossip), 0);
    assert_eq!(total(&peers, |c| c.gossip_accepted), 0);
    assert!(total(&peers, |c| c.gossip_dropped) > 0);
    assert!(total(&peers, |c| c.plans_by_pull) > 0);
    close(peers).await;
}
