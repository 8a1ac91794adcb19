use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key = 1)]
    author: String,
    #[record(key)]
    id: i64,
}

fn main() {}
