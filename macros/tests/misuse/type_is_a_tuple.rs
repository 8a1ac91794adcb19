use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    id: i64,
    place: (f64, f64),
}

fn main() {}
