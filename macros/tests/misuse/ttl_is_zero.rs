use netabase_macros::Record;

#[derive(Record)]
#[record(ttl = "0 days")]
struct Article {
    #[record(key)]
    id: i64,
}

fn main() {}
