use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    id: i64,
    #[record(index)]
    tags: Vec<String>,
}

fn main() {}
