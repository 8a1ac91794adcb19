use netabase_macros::Record;

#[derive(Record)]
#[record(shards = 0)]
struct Article {
    #[record(key)]
    id: Option<i64>,
    #[record(indx)]
    likes: usize,
}

fn main() {}
