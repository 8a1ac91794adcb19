use netabase_macros::RecordField;

#[derive(RecordField)]
enum Kind {
    News,
    Essay { pages: u32 },
    Letter(String),
}

fn main() {}
