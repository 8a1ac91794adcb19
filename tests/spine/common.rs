//! Peers in this process, and the tables of nycflights13 on them.

use std::path::PathBuf;
use std::time::Duration;

use netabase::{Builder, Netabase, Role};

/// The repository.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
pub(crate) const TABLES: [&str; 5] = ["airlines", "airports", "planes", "weather", "flights"];
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn data(table: &str) -> PathBuf {
    PathBuf::from(ROOT).join(format!("data/{table}.parquet"))
}

/// The definition of a table, with another replication factor than the demo's.
pub(crate) fn ddl(table: &str, replicas: u32) -> String {
    let path = format!("{}/console/sql/{table}.sql", ROOT);
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("replicas = 2"));
    text.replace("replicas = 2", &format!("replicas = {replicas}"))
}

pub(crate) fn question(name: &str) -> String {
    let path = format!("{}/console/sql/{name}.sql", ROOT);
    std::fs::read_to_string(path).unwrap()
}

pub(crate) fn builder(network: &str, bootstrap: &[String]) -> Builder {
    let builder = Netabase::builder()
        .network(network)
        .role(Role::Server)
        .listen("/ip4/127.0.0.1/tcp/0")
        .join_timeout(PATIENCE);
    bootstrap
        .iter()
        .fold(builder, |b, a| b.bootstrap(a.clone()))
}

/// `n` server peers in this process that all know each other.
pub(crate) async fn peers(
    n: usize,
    network: &str,
    tweak: impl Fn(Builder) -> Builder,
) -> Vec<Netabase> {
    let mut peers: Vec<Netabase> = Vec::new();
    for _ in 0..n {
        let bootstrap = peers
            .first()
            .map(|p| p.addresses()[..1].to_vec())
            .unwrap_or_default();
        peers.push(tweak(builder(network, &bootstrap)).open().await.unwrap());
    }
    for peer in &peers {
        peer.wait_for_peers(n - 1, PATIENCE).await.unwrap();
    }
    peers
}

pub(crate) async fn load(db: &Netabase, tables: &[&str], replicas: u32) {
    for table in tables {
        db.sql(&ddl(table, replicas)).await.unwrap();
        db.load(table, &data(table), |_, _| {}).await.unwrap();
    }
}

pub(crate) async fn close(peers: Vec<Netabase>) {
    for peer in peers {
        peer.close().await.unwrap();
    }
}

/// Tests that load all of the data run one at a time: they would only slow each other down.
pub(crate) static HEAVY: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
