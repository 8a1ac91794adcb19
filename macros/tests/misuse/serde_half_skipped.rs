use netabase_macros::Record;
use serde::Serialize;

#[derive(Record, Serialize)]
struct Article {
    #[record(key)]
    id: i64,
    #[serde(skip_serializing)]
    secret: String,
}

fn main() {}
