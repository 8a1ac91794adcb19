//! The flights: loaded from Parquet, they answer as plain DataFusion does over the same files.

use datafusion::prelude::{ParquetReadOptions, SessionContext};
use netabase_sql::Engine;

use crate::common::{data, engine, run, text_of};

const TABLES: [&str; 5] = ["flights", "weather", "planes", "airports", "airlines"];

/// Float results of both sides may differ in the order of additions.
const TOLERANCE: f64 = 1e-9;

const QUERIES: [&str; 12] = [
    "SELECT count(*) FROM flights",
    "SELECT carrier, count(*), avg(dep_delay), max(arr_delay) FROM flights GROUP BY carrier",
    "SELECT a.name, count(*) AS n FROM flights f JOIN airlines a USING (carrier) GROUP BY a.name",
    "SELECT origin, dest, count(*) FROM flights WHERE dep_delay > 60 GROUP BY origin, dest",
    "SELECT f.flight, f.carrier, f.time_hour, p.manufacturer FROM flights f \
     JOIN planes p ON f.tailnum = p.tailnum WHERE p.engines = 4",
    "SELECT f.origin, avg(f.dep_delay), avg(w.visib) FROM flights f \
     JOIN weather w ON f.origin = w.origin AND f.time_hour = w.time_hour GROUP BY f.origin",
    "SELECT dest FROM flights EXCEPT SELECT faa FROM airports",
    "SELECT tailnum, count(*) AS n FROM flights WHERE tailnum IS NOT NULL \
     GROUP BY tailnum HAVING count(*) > 400",
    "SELECT carrier, month, n, rank() OVER (PARTITION BY month ORDER BY n DESC, carrier) FROM \
     (SELECT carrier, month, count(*) AS n FROM flights GROUP BY carrier, month)",
    "SELECT time_hour, carrier, flight, distance FROM flights \
     ORDER BY distance DESC, time_hour, carrier, flight LIMIT 20",
    "WITH late AS (SELECT dest, avg(arr_delay) AS d FROM flights GROUP BY dest) \
     SELECT l.dest, l.d, a.name FROM late l LEFT JOIN airports a ON a.faa = l.dest WHERE l.d > 20",
    "SELECT count(*) FROM flights f WHERE NOT EXISTS \
     (SELECT 1 FROM planes p WHERE p.tailnum = f.tailnum) AND f.dep_time IS NULL",
];

async fn plain() -> SessionContext {
    let context = SessionContext::new();
    for table in TABLES {
        let path = data(&format!("{table}.parquet"));
        let options = ParquetReadOptions::default();
        context
            .register_parquet(table, path.to_str().unwrap(), options)
            .await
            .unwrap();
    }
    context
}

/// Tables with the columns of the files, loaded with COPY.
pub(crate) async fn loaded(plain: &SessionContext) -> Engine {
    let engine = engine();
    for (table, key) in [
        ("flights", "time_hour, carrier, flight"),
        ("weather", "origin, time_hour"),
        ("planes", "tailnum"),
        ("airports", "faa"),
        ("airlines", "carrier"),
    ] {
        let schema = plain
            .table(table)
            .await
            .unwrap()
            .schema()
            .as_arrow()
            .clone();
        let columns: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| format!("\"{}\" {}", field.name(), sql_type(field.data_type())))
            .collect();
        let columns = columns.join(", ");
        run(
            &engine,
            &format!("CREATE TABLE {table} ({columns}, PRIMARY KEY ({key}))"),
        )
        .await;
        let path = data(&format!("{table}.parquet"));
        run(&engine, &format!("COPY {table} FROM '{}'", path.display())).await;
    }
    engine
}

fn sql_type(data_type: &arrow::datatypes::DataType) -> &'static str {
    use arrow::datatypes::DataType::{Float64, Int32, Int64, Timestamp, Utf8, Utf8View};
    match data_type {
        Int32 => "INT",
        Int64 => "BIGINT",
        Float64 => "DOUBLE",
        Utf8 | Utf8View => "TEXT",
        Timestamp(_, None) => "TIMESTAMP",
        Timestamp(_, Some(_)) => "TIMESTAMPTZ",
        other => panic!("no SQL type for {other}"),
    }
}

fn same(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let numbers = (one.parse::<f64>(), other.parse::<f64>());
    matches!(numbers, (Ok(a), Ok(b)) if (a - b).abs() <= TOLERANCE * a.abs().max(1.0))
        || trimmed(one) == trimmed(other)
}

/// Timestamps are the same instant with or without a zone's letter.
fn trimmed(text: &str) -> &str {
    text.trim_end_matches('Z')
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_equal_those_of_plain_datafusion() {
    let plain = plain().await;
    let engine = loaded(&plain).await;
    for query in QUERIES {
        let expected = plain.sql(query).await.unwrap().collect().await.unwrap();
        let actual = engine.sql(query).await.unwrap().collect().await.unwrap();
        let (mut expected, mut actual) = (text_of(&expected), text_of(&actual));
        expected.sort();
        actual.sort();
        assert_eq!(expected.len(), actual.len(), "{query}");
        for (expected, actual) in expected.iter().zip(&actual) {
            let equal = expected.iter().zip(actual).all(|(a, b)| same(a, b));
            assert!(equal, "{query}\nexpected {expected:?}\nactual   {actual:?}");
        }
    }
}
