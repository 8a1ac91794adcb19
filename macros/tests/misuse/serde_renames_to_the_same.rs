use netabase_macros::Record;
use serde::Serialize;

#[derive(Record, Serialize)]
struct Article {
    #[record(key)]
    id: i64,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none", rename = "title")]
    heading: Option<String>,
}

fn main() {}
