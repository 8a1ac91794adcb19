use netabase_macros::Record;

#[derive(Record)]
struct Article {
    #[record(key)]
    price: f64,
}

fn main() {}
