use netabase_macros::Record;

#[derive(Record)]
#[record = "articles"]
struct Article {
    #[record]
    id: i64,
}

fn main() {}
