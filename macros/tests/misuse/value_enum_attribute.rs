use netabase_macros::RecordField;

#[derive(RecordField)]
enum Kind {
    #[record(skip)]
    News,
    #[record(renam = "essay")]
    Essay,
}

fn main() {}
