use netabase_macros::Record;

#[derive(Record)]
#[record(replicas = 17)]
struct Article {
    #[record(key)]
    id: i64,
}

fn main() {}
