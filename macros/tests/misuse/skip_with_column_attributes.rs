use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    id: i64,
    #[record(skip, rename = "b", index)]
    body: String,
}

fn main() {}
