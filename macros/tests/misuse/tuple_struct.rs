use netabase_macros::Record;

#[derive(Record)]
struct Article(i64, String);

fn main() {}
