use netabase_macros::Record;

#[derive(Record)]
#[record(local = true)]
struct Article {
    #[record(key)]
    id: i64,
}

fn main() {}
