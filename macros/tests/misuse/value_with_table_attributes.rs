use netabase_macros::RecordField;

#[derive(RecordField)]
#[record(table = "places")]
struct Place {
    #[record(key)]
    city: String,
}

fn main() {}
