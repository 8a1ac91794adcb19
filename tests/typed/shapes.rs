//! Tables are made from records, and compared with them.

use super::*;
use netabase::{Error, ErrorKind};

async fn refused<R: Record>(db: &Netabase) -> Error {
    let error = db.table::<R>().create().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    error
}

#[tokio::test]
async fn a_table_is_made_as_the_record_says() {
    #[derive(Record)]
    #[record(
        table = "Odd \"table\"",
        shards = 5,
        replicas = 3,
        ttl = "2 days",
        compression = "lz4"
    )]
    struct Odd {
        #[record(key = 2)]
        b: i64,
        #[record(key = 1, shard_key, index = "odd_pair")]
        a: String,
        #[record(index, index = "odd_pair")]
        c: Option<f64>,
    }
    let db = Netabase::in_memory().await.unwrap();
    let table = db.table::<Odd>();
    let (a, b, c) = tokio::join!(table.create(), table.create(), table.create());
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    let row = Odd {
        b: 1,
        a: "x".to_owned(),
        c: None,
    };
    table.insert(&row).await.unwrap();
    assert_eq!(table.get(("x", 1)).await.unwrap().unwrap().b, 1);

    // The same, said in SQL, is the same table.
    db.sql("DROP TABLE \"Odd \"\"table\"\"\"").await.unwrap();
    db.script(
        "CREATE TABLE \"Odd \"\"table\"\"\" (b BIGINT, a TEXT, c DOUBLE, PRIMARY KEY (a, b)) \
         WITH (shards = 5, replicas = 3, shard_by = 'a', ttl = '2 days', compression = 'lz4'); \
         CREATE INDEX odd_pair ON \"Odd \"\"table\"\"\" (a, c)",
    )
    .await
    .unwrap();
    table.create().await.unwrap();
    // The other index was made.
    db.sql("DROP INDEX \"Odd \"\"table\"\"_c_idx\"")
        .await
        .unwrap();
    db.close().await.unwrap();
}

#[tokio::test]
async fn many_may_make_it_at_the_same_time() {
    let db = Netabase::in_memory().await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| tokio::spawn(db.table::<Article>().create()))
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_table_of_sql_is_a_records_table_if_it_has_its_shape() {
    let db = Netabase::in_memory().await.unwrap();
    // Other order and layouts; the same columns.
    db.sql(
        "CREATE TABLE articles (title TEXT NOT NULL, id BIGINT PRIMARY KEY, author VARCHAR, \
         tags TEXT[] NOT NULL, likes INT UNSIGNED NOT NULL, kind TEXT NOT NULL)",
    )
    .await
    .unwrap();
    let table = db.table::<Article>();
    table.create().await.unwrap();
    db.sql("INSERT INTO articles VALUES ('t', 3, NULL, ['x', 'y'], 5, 'Essay')")
        .await
        .unwrap();
    let read = table.get(3).await.unwrap().unwrap();
    let expected = Article {
        id: 3,
        title: "t".to_owned(),
        author: None,
        likes: 5,
        kind: Kind::Essay,
        tags: vec!["x".to_owned(), "y".to_owned()],
    };
    assert_eq!(read, expected);
    let four = Article { id: 4, ..expected };
    table.insert(&four).await.unwrap();
    assert_eq!(
        printed(
            &db,
            "SELECT id, title, tags, kind FROM articles WHERE id = 4"
        )
        .await,
        "+----+-------+--------+-------+\n\
         | id | title | tags   | kind  |\n\
         +----+-------+--------+-------+\n\
         | 4  | t     | [x, y] | Essay |\n\
         +----+-------+--------+-------+"
    );
    db.close().await.unwrap();
}

