use netabase_macros::Record;

#[derive(Record)]
#[record(ttl = "7")]
struct Article {
    #[record(key)]
    id: i64,
}

fn main() {}
