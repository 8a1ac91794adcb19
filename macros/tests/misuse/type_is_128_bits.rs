use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    id: i64,
    hash: Option<u128>,
}

fn main() {}
