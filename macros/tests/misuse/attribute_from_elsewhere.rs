use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(primary_key)]
    id: i64,
    #[record(unique)]
    title: String,
}

fn main() {}
