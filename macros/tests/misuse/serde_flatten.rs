use netabase_macros::Record;
use serde::Serialize;

#[derive(Serialize)]
struct Author {
    name: String,
}

#[derive(Record, Serialize)]
struct Article {
    #[record(key)]
    id: i64,
    #[serde(flatten)]
    author: Author,
}

fn main() {}
