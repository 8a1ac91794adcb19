//! Objects and SQL are two views of the same rows, from every peer.

use crate::common::{close, peers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_peer_puts_every_peer_gets_and_selects() {
    let peers = peers(3, "objects", |b| b).await;
    assert_eq!(peers[2].get(b"nothing").await.unwrap(), None);
    for i in 0..30u8 {
        let at = &peers[usize::from(i) % 3];
        at.put(&[b'k', i], &[i; 100]).await.unwrap();
    }
    for peer in &peers {
        for i in 0..30u8 {
            assert_eq!(peer.get(&[b'k', i]).await.unwrap(), Some(vec![i; 100]));
        }
        let answer = peer.sql("SELECT key, value FROM objects").await.unwrap();
        assert_eq!(answer.collect().await.unwrap().num_rows(), 30);
    }
    assert!(peers[1].delete(&[b'k', 7]).await.unwrap());
    assert!(!peers[0].delete(&[b'k', 7]).await.unwrap());
    peers[2].put(&[b'k', 8], b"new").await.unwrap();
    for peer in &peers {
        assert_eq!(peer.get(&[b'k', 7]).await.unwrap(), None);
        assert_eq!(peer.get(&[b'k', 8]).await.unwrap(), Some(b"new".to_vec()));
        let answer = peer.sql("SELECT count(*) FROM objects").await.unwrap();
        let count = answer.show().await.unwrap();
        assert!(count.contains("29"), "{count}");
    }
    close(peers).await;
}
