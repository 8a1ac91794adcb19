//! IN of lists longer than those that an index is asked for.

use crate::common::{engine_in_folder, rows, run, value};

/// A list above the length that an index is asked for is answered like the short ones it is made of.
#[tokio::test]
async fn a_long_list_finds_what_short_ones_find() {
    let (engine, _dir) = engine_in_folder(2);
    run(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, i INT, s TEXT, d DECIMAL(10, 2), at DATE);
         INSERT INTO t SELECT value, nullif(value % 3000, 7), 'v' || (value % 2500),
             value / 100.0, DATE '2000-01-01' + CAST(value % 4000 AS INT)
         FROM generate_series(1, 5000)",
    )
    .await;
    let literal = |column: &str, n: usize| match column {
        "s" => format!("'v{n}'"),
        "d" => format!("{}.{:02}", n / 100, n % 100),
        "at" => format!("DATE '2000-01-01' + {n}"),
        _ => n.to_string(),
    };
    for place in ["in memory", "in segments"] {
        for column in ["k", "i", "s", "d", "at"] {
            let values: Vec<String> = (0..1500).map(|n| literal(column, n * 3)).collect();
            let parts: Vec<String> = values
                .chunks(500)
                .map(|part| format!("{column} IN ({})", part.join(", ")))
                .collect();
            let count = |condition: String| {
                let engine = engine.clone();
                async move {
                    let query = format!("SELECT count(*) FROM t WHERE {condition}");
                    value(&engine, &query).await
                }
            };
            let all = values.join(", ");
            let found = count(format!("{column} IN ({all})")).await;
            assert_eq!(found, count(parts.join(" OR ")).await, "{column} {place}");
            assert_ne!(found, "0");
            let others = count(format!("{column} NOT IN ({all})")).await;
            let expected = count(format!("NOT ({})", parts.join(" OR "))).await;
            assert_eq!(others, expected, "{column} {place}");
            assert_eq!(found, count(format!("{column} IN ({all}, NULL)")).await);
            assert_eq!(count(format!("{column} NOT IN ({all}, NULL)")).await, "0");
        }
        engine.store().flush_to_segments().unwrap();
    }
    // What a column is, is not known everywhere before types are coerced.
    let numbers: Vec<String> = (1..=1200).map(|n| n.to_string()).collect();
    let numbers = numbers.join(", ");
    for of in [
        "SELECT k AS x FROM t UNION ALL SELECT d FROM t",
        "SELECT CASE WHEN k > 3 THEN k ELSE d END AS x FROM t",
        "SELECT max(CASE WHEN k > 3 THEN k ELSE d END) AS x FROM t GROUP BY k",
    ] {
        let query = |condition: &str| format!("SELECT count(*) FROM ({of}) AS u WHERE {condition}");
        let within = value(&engine, &query(&format!("x IN ({numbers})"))).await;
        let whole = query("x BETWEEN 1 AND 1200 AND x = floor(x)");
        assert_eq!(within, value(&engine, &whole).await, "{of}");
        let others = value(&engine, &query(&format!("x NOT IN ({numbers})"))).await;
        let whole = query("NOT (x BETWEEN 1 AND 1200 AND x = floor(x))");
        assert_eq!(others, value(&engine, &whole).await, "{of}");
    }
    // It has a name, and is no part of what was asked.
    let list: Vec<String> = (0..1200).map(|n| n.to_string()).collect();
    let list = list.join(", ");
    let query = format!("SELECT k IN ({list}), k + 1 IN ({list}) AS b FROM t WHERE k = 1199");
    assert_eq!(rows(&engine, &query).await, [["true", "false"]]);
    let changed = format!("DELETE FROM t WHERE k NOT IN ({list})");
    run(&engine, &changed).await;
    assert_eq!(value(&engine, "SELECT count(*) FROM t").await, "1199");
}

/// What a statement gets written out, before it is planned, leaves its lists as they are.
#[tokio::test]
async fn a_long_list_stays_whatever_else_is_written_out() {
    let (engine, _dir) = engine_in_folder(2);
    run(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, v INT);
         CREATE TABLE u (k BIGINT PRIMARY KEY, w INT);
         INSERT INTO t SELECT value, value % 7 FROM generate_series(1, 300);
         INSERT INTO u SELECT value, value % 5 FROM generate_series(2, 300)",
    )
    .await;
    let values: Vec<String> = (0..120).map(|n| (n * 3 - 20).to_string()).collect();
    let long = format!("k IN ({})", values.join(", "));
    let parts = values.chunks(40);
    let parts: Vec<String> = parts
        .map(|part| format!("k IN ({})", part.join(", ")))
        .collect();
    let short = format!("({})", parts.join(" OR "));
    for query in [
        "SELECT * FROM t WHERE {}",
        "SELECT *, k + 1 AS v FROM t WHERE {}",
        "SELECT *, k + 1 AS v FROM t WHERE {} UNION ALL SELECT *, k + 2 AS v FROM t WHERE NOT ({})",
        "SELECT t FROM t WHERE {} AND v < 5",
        "SELECT count(t.*) FROM t WHERE v < 5 AND ({} OR v = 1)",
        "SELECT * FROM t NATURAL JOIN u WHERE {}",
        "SELECT *, w + 1 AS v FROM t JOIN u USING (k) WHERE {}",
        "SELECT * FROM t WHERE {} ORDER BY k LIMIT (SELECT count(*) / 2 FROM u WHERE {})",
        "SELECT *, _version > 0 AS written FROM t WHERE {} AND _version > 0",
        "SELECT k FROM t WHERE {} UNION ALL SELECT k FROM u WHERE {}",
        "WITH s AS (SELECT * FROM t WHERE {}) SELECT * FROM s WHERE {} AND v IN (1, 2)",
        "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE {} AND u.w = t.v) AND {}",
    ] {
        let mut found = rows(&engine, &query.replace("{}", &long)).await;
        let mut expected = rows(&engine, &query.replace("{}", &short)).await;
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{query}");
        assert!(!found.is_empty(), "{query}");
    }
    let explain = |condition: &str| format!("EXPLAIN SELECT * FROM t WHERE {condition}");
    let plan = rows(&engine, &explain(&long)).await.concat().join(" ");
    assert!(plan.contains("337"), "{plan}");
}
