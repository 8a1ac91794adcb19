use netabase_macros::Record;

#[derive(Record)]
struct Article<'a> {
    #[record(key)]
    id: i64,
    title: std::borrow::Cow<'a, str>,
}

fn main() {}
