use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key = 0)]
    id: i64,
}

fn main() {}
