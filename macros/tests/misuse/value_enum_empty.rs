use netabase_macros::RecordField;

#[derive(RecordField)]
enum Kind {}

fn main() {}
