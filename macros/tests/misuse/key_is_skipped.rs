use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key, skip)]
    id: i64,
    #[record(key)]
    title: String,
}

fn main() {}
