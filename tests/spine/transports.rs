//! QUIC alone carries everything, too.

use netabase::{Netabase, Role};

use crate::common::{PATIENCE, close, load};
use crate::oracle::{assert_same, oracle};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_meet_and_answer_over_quic() {
    let open = async |bootstrap: Option<String>| {
        let builder = Netabase::builder()
            .network("quic")
            .role(Role::Server)
            .listen("/ip4/127.0.0.1/udp/0/quic-v1")
            .join_timeout(PATIENCE);
        let builder = bootstrap
            .into_iter()
            .fold(builder, netabase::Builder::bootstrap);
        builder.open().await.unwrap()
    };
    let first = open(None).await;
    let address = first.addresses()[0].clone();
    assert!(address.contains("/quic-v1/"), "{address}");
    let second = open(Some(address)).await;
    second.wait_for_peers(1, PATIENCE).await.unwrap();
    load(&second, &["planes", "airlines"], 1).await;
    let sql = "SELECT manufacturer, count(*), sum(seats) FROM planes GROUP BY manufacturer";
    let want = oracle()
        .await
        .sql(sql)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let mut bytes = 0;
    for peer in [&first, &second] {
        let got = peer.sql(sql).await.unwrap().collect().await.unwrap();
        assert_same("over QUIC", got.batches(), &want, false);
        bytes += got.coverage().bytes;
    }
    // One of them may hold all shards, but not both.
    assert!(bytes > 0);
    close(vec![first, second]).await;
}
