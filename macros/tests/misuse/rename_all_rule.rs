use netabase_macros::Record;

#[derive(Record)]
#[record(rename_all = "camel_case")]
struct Article {
    #[record(key)]
    id: i64,
}

fn main() {}
