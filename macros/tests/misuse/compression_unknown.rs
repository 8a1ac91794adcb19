use netabase_macros::Record;

#[derive(Record)]
#[record(compression = "zst")]
struct Article {
    #[record(key)]
    id: i64,
}

fn main() {}
