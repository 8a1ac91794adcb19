use netabase_macros::RecordField;

#[derive(RecordField)]
struct Place(f64, f64);

fn main() {}