#[tokio::test]
async fn every_difference_is_a_conflict_that_names_it() {
    #[derive(Record)]
    #[record(table = "t", shards = 4, ttl = "1 day", compression = "none")]
    struct T {
        #[record(key)]
        a: i64,
        #[record(key)]
        b: String,
        c: Option<i64>,
        d: i64,
    }
    let options = "WITH (shards = 4, ttl = '1 day', compression = 'none')";
    let columns = "a BIGINT, b TEXT, c BIGINT, d BIGINT NOT NULL, PRIMARY KEY (a, b)";
    let cases = [
        (
            "a BIGINT, b TEXT, c BIGINT, PRIMARY KEY (a, b)",
            options,
            "no column \"d\"",
        ),
        (
            "a BIGINT, b TEXT, c BIGINT, d BIGINT NOT NULL, e INT, PRIMARY KEY (a, b)",
            options,
            "column \"e\"",
        ),
        (
            "a BIGINT, b TEXT, c INT, d BIGINT NOT NULL, PRIMARY KEY (a, b)",
            options,
            "column \"c\" is Int32 there and Int64",
        ),
        (
            "a BIGINT, b TEXT, c BIGINT, d BIGINT, PRIMARY KEY (a, b)",
            options,
            "column \"d\" may be NULL there",
        ),
        (
            "a BIGINT, b TEXT, c BIGINT NOT NULL, d BIGINT NOT NULL, PRIMARY KEY (a, b)",
            options,
            "column \"c\" is NOT NULL there",
        ),
        (
            "a BIGINT, b TEXT, c BIGINT, d BIGINT NOT NULL, PRIMARY KEY (b, a)",
            options,
            "primary key is (b, a), and the record's is (a, b)",
        ),
        (
            columns,
            "WITH (shards = 4, shard_by = 'a', ttl = '1 day', compression = 'none')",
            "shard key is (a), and the record's is (a, b)",
        ),
        (
            columns,
            "WITH (shards = 5, ttl = '1 day', compression = 'none')",
            "number of shards is 5",
        ),
        (
            columns,
            "WITH (shards = 4, compression = 'none')",
            "time to live is for ever",
        ),
        (
            columns,
            "WITH (shards = 4, ttl = '1 day')",
            "compression is the store's own",
        ),
    ];
    let db = Netabase::in_memory().await.unwrap();
    for (columns, options, difference) in cases {
        db.sql(&format!("CREATE TABLE t ({columns}) {options}"))
            .await
            .unwrap();
        let error = refused::<T>(&db).await.to_string();
        assert!(
            error.contains("table \"t\"") && error.contains(difference),
            "{error}"
        );
        db.sql("DROP TABLE t").await.unwrap();
    }
    db.sql(&format!("CREATE TABLE t ({columns}) {options}"))
        .await
        .unwrap();
    db.table::<T>().create().await.unwrap();
    db.close().await.unwrap();
}

#[tokio::test]
async fn nothing_is_written_to_a_table_of_another_shape() {
    #[derive(Record, Debug)]
    #[record(table = "articles")]
    struct Narrow {
        #[record(key)]
        id: i64,
        title: String,
    }
    let db = with_articles(&[article(1, "one", 5)]).await;
    let narrow = db.table::<Narrow>();
    let row = Narrow {
        id: 1,
        title: "gone".to_owned(),
    };
    for error in [
        narrow.insert(&row).await.unwrap_err(),
        narrow.update(&row).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("would be lost"), "{error}");
    }
    // Reading what it has is safe.
    assert_eq!(narrow.get(1).await.unwrap().unwrap().title, "one");
    assert_eq!(narrow.scan().await.unwrap().all().await.unwrap().len(), 1);
    assert_eq!(
        db.table::<Article>().get(1).await.unwrap().unwrap().likes,
        5
    );
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_newer_record_reads_an_older_table() {
    #[derive(Record, Debug)]
    #[record(table = "articles")]
    struct Newer {
        #[record(key)]
        id: i64,
        title: String,
        #[record(default = 10)]
        rank: u8,
        editor: Option<String>,
    }
    let db = with_articles(&[article(1, "one", 5)]).await;
    let newer = db.table::<Newer>();
    let read = newer.get(1).await.unwrap().unwrap();
    assert_eq!((read.rank, read.editor), (10, None));
    let all = newer
        .filter(Newer::columns().title.eq("one"))
        .await
        .unwrap();
    assert_eq!(all.all().await.unwrap()[0].rank, 10);
    let error = newer
        .insert(&newer.get(1).await.unwrap().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("no column \"rank\""), "{error}");
    db.close().await.unwrap();
}

