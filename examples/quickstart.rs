//! A table, three rows, one question: `cargo run --example quickstart`.
#![allow(clippy::print_stdout)] // an example talks to its reader

use netabase::{Error, Netabase};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let db = Netabase::in_memory().await?;
    db.sql("CREATE TABLE birds (name TEXT PRIMARY KEY, grams DOUBLE)")
        .await?;
    db.sql("INSERT INTO birds VALUES ('wren', 9.5), ('robin', 18), ('raven', 1200)")
        .await?;
    let heavy = db
        .sql("SELECT * FROM birds WHERE grams > 10 ORDER BY grams")
        .await?
        .collect()
        .await?;
    println!("{heavy}\n{}", heavy.coverage());
    db.close().await
}
