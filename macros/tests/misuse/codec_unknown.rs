use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    id: i64,
    #[record(codec = "jason")]
    body: Vec<String>,
}

fn main() {}
