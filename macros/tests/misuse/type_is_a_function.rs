use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    id: i64,
    callback: fn(i64) -> i64,
}

fn main() {}
