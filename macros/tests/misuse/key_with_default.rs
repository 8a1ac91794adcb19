use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key, default)]
    id: i64,
}

fn main() {}
