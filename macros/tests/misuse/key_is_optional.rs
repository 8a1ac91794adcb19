use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    id: Option<i64>,
}

fn main() {}
