use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    author: String,
    #[record(key, shard_key)]
    id: i64,
}

fn main() {}
