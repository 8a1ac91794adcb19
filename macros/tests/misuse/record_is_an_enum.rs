use netabase_macros::Record;

#[derive(Record)]
enum Kind {
    News,
    Essay,
}

fn main() {}
