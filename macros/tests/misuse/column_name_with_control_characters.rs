use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    id: i64,
    #[record(rename = "title\n")]
    title: String,
}

fn main() {}
