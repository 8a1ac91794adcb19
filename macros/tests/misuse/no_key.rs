use netabase_macros::Record;

#[derive(Record)]
struct Article {
    id: i64,
    title: String,
}

fn main() {}
