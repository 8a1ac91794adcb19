use netabase_macros::Record;

fn check(_: &String) -> Result<(), String> {
    Ok(())
}

#[derive(Record)]
struct Article {
    #[record(key)]
    id: i64,
    #[record(skip, validate = check)]
    body: String,
}

fn main() {}
