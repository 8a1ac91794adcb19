use netabase_macros::Record;

#[derive(Record)]
#[record(validate = |article| Ok(()))]
struct Article {
    #[record(key)]
    id: i64,
}

fn main() {}
