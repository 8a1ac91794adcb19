//! Rows are written, read, changed and removed, as SQL does it.

use futures::StreamExt;

use super::*;
use netabase::ErrorKind;

#[tokio::test]
async fn rows_are_written_read_changed_and_removed() {
    let db = with_articles(&[]).await;
    let table = db.table::<Article>();
    let receipt = table.insert(&article(1, "one", 1)).await.unwrap();
    assert_eq!((receipt.rows, receipt.shards), (1, 1));
    assert_eq!(table.get(1).await.unwrap(), Some(article(1, "one", 1)));
    assert_eq!(table.get(2).await.unwrap(), None);

    // As INSERT does it: a row with the key is replaced as a whole.
    table.insert(&article(1, "first", 9)).await.unwrap();
    assert_eq!(table.get(1).await.unwrap(), Some(article(1, "first", 9)));

    table.update(&article(1, "changed", 2)).await.unwrap();
    assert_eq!(table.get(1).await.unwrap().unwrap().title, "changed");
    let error = table.update(&article(2, "two", 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "no row of table \"articles\" has the key (2): insert it instead"
    );
    assert_eq!(table.get(2).await.unwrap(), None);

    assert!(table.delete(1).await.unwrap());
    assert!(!table.delete(1).await.unwrap());
    assert_eq!(table.get(1).await.unwrap(), None);
    db.close().await.unwrap();
}

#[tokio::test]
async fn sql_and_records_are_views_of_the_same_rows() {
    let db = with_articles(&[article(1, "one", 1), article(2, "two", 2)]).await;
    let table = db.table::<Article>();
    db.sql("UPDATE articles SET likes = likes + 10 WHERE title = 'two'")
        .await
        .unwrap();
    assert_eq!(table.get(2).await.unwrap(), Some(article(2, "two", 12)));
    db.sql("DELETE FROM articles WHERE id = 1").await.unwrap();
    assert_eq!(table.get(1).await.unwrap(), None);
    let answer = db
        .sql("SELECT * FROM articles")
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let rows = Article::from_batch(&answer.batches()[0]).unwrap();
    assert_eq!(rows, [article(2, "two", 12)]);
    db.close().await.unwrap();
}

#[tokio::test]
async fn many_rows_are_all_written_or_none() {
    let db = with_articles(&[]).await;
    let table = db.table::<Article>();
    let twice = [
        article(1, "one", 1),
        article(2, "two", 2),
        article(1, "again", 1),
    ];
    let error = table.insert_many(&twice).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("the key (1)"), "{error}");
    assert!(table.scan().await.unwrap().all().await.unwrap().is_empty());
    assert_eq!(table.insert_many(&[]).await.unwrap().rows, 0);
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_stream_gives_every_row_once_and_says_what_it_covers() {
    let rows: Vec<Article> = (0..20_000)
        .map(|id| article(id, "title", id as u32))
        .collect();
    let db = with_articles(&rows).await;
    let table = db.table::<Article>();
    let mut stream = table.scan().await.unwrap();
    let coverage = stream.coverage_handle();
    let mut seen = vec![false; rows.len()];
    while let Some(row) = StreamExt::next(&mut stream).await {
        let row = row.unwrap();
        let place = usize::try_from(row.id).unwrap();
        assert!(
            !std::mem::replace(&mut seen[place], true),
            "row {place} came twice"
        );
        assert_eq!(row, rows[place]);
    }
    assert!(seen.iter().all(|seen| *seen));
    let coverage = coverage.current();
    assert!(coverage.is_complete());
    assert_eq!(coverage.rows, 20_000);
    let mut few = table.filter(Article::columns().id.lt(3)).await.unwrap();
    assert!(few.next().await.unwrap().is_ok());
    drop(few);
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_row_that_is_no_record_ends_the_stream_with_its_number() {
    let db = with_articles(&[article(1, "one", 1)]).await;
    db.sql("INSERT INTO articles VALUES (2, 'two', NULL, 2, 'Poem', [])")
        .await
        .unwrap();
    let table = db.table::<Article>();
    let error = table.get(2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = error.to_string();
    assert!(
        text.contains("column \"kind\", row 0: \"Poem\" is none of"),
        "{text}"
    );
    let mut rows = table.scan().await.unwrap();
    let mut good = 0;
    let error = loop {
        match rows.next().await.unwrap() {
            Ok(_) => good += 1,
            Err(error) => break error,
        }
    };
    assert!(
        error.to_string().contains(&format!("row {good}")),
        "{error}"
    );
    assert!(rows.next().await.is_none());
    db.close().await.unwrap();
}

#[tokio::test]
async fn rows_before_one_that_is_no_record_are_handed_out() {
    /// The column that is read first is bad in the later row.
    #[derive(Record, Debug)]
    struct Bad {
        #[record(key)]
        id: i64,
        first: Kind,
        second: Kind,
    }
    let db = Netabase::in_memory().await.unwrap();
    db.sql("CREATE TABLE bad (id BIGINT PRIMARY KEY, first TEXT NOT NULL, second TEXT NOT NULL)")
        .await
        .unwrap();
    db.sql(
        "INSERT INTO bad SELECT value, CASE value WHEN 8 THEN 'x' ELSE 'News' END, \
         CASE value WHEN 6 THEN 'y' ELSE 'Essay' END FROM generate_series(1, 9)",
    )
    .await
    .unwrap();
    let ids = db.sql("SELECT id FROM bad").await.unwrap();
    let ids = ids.collect().await.unwrap();
    let mut rows = db.table::<Bad>().scan().await.unwrap();
    let (mut good, mut failure) = (0_u64, None);
    while let Some(row) = rows.next().await {
        match row {
            Ok(row) => {
                assert!(failure.is_none() && ![6, 8].contains(&row.id));
                good += 1;
            }
            Err(error) => assert!(failure.replace(error.to_string()).is_none()),
        }
    }
    let failure = failure.unwrap();
    assert!(
        failure.contains(&format!("row {good}: ")),
        "{failure}, {good}"
    );
    assert_eq!(ids.num_rows(), 9);
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_key_is_looked_for_as_it_is_kept() {
    #[derive(Record, Debug, Clone, PartialEq)]
    struct Visit {
        #[record(key)]
        id: String,
        n: i64,
    }
    let db = Netabase::in_memory().await.unwrap();
    db.sql("CREATE TABLE visit (id UUID PRIMARY KEY, n BIGINT NOT NULL)")
        .await
        .unwrap();
    let table = db.table::<Visit>();
    let mut row = Visit {
        id: "67E55044-10B1-426F-9247-BB680E5FE0C8".to_owned(),
        n: 1,
    };
    table.insert(&row).await.unwrap();
    let found = table.get(row.key()).await.unwrap().unwrap();
    assert_eq!(found.id, row.id.to_lowercase());
    row.n = 2;
    table.update(&row).await.unwrap();
    db.sql("BEGIN").await.unwrap();
    assert_eq!(table.get(row.key()).await.unwrap().unwrap().n, 2);
    db.sql("COMMIT").await.unwrap();
    // What is no UUID is the key of no row, as in SQL.
    assert_eq!(table.get("seven").await.unwrap(), None);
    assert!(!table.delete("seven").await.unwrap());
    assert!(table.delete(row.key()).await.unwrap());
    assert_eq!(table.get(row.key()).await.unwrap(), None);
    db.close().await.unwrap();
}

#[tokio::test]
async fn keys_of_every_type_find_their_row() {
    #[derive(Record, Debug, Clone, PartialEq)]
    struct Keyed {
        #[record(key)]
        flag: bool,
        #[record(key)]
        kind: Kind,
        #[record(key)]
        small: i8,
        #[record(key)]
        large: u64,
        #[record(key)]
        bytes: Vec<u8>,
        #[record(key)]
        time: SystemTime,
        #[record(key)]
        text: String,
        value: i64,
    }
    let keyed = |value: i64| Keyed {
        flag: value % 2 == 0,
        kind: if value % 3 == 0 {
            Kind::Letter
        } else {
            Kind::Essay
        },
        small: -(value as i8),
        large: u64::MAX - value as u64,
        bytes: vec![0, value as u8],
        time: UNIX_EPOCH - Duration::from_nanos(value as u64),
        text: format!("'{value}"),
        value,
    };
    let rows: Vec<Keyed> = (0..20).map(keyed).collect();
    let db = Netabase::in_memory().await.unwrap();
    let table = db.table::<Keyed>();
    table.create().await.unwrap();
    table.insert_many(&rows).await.unwrap();
    for row in &rows {
        assert_eq!(table.get(row.key()).await.unwrap().as_ref(), Some(row));
    }
    assert!(table.delete(rows[7].key()).await.unwrap());
    assert_eq!(table.get(rows[7].key()).await.unwrap(), None);
    assert_eq!(table.scan().await.unwrap().all().await.unwrap().len(), 19);
    db.close().await.unwrap();
}

/// Whatever a row is made of, a task of the user's may own the call.
#[tokio::test]
async fn calls_may_be_spawned() {
    let db = with_articles(&[]).await;
    let table = db.table::<Article>();
    let insert = {
        let row = article(5, "five", 5);
        table.insert(&row)
    };
    tokio::spawn(insert).await.unwrap().unwrap();
    let get = tokio::spawn(async move {
        let found = table.get(5).await?;
        table.update(&article(5, "fifth", 6)).await?;
        let mut rows = table.filter(Article::columns().likes.gt(1)).await?;
        while let Some(row) = rows.next().await {
            assert_eq!(row?.title, "fifth");
        }
        Ok::<_, netabase::Error>(found)
    });
    assert!(get.await.unwrap().unwrap().is_some());
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_transaction_sees_what_it_wrote() {
    let db = with_articles(&[article(1, "one", 1)]).await;
    let table = db.table::<Article>();
    db.sql("BEGIN").await.unwrap();
    table.insert(&article(2, "two", 2)).await.unwrap();
    table.update(&article(2, "second", 2)).await.unwrap();
    assert_eq!(table.get(2).await.unwrap().unwrap().title, "second");
    assert!(table.delete(1).await.unwrap());
    assert_eq!(table.get(1).await.unwrap(), None);
    // As CREATE TABLE is.
    let refused = table.create().await.unwrap_err();
    assert!(
        refused.to_string().contains("inside a transaction"),
        "{refused}"
    );
    db.sql("ROLLBACK").await.unwrap();
    assert_eq!(table.get(2).await.unwrap(), None);
    assert_eq!(table.get(1).await.unwrap().unwrap().title, "one");
    db.close().await.unwrap();
}

#[tokio::test]
async fn calls_are_among_the_statements() {
    async fn count(db: &Netabase, name: &str) -> String {
        let ask = format!("SELECT value FROM netabase.metrics WHERE name = '{name}'");
        printed(db, &ask).await
    }
    let db = with_articles(&[]).await;
    let table = db.table::<Article>();
    let before = count(&db, "rows_written").await;
    assert!(before.contains("| 0 "), "{before}");
    let rows: Vec<Article> = (0..40).map(|id| article(id, "text", 1)).collect();
    table.insert_many(&rows).await.unwrap();
    table.delete(1).await.unwrap();
    let after = count(&db, "rows_written").await;
    assert!(after.contains("| 41 "), "{after}");
    db.close().await.unwrap();
}

/// A record whose table is in a schema.
#[derive(Record, Debug, Clone, PartialEq)]
#[record(table = "shop.goods", shards = 2)]
struct Good {
    #[record(key)]
    id: i64,
    #[record(index)]
    name: String,
}

fn good(id: i64, name: &str) -> Good {
    Good {
        id,
        name: name.to_owned(),
    }
}

#[tokio::test]
async fn a_table_may_be_in_a_schema() {
    let db = Netabase::in_memory().await.unwrap();
    let table = db.table::<Good>();
    let error = table.create().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("schema \"shop\""), "{error}");
    db.script("CREATE SCHEMA shop; CREATE TABLE goods (id BIGINT PRIMARY KEY); SET search_path TO shop, public")
        .await
        .unwrap();
    table.create().await.unwrap();
    table.create().await.unwrap();
    table
        .insert_many(&[good(1, "pen"), good(2, "ink")])
        .await
        .unwrap();
    assert_eq!(table.get(2).await.unwrap(), Some(good(2, "ink")));
    table.update(&good(2, "red ink")).await.unwrap();
    assert!(table.delete(1).await.unwrap());
    let filter = Good::columns().name.eq("red ink");
    let found = table.filter(filter).await.unwrap().all().await.unwrap();
    assert_eq!(found, [good(2, "red ink")]);
    let counts =
        "SELECT (SELECT count(*) FROM shop.goods) AS a, (SELECT count(*) FROM public.goods) AS b";
    let shown = db.sql(counts).await.unwrap().show().await.unwrap();
    assert!(shown.contains("| 1 | 0 |"), "{shown}");
    db.sql("DROP SCHEMA shop CASCADE").await.unwrap();
    assert_eq!(table.get(2).await.unwrap_err().kind(), ErrorKind::NotFound);
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_session_has_tables_of_its_own_transaction() {
    let db = with_articles(&[article(1, "one", 1)]).await;
    let session = db.session();
    let (outside, inside) = (db.table::<Article>(), session.table::<Article>());
    session.sql("BEGIN").await.unwrap();
    inside.insert(&article(2, "two", 2)).await.unwrap();
    inside.update(&article(1, "changed", 5)).await.unwrap();
    assert_eq!(inside.get(2).await.unwrap(), Some(article(2, "two", 2)));
    assert_eq!(inside.scan().await.unwrap().all().await.unwrap().len(), 2);
    assert_eq!(outside.get(2).await.unwrap(), None);
    assert_eq!(outside.get(1).await.unwrap(), Some(article(1, "one", 1)));
    session.sql("ROLLBACK").await.unwrap();
    assert_eq!(inside.get(2).await.unwrap(), None);
    session.sql("BEGIN").await.unwrap();
    assert!(inside.delete(1).await.unwrap());
    assert_eq!(inside.get(1).await.unwrap(), None);
    inside.insert(&article(3, "three", 3)).await.unwrap();
    assert_eq!(outside.scan().await.unwrap().all().await.unwrap().len(), 1);
    session.sql("COMMIT").await.unwrap();
    let left = outside.scan().await.unwrap().all().await.unwrap();
    assert_eq!(left, [article(3, "three", 3)]);
    db.close().await.unwrap();
}

#[test]
fn callers_that_wait_have_the_same_tables() {
    let db = netabase::blocking::Netabase::open(netabase::Builder::default()).unwrap();
    let table = db.table::<Article>();
    table.create().unwrap();
    table.insert(&article(1, "one", 1)).unwrap();
    table
        .insert_many(&[article(2, "two", 2), article(3, "three", 30)])
        .unwrap();
    table.update(&article(2, "second", 2)).unwrap();
    assert_eq!(table.get(2).unwrap(), Some(article(2, "second", 2)));
    assert!(table.delete(1).unwrap());
    let mut titles: Vec<String> = table
        .scan()
        .unwrap()
        .map(|row| row.unwrap().title)
        .collect();
    titles.sort();
    assert_eq!(titles, ["second", "three"]);
    let many = table.filter(Article::columns().likes.gt(10)).unwrap();
    assert_eq!(many.all().unwrap(), [article(3, "three", 30)]);

    let session = db.session();
    session.sql("BEGIN").unwrap();
    session
        .table::<Article>()
        .insert(&article(9, "nine", 9))
        .unwrap();
    assert_eq!(table.get(9).unwrap(), None);
    session.script("COMMIT; SELECT 1").unwrap();
    assert_eq!(table.get(9).unwrap(), Some(article(9, "nine", 9)));
    db.close().unwrap();
}
