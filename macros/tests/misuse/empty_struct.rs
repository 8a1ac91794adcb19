use netabase_macros::Record;

#[derive(Record)]
struct Article {}

fn main() {}
