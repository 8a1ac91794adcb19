use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key = 1)]
    author: String,
    #[record(key = 3)]
    id: i64,
}

fn main() {}
