use netabase_macros::Record;

#[derive(Record)]
#[record(tabel = "articles")]
struct Article {
    #[record(key)]
    id: i64,
}

fn main() {}
