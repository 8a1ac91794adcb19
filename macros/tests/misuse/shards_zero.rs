use netabase_macros::Record;

#[derive(Record)]
#[record(shards = 0)]
struct Article {
    #[record(key)]
    id: i64,
}

fn main() {}
