use netabase_macros::Record;

#[derive(Record)]
union Word {
    whole: u32,
    bytes: [u8; 4],
}

fn main() {}
