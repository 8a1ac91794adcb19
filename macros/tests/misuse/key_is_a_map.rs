use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    words: std::collections::HashMap<String, i64>,
}

fn main() {}
