use netabase_macros::Record;

#[derive(Record)]
struct Article<T> {
    #[record(key)]
    id: i64,
    body: T,
}

fn main() {}
