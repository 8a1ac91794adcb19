use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    tags: Vec<String>,
}

fn main() {}
