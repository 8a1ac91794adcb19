//! Views, and who plans them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::datatypes::DataType;
use netabase_sql::datafusion::common::{Result, ScalarValue};
use netabase_sql::datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::common::{engine, rows, run, value};

/// A function that counts how often it is planned.
#[derive(Debug)]
struct Noticed(Signature, Arc<AtomicUsize>);

impl PartialEq for Noticed {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.1, &other.1)
    }
}

impl Eq for Noticed {}

impl std::hash::Hash for Noticed {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        "noticed".hash(state);
    }
}

impl ScalarUDFImpl for Noticed {
    fn name(&self) -> &str {
        "noticed"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Int64(Some(1))))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_planned_where_its_columns_are_asked_for() {
    let engine = engine();
    let planned = Arc::new(AtomicUsize::new(0));
    let function = Noticed(
        Signature::any(1, Volatility::Volatile),
        Arc::clone(&planned),
    );
    engine
        .context()
        .register_udf(ScalarUDF::new_from_impl(function));
    run(
        &engine,
        "CREATE TABLE t (id INT PRIMARY KEY); CREATE VIEW v AS SELECT noticed(id) AS n FROM t;
         CREATE VIEW w AS SELECT id FROM t",
    )
    .await;
    planned.store(0, Ordering::SeqCst);
    for (text, columns) in [
        ("DESCRIBE t", "id"),
        ("SHOW COLUMNS FROM w", "id"),
        (
            "SELECT column_name FROM information_schema.columns WHERE 't' = table_name",
            "id",
        ),
    ] {
        assert_eq!(rows(&engine, text).await[0][0], columns, "{text}");
        assert_eq!(planned.load(Ordering::SeqCst), 0, "{text}");
    }
    assert_eq!(rows(&engine, "DESCRIBE v").await[0][0], "n");
    assert!(planned.load(Ordering::SeqCst) > 0);
    let all = "SELECT count(*) FROM netabase.columns WHERE schema_name = 'public'";
    assert_eq!(value(&engine, all).await, "3");
    let some = "SELECT count(*) FROM netabase.columns WHERE table_name IN ('v', 'w') \
                OR table_name = 't'";
    assert_eq!(value(&engine, some).await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_reads_views_when_the_first_one_is_gone() {
    let first = engine();
    run(
        &first,
        "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (7);
         CREATE VIEW v AS SELECT id FROM t",
    )
    .await;
    let session = first.session();
    let of_session = session.session();
    drop(first);
    assert_eq!(value(&session, "SELECT id FROM v").await, "7");
    drop(session);
    assert_eq!(value(&of_session, "SELECT id FROM v").await, "7");
    let functions = "SELECT count(*) > 0 FROM information_schema.routines";
    assert_eq!(value(&of_session, functions).await, "true");
}
