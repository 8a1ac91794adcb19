//! The built-in objects table, and engines shared by tasks.

use netabase_sql::store::{ErrorKind, Version};
use netabase_sql::{objects_table, table_id};

use crate::common::{engine, failure, rows};

#[tokio::test]
async fn objects_are_a_table_like_any_other() {
    let engine = engine();
    let def = objects_table("me", Version(1 << 16));
    def.validate().unwrap();
    assert_eq!(def.id, table_id("objects", "me", Version(1 << 16)));
    assert_ne!(def.id, objects_table("you", Version(1 << 16)).id);
    engine.store().put_table(def).unwrap();
    let output = engine
        .sql("INSERT INTO objects VALUES (X'01', X'0203'), (X'02', X'')")
        .await;
    assert_eq!(output.unwrap().receipt().unwrap().rows, 2);
    let all = rows(
        &engine,
        "SELECT encode(key, 'hex'), length(value) FROM objects ORDER BY key",
    );
    assert_eq!(all.await, [["01", "2"], ["02", "0"]]);
    let (kind, text) = failure(&engine, "INSERT INTO objects VALUES (X'01', NULL)").await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(text.contains("\"value\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_run_on_other_tasks() {
    let engine = engine();
    engine
        .sql("CREATE TABLE t (k BIGINT PRIMARY KEY)")
        .await
        .unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let engine = engine.clone();
            tokio::spawn(async move {
                for key in 0..10 {
                    let text = format!("INSERT INTO t VALUES ({})", task * 10 + key);
                    engine.sql(&text).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(
        rows(&engine, "SELECT count(*), count(DISTINCT k) FROM t").await,
        [["80", "80"]]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_given_once() {
    let engine = engine();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.sql("CREATE TABLE t (k INT PRIMARY KEY)").await })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
        }
    }
    assert_eq!(made, 1);
}
