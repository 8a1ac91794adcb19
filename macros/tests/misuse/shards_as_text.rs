use netabase_macros::Record;

#[derive(Record)]
#[record(shards = "8")]
struct Article {
    #[record(key)]
    id: i64,
}

fn main() {}
