use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    id: i64,
    title: String,
    #[record(rename = "title")]
    heading: String,
}

fn main() {}