#[tokio::test]
async fn indexes_are_added_to_a_table_that_lacks_them() {
    #[derive(Record)]
    #[record(table = "articles")]
    struct Indexed {
        #[record(key)]
        id: i64,
        #[record(index, index = "Pair")]
        title: String,
        author: Option<String>,
        #[record(index = "Pair")]
        likes: u32,
        kind: Kind,
        tags: Vec<String>,
    }
    let db = with_articles(&[article(1, "one", 5)]).await;
    db.table::<Indexed>().create().await.unwrap();
    db.table::<Indexed>().create().await.unwrap();
    db.sql("DROP INDEX \"Pair\"").await.unwrap();
    db.sql("CREATE INDEX \"Pair\" ON articles (likes, title)")
        .await
        .unwrap();
    let error = refused::<Indexed>(&db).await;
    assert!(
        error
            .to_string()
            .contains("index \"Pair\" has other columns"),
        "{error}"
    );
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_table_that_is_missing_is_not_found() {
    let db = Netabase::in_memory().await.unwrap();
    let table = db.table::<Article>();
    let row = article(1, "one", 1);
    for error in [
        table.get(1).await.unwrap_err(),
        table.insert(&row).await.unwrap_err(),
        table.update(&row).await.unwrap_err(),
        table.delete(1).await.unwrap_err(),
        table.scan().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("Table::create"), "{error}");
    }
    db.close().await.unwrap();
    assert_eq!(
        table.get(1).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

#[tokio::test]
async fn a_column_goes_by_the_name_that_it_has_now() {
    #[derive(Record, Debug)]
    struct T {
        #[record(key)]
        id: i64,
        #[record(index)]
        new: String,
    }
    let db = Netabase::in_memory().await.unwrap();
    db.script(
        "CREATE TABLE t (id_ BIGINT PRIMARY KEY, old TEXT NOT NULL, gone INT NOT NULL); \
         ALTER TABLE t RENAME COLUMN old TO new; ALTER TABLE t RENAME COLUMN id_ TO id; \
         ALTER TABLE t DROP COLUMN gone",
    )
    .await
    .unwrap();
    let table = db.table::<T>();
    table.create().await.unwrap();
    let row = T {
        id: 1,
        new: "text".to_owned(),
    };
    table.insert(&row).await.unwrap();
    table.update(&row).await.unwrap();
    assert_eq!(table.get(1).await.unwrap().unwrap().new, "text");
    let found = table.filter(T::columns().new.eq("text")).await.unwrap();
    assert_eq!(found.all().await.unwrap()[0].id, 1);
    assert!(table.delete(1).await.unwrap());
    db.close().await.unwrap();
}

#[tokio::test]
async fn rules_of_the_table_hold_for_records() {
    #[derive(Record, Debug)]
    struct T {
        #[record(key)]
        id: i64,
        price: i64,
    }
    #[derive(Record, Debug)]
    #[record(table = "t")]
    struct Whole {
        #[record(key)]
        id: i64,
        price: i64,
        double: Option<i64>,
    }
    let db = Netabase::in_memory().await.unwrap();
    db.sql(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, price BIGINT NOT NULL CHECK (price > 0), \
         double BIGINT GENERATED ALWAYS AS (price * 2) STORED)",
    )
    .await
    .unwrap();
    let table = db.table::<T>();
    table.create().await.unwrap();
    table.insert(&T { id: 1, price: 4 }).await.unwrap();
    let error = table.insert(&T { id: 2, price: 0 }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("violates check"), "{error}");
    // The generated column is read, and not written.
    let mut row = db.table::<Whole>().get(1).await.unwrap().unwrap();
    assert_eq!((row.price, row.double), (4, Some(8)));
    row.double = None;
    let error = db.table::<Whole>().update(&row).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(
        error.to_string().contains("\"double\" is generated"),
        "{error}"
    );
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_view_is_read_and_not_written() {
    #[derive(Record, Debug)]
    #[record(table = "popular")]
    struct Popular {
        #[record(key)]
        id: i64,
        likes: u32,
    }
    let db = with_articles(&[article(1, "one", 5), article(2, "two", 50)]).await;
    db.sql("CREATE VIEW popular AS SELECT id, likes FROM articles WHERE likes > 10")
        .await
        .unwrap();
    db.sql("CREATE MATERIALIZED VIEW kept AS SELECT id, likes FROM articles WHERE likes > 10")
        .await
        .unwrap();
    #[derive(Record, Debug)]
    #[record(table = "kept")]
    struct Kept {
        #[record(key)]
        id: i64,
        likes: u32,
        #[record(default)]
        author: String,
    }
    let table = db.table::<Popular>();
    let rows = table.scan().await.unwrap().all().await.unwrap();
    assert_eq!((rows.len(), rows[0].id, rows[0].likes), (1, 2, 50));
    assert_eq!(table.get(2).await.unwrap().unwrap().likes, 50);
    assert!(table.get(1).await.unwrap().is_none());
    let none = table.filter(Popular::columns().likes.lt(20)).await.unwrap();
    assert!(none.all().await.unwrap().is_empty());
    let kept = db.table::<Kept>().get(2).await.unwrap().unwrap();
    assert_eq!((kept.id, kept.likes, kept.author.as_str()), (2, 50, ""));
    assert!(db.table::<Kept>().delete(2).await.is_err());
    #[derive(Record, Debug)]
    #[record(table = "popular")]
    struct Other {
        #[record(key)]
        id: i64,
        likes: String,
    }
    let error = db.table::<Other>().scan().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(
        error.to_string().contains("column \"likes\" is UInt32"),
        "{error}"
    );
    let error = table
        .insert(&Popular { id: 1, likes: 1 })
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Conflict | ErrorKind::InvalidInput),
        "{error}"
    );
    db.close().await.unwrap();
}

#[tokio::test]
async fn the_name_of_an_index_is_taken_once() {
    #[derive(Record, Debug)]
    struct Other {
        #[record(key)]
        id: i64,
        #[record(index = "articles_likes_idx")]
        n: i64,
    }
    let db = with_articles(&[]).await;
    let error = refused::<Other>(&db).await;
    assert!(
        error.to_string().contains("on table \"articles\""),
        "{error}"
    );
    let missing = db.table::<Other>().get(1).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    db.close().await.unwrap();
}
