use netabase_macros::Record;

struct Author;

#[derive(Record)]
struct Article {
    #[record(key)]
    id: i64,
    #[record(flatten)]
    author: Author,
}

fn main() {}
