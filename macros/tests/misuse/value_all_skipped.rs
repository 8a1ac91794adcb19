use netabase_macros::RecordField;

#[derive(RecordField)]
struct Place {
    #[record(skip)]
    city: String,
}

fn main() {}
