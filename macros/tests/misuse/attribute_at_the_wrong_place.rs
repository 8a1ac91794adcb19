use netabase_macros::Record;

#[derive(Record)]
#[record(key)]
struct Article {
    #[record(key)]
    id: i64,
    #[record(ttl = "1 day")]
    title: String,
}

fn main() {}
