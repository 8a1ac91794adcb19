use netabase_macros::RecordField;

#[derive(RecordField)]
enum Kind {
    News,
    #[record(rename = "News")]
    Journal,
}

fn main() {}
