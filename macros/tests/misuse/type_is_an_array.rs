use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    id: i64,
    hash: [u8; 32],
}

fn main() {}
