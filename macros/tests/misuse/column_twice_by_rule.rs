use netabase_macros::Record;

#[derive(Record)]
#[record(rename_all = "camelCase")]
struct Article {
    #[record(key)]
    #[allow(non_snake_case)]
    articleId: i64,
    article_id: i64,
}

fn main() {}
