//! Every bad input gets a clear error with the way out, and loses nothing.

use netabase::{Error, ErrorKind, Netabase, Role};

use crate::common::{builder, close, data, ddl, peers};
use crate::processes::{Peer, run, stderr};

fn says(result: Result<netabase::Answer, Error>, kind: ErrorKind, parts: &[&str]) {
    let error = match result {
        Ok(_) => panic!("accepted; expected {parts:?}"),
        Err(e) => e,
    };
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(
            error.to_string().contains(part),
            "{error} does not name {part}"
        );
    }
}

async fn count(db: &Netabase, table: &str) -> String {
    let sql = format!("SELECT 'rows=' || count(*) AS n FROM {table}");
    db.sql(&sql).await.unwrap().show().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements() {
    use ErrorKind::{Conflict, InvalidInput, NotFound};
    let peers = peers(2, "bad-statements", |b| b).await;
    let db = &peers[0];
    db.sql("CREATE TABLE t (k BIGINT PRIMARY KEY, v TEXT, n BIGINT NOT NULL)")
        .await
        .unwrap();
    db.sql("INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)")
        .await
        .unwrap();
    let unknown = db.sql("SELECT * FROM nowhere").await;
    assert!(matches!(
        unknown.as_ref().map_err(Error::kind),
        Err(NotFound | InvalidInput)
    ));
    assert!(unknown.unwrap_err().to_string().contains("nowhere"));
    says(
        db.sql("SELECT wrong FROM t").await,
        InvalidInput,
        &["wrong"],
    );
    says(
        db.sql("INSERT INTO t VALUES ('x', 'a', 1)").await,
        InvalidInput,
        &["x"],
    );
    says(
        db.sql("INSERT INTO t VALUES (NULL, 'a', 1)").await,
        InvalidInput,
        &["\"k\""],
    );
    says(
        db.sql("INSERT INTO t VALUES (3, 'a', NULL)").await,
        InvalidInput,
        &["\"n\""],
    );
    says(
        db.sql("INSERT INTO t VALUES (4, 'a', 1), (4, 'b', 2)")
            .await,
        Conflict,
        &["4"],
    );
    says(
        peers[1].sql("CREATE TABLE t (k BIGINT PRIMARY KEY)").await,
        Conflict,
        &["\"t\""],
    );
    says(
        db.sql("CREATE TABLE u (k BIGINT, PRIMARY KEY (x))").await,
        InvalidInput,
        &["PRIMARY KEY", "\"x\""],
    );
    for peer in &peers {
        assert!(count(peer, "t").await.contains("rows=2"));
    }
    close(peers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files() {
    let dir = tempfile::tempdir().unwrap();
    let db = Netabase::in_memory().await.unwrap();
    db.sql("CREATE TABLE t (k BIGINT PRIMARY KEY, v DOUBLE)")
        .await
        .unwrap();
    db.sql("INSERT INTO t VALUES (-1, 0.5)").await.unwrap();
    let csv = dir.path().join("broken.csv");
    let mut text = String::from("k,v\n");
    for i in 2..=2000 {
        // Line 1 is the header, so that line i holds the key i.
        let value = if i == 1000 {
            "x".to_string()
        } else {
            format!("{i}.5")
        };
        text += &format!("{i},{value}\n");
    }
    std::fs::write(&csv, text).unwrap();
    let copy = format!("COPY t FROM '{}'", csv.display());
    says(
        db.sql(&copy).await,
        ErrorKind::InvalidInput,
        &["line 1000", "\"v\"", "x"],
    );
    let wrong = format!("COPY t FROM '{}'", data("airports").display());
    says(db.sql(&wrong).await, ErrorKind::InvalidInput, &["faa"]);
    db.sql(&ddl("airlines", 2).replace("name TEXT", "name BIGINT"))
        .await
        .unwrap();
    let typed = format!("COPY airlines FROM '{}'", data("airlines").display());
    says(db.sql(&typed).await, ErrorKind::InvalidInput, &["name"]);
    let missing = "COPY t FROM 'no/such/file.csv'";
    says(
        db.sql(missing).await,
        ErrorKind::NotFound,
        &["no/such/file.csv"],
    );
    assert!(count(&db, "t").await.contains("rows=1"));
    assert!(count(&db, "airlines").await.contains("rows=0"));
    db.close().await.unwrap();
    says(
        db.sql("SELECT 1").await,
        ErrorKind::Unavailable,
        &["closed"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_ports_and_networks() {
    let dir = tempfile::tempdir().unwrap();
    let db = builder("right", &[])
        .data_dir(dir.path())
        .open()
        .await
        .unwrap();
    db.sql("CREATE TABLE t (k BIGINT PRIMARY KEY)")
        .await
        .unwrap();
    db.sql("INSERT INTO t VALUES (1)").await.unwrap();
    let fails = async |b: netabase::Builder, kind: ErrorKind, parts: &[&str]| {
        let error = b.open().await.expect_err("must not open");
        assert_eq!(error.kind(), kind, "{error}");
        for part in parts {
            assert!(
                error.to_string().contains(part),
                "{error} does not say {part}"
            );
        }
    };
    let folder = dir.path().display().to_string();
    let taken = Netabase::builder().data_dir(dir.path());
    fails(taken, ErrorKind::Unavailable, &[&folder, "in use"]).await;

    let address = db.addresses()[0].clone();
    let port = address.split("/p2p/").next().unwrap().to_string();
    let busy = Netabase::builder().network("right").listen(port.clone());
    fails(busy, ErrorKind::Unavailable, &[&port, "another port"]).await;

    let stranger = builder("wrong", std::slice::from_ref(&address));
    fails(
        stranger,
        ErrorKind::InvalidInput,
        &["\"right\"", "\"wrong\""],
    )
    .await;
    let nonsense = Netabase::builder().network("No Such Name");
    fails(nonsense, ErrorKind::InvalidInput, &["a-z"]).await;
    let nobody = Netabase::builder()
        .network("right")
        .role(Role::Client)
        .join_timeout(std::time::Duration::from_millis(500))
        .bootstrap("/ip4/127.0.0.1/tcp/1");
    fails(nobody, ErrorKind::Unavailable, &["/ip4/127.0.0.1/tcp/1"]).await;
    db.close().await.unwrap();

    let identity = dir.path().join("identity");
    let whole = std::fs::read(&identity).unwrap();
    std::fs::write(&identity, &whole[..whole.len() - 3]).unwrap();
    let damaged = builder("right", &[]).data_dir(dir.path());
    fails(damaged, ErrorKind::Corrupt, &["identity", "backup"]).await;
    std::fs::write(&identity, &whole).unwrap();
    let db = builder("right", &[])
        .data_dir(dir.path())
        .open()
        .await
        .unwrap();
    assert!(count(&db, "t").await.contains("rows=1"));
    db.close().await.unwrap();
}

#[test]
fn the_console_says_it_on_stderr_with_an_exit_code() {
    let bad = run(&["sql", "-c", "SELECT * FROM nowhere"]);
    assert!(!bad.status.success() && bad.stdout.is_empty());
    assert!(stderr(&bad).contains("nowhere"), "{}", stderr(&bad));
    let good = run(&["sql", "--format", "csv", "-c", "SELECT 40 + 2 AS answer"]);
    assert_eq!(String::from_utf8_lossy(&good.stdout), "answer\n42\n");
    assert!(run(&["sql", "--nonsense"]).status.code() == Some(2));

    let dir = tempfile::tempdir().unwrap();
    let _peer = Peer::start("console", dir.path(), &[]);
    let folder = dir.path().to_str().unwrap();
    let taken = run(&["sql", "--data-dir", folder, "-c", "SELECT 1"]);
    assert_eq!(taken.status.code(), Some(7), "{}", stderr(&taken));
    assert!(stderr(&taken).contains("in use"));
}
