use netabase_macros::Record;
use serde::Serialize;

#[derive(Record, Serialize)]
struct Article {
    #[record(key)]
    id: i64,
    #[serde(rename(serialize = "a", deserialize = "b"))]
    title: String,
}

fn main() {}
