use netabase_macros::Record;

#[derive(Record)]
#[record(table = "a", table = "b")]
struct Article {
    #[record(key)]
    id: i64,
}

fn main() {}
