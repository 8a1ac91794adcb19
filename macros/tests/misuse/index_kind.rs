use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    id: i64,
    #[record(index(hash))]
    title: String,
    #[record(index = btree)]
    author: String,
}

fn main() {}
