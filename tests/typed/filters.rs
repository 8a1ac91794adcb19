//! Filters find what the same condition finds in SQL.

use super::*;
use netabase::typed::{Column, Filter};

async fn ids(db: &Netabase, filter: Filter<Article>) -> Vec<i64> {
    let rows = db.table::<Article>().filter(filter).await.unwrap();
    let mut ids: Vec<i64> = rows.all().await.unwrap().iter().map(|row| row.id).collect();
    ids.sort_unstable();
    ids
}

async fn ids_of_sql(db: &Netabase, condition: &str) -> Vec<i64> {
    use netabase::arrow::array::AsArray;
    use netabase::arrow::datatypes::Int64Type;
    let select = format!("SELECT id FROM articles WHERE {condition} ORDER BY id");
    let answer = db.sql(&select).await.unwrap().collect().await.unwrap();
    let columns = answer.batches().iter().map(|batch| batch.column(0).clone());
    columns
        .flat_map(|column| column.as_primitive::<Int64Type>().values().to_vec())
        .collect()
}

#[tokio::test]
async fn every_comparison_is_that_of_sql() {
    let titles = [
        "50% off",
        "50 days",
        "under_score",
        "underscore",
        "a\\b",
        "it's",
    ];
    let rows: Vec<Article> = (0..60)
        .map(|id| {
            article(
                id,
                titles[usize::try_from(id).unwrap() % titles.len()],
                id as u32 * 7 % 13,
            )
        })
        .collect();
    let db = with_articles(&rows).await;
    let c = Article::columns();
    let cases: Vec<(Filter<Article>, &str)> = vec![
        (c.likes.eq(5), "likes = 5"),
        (c.likes.ne(5), "likes <> 5"),
        (c.likes.lt(5), "likes < 5"),
        (c.likes.le(5), "likes <= 5"),
        (c.likes.gt(5), "likes > 5"),
        (c.likes.ge(5), "likes >= 5"),
        (c.id.between(10, 20), "id BETWEEN 10 AND 20"),
        (c.id.is_in([3, 5, 99]), "id IN (3, 5, 99)"),
        (c.id.is_in(Vec::<i64>::new()), "false"),
        (c.author.is_null(), "author IS NULL"),
        (c.author.is_not_null(), "author IS NOT NULL"),
        (c.author.eq("author 4"), "author = 'author 4'"),
        (c.author.ne("author 4"), "author <> 'author 4'"),
        (!c.author.eq("author 4"), "NOT author = 'author 4'"),
        (c.author.eq(c.title), "author = title"),
        (c.author.gt(c.title), "author > title"),
        (c.kind.eq(Kind::Letter), "kind = 'a ''letter'''"),
        (c.kind.ne(Kind::News), "kind <> 'News'"),
        (c.title.eq("it's"), "title = 'it''s'"),
        (c.title.eq(String::from("50 days")), "title = '50 days'"),
        (c.title.starts_with("50%"), "starts_with(title, '50%')"),
        (
            c.title.starts_with("under_"),
            "starts_with(title, 'under_')",
        ),
        (c.title.contains("r_s"), "strpos(title, 'r_s') > 0"),
        (c.title.contains("\\"), "strpos(title, '\\') > 0"),
        (c.title.like("%d_y%"), "title LIKE '%d_y%'"),
        (c.likes.gt(3).and(c.id.lt(30)), "likes > 3 AND id < 30"),
        (c.likes.gt(9).or(c.id.lt(5)), "likes > 9 OR id < 5"),
        (
            c.likes.gt(9) | c.id.lt(5) & c.id.gt(1),
            "likes > 9 OR (id < 5 AND id > 1)",
        ),
        (!(c.likes.gt(9) | c.id.lt(50)), "NOT (likes > 9 OR id < 50)"),
    ];
    let mut found = 0;
    for (filter, condition) in cases {
        let expected = ids_of_sql(&db, condition).await;
        found += usize::from(!expected.is_empty());
        assert_eq!(ids(&db, filter).await, expected, "{condition}");
    }
    assert!(found > 20, "only {found} conditions found anything");
    db.close().await.unwrap();
}

#[tokio::test]
async fn values_are_never_sql() {
    let hostile = [
        "x' OR '1'='1",
        "'; DROP TABLE articles; --",
        "$1",
        "\u{0}",
        "a\"b`c",
        "{title}",
        "😀 %_\\",
    ];
    let rows: Vec<Article> = (0i64..)
        .zip(hostile)
        .map(|(id, text)| article(id, text, 0))
        .collect();
    let db = with_articles(&rows).await;
    let column = Article::columns().title;
    for (id, text) in (0..).zip(hostile) {
        assert_eq!(ids(&db, column.eq(text)).await, [id], "{text:?}");
        assert_eq!(ids(&db, column.starts_with(text)).await, [id], "{text:?}");
        assert_eq!(ids(&db, column.contains(text)).await, [id], "{text:?}");
    }
    db.close().await.unwrap();
}

#[tokio::test]
async fn bytes_times_and_raw_conditions() {
    #[derive(Record, Debug)]
    struct Event {
        #[record(key)]
        at: SystemTime,
        hash: Vec<u8>,
        place: Place,
    }
    let event = |seconds: u64, street: &str| Event {
        at: UNIX_EPOCH + Duration::from_secs(seconds),
        hash: vec![seconds as u8, 0xff],
        place: Place {
            street: Some(street.to_owned()),
            kinds: vec![],
            at: None,
        },
    };
    let db = Netabase::in_memory().await.unwrap();
    let table = db.table::<Event>();
    table.create().await.unwrap();
    table
        .insert_many(&[event(1, "High St"), event(2, "Low St"), event(3, "High St")])
        .await
        .unwrap();
    let c = Event::columns();
    let second = UNIX_EPOCH + Duration::from_secs(2);
    let count = async |filter| {
        let rows = table.filter(filter).await.unwrap();
        rows.all().await.unwrap().len()
    };
    assert_eq!(count(c.at.ge(second)).await, 2);
    assert_eq!(count(c.hash.eq(&[2, 0xff][..])).await, 1);
    // A part of a nested value, by an expression of DataFusion's.
    use netabase::datafusion::prelude::{get_field, lit};
    let street = get_field(c.place.expr(), "street");
    assert_eq!(count(Filter::from_expr(street.eq(lit("High St")))).await, 2);
    assert!(table.get(second).await.unwrap().is_some());
    db.close().await.unwrap();
}

#[test]
fn columns_are_plain_names() {
    let column: Column<Article, u32> = Article::columns().likes;
    assert_eq!(column.name(), "likes");
    assert_eq!(format!("{column:?}"), "Column(\"likes\")");
    assert_eq!(format!("{:?}", column.gt(1)), "Filter(likes > UInt32(1))");
}
