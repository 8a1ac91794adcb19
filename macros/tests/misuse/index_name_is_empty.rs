use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    id: i64,
    #[record(index = "")]
    title: String,
}

fn main() {}
