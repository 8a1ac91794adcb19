use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    id: i64,
    #[record(shard_key)]
    author: String,
}

fn main() {}
