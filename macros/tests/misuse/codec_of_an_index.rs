use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    id: i64,
    #[record(index, codec = "cbor")]
    title: String,
}

fn main() {}
