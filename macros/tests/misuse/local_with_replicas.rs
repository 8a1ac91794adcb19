use netabase_macros::Record;

#[derive(Record)]
#[record(local, replicas = 2)]
struct Article {
    #[record(key)]
    id: i64,
}

fn main() {}
