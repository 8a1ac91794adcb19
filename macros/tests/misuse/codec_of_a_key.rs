use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key, codec = "json")]
    id: i64,
}

fn main() {}
