//! Scan requests as bytes.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Date32Array, RecordBatch, new_null_array};
use arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    Column, DynamicFilterPhysicalExpr, binary, col, in_list, lit,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use netabase_sql::store::ErrorKind;
use netabase_sql::{Engine, ScanRequest, decode_request, encode_request};

use crate::common::{engine, run};

async fn request(
    predicate: impl FnOnce(&Schema) -> Arc<dyn PhysicalExpr>,
) -> (Engine, ScanRequest) {
    let engine = engine();
    run(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, v DOUBLE, s TEXT, day DATE)",
    )
    .await;
    let def = engine.store().table("t").unwrap();
    let predicate = Some(predicate(&def.schema));
    (
        engine,
        ScanRequest {
            schema: Arc::clone(&def.schema),
            def,
            projection: vec![2, 0],
            predicate,
            fetch: Some(7),
            answer: None,
        },
    )
}

fn round_trip(engine: &Engine, request: &ScanRequest) -> ScanRequest {
    let bytes = encode_request(request).unwrap();
    let context = engine.context().task_ctx();
    decode_request(&bytes, Arc::clone(&request.def), &context).unwrap()
}

#[tokio::test]
async fn a_request_survives_the_round_trip() {
    let (engine, request) = request(|schema| {
        let large = binary(col("k", schema).unwrap(), Operator::Gt, lit(5i64), schema).unwrap();
        let texts = ["a", "b"].map(|text| lit(ScalarValue::Utf8View(Some(text.to_string()))));
        let listed = in_list(col("s", schema).unwrap(), texts.to_vec(), &false, schema).unwrap();
        binary(large, Operator::And, listed, schema).unwrap()
    })
    .await;
    let decoded = round_trip(&engine, &request);
    assert_eq!(decoded.projection, request.projection);
    assert_eq!(decoded.fetch, request.fetch);
    let (before, after) = (request.predicate.unwrap(), decoded.predicate.unwrap());
    assert_eq!(before.to_string(), after.to_string());
}

#[tokio::test]
async fn a_request_without_predicate_and_limit_survives() {
    let (engine, mut request) = request(|_| lit(true)).await;
    request.predicate = None;
    request.fetch = None;
    let decoded = round_trip(&engine, &request);
    assert!(decoded.predicate.is_none() && decoded.fetch.is_none());
}

#[tokio::test]
async fn a_dynamic_filter_is_frozen() {
    let (engine, request) = request(|schema| {
        let key = col("k", schema).unwrap();
        let dynamic = DynamicFilterPhysicalExpr::new(vec![Arc::clone(&key)], lit(true));
        let large = binary(key, Operator::Gt, lit(5i64), schema).unwrap();
        dynamic.update(large).unwrap();
        Arc::new(dynamic)
    })
    .await;
    let decoded = round_trip(&engine, &request);
    assert_eq!(decoded.predicate.unwrap().to_string(), "k@0 > 5");
}

#[tokio::test]
async fn a_date_beside_a_timestamp_survives() {
    let (engine, request) = request(|schema| {
        let at = |nanos| lit(ScalarValue::TimestampNanosecond(nanos, Some("UTC".into())));
        let bounded = engine().context().udf("bounded").unwrap();
        let day = vec![col("day", schema).unwrap(), at(Some(0))];
        let day = ScalarFunctionExpr::try_new(bounded, day, schema, Arc::default()).unwrap();
        binary(Arc::new(day), Operator::Gt, at(Some(7)), schema).unwrap()
    })
    .await;
    let (before, after) = (
        request.predicate.clone().unwrap(),
        round_trip(&engine, &request).predicate.unwrap(),
    );
    assert_eq!(before.to_string(), after.to_string());
    let days = Date32Array::from(vec![Some(2_932_896), Some(-719_162), Some(0), None]);
    let columns = request
        .schema
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "day" => Arc::new(days.clone()) as ArrayRef,
            _ => new_null_array(field.data_type(), days.len()),
        });
    let schema = Schema::new(
        request
            .schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect::<Vec<_>>(),
    );
    let rows = RecordBatch::try_new(Arc::new(schema), columns.collect()).unwrap();
    let found = after
        .evaluate(&rows)
        .unwrap()
        .into_array(days.len())
        .unwrap();
    let wanted = BooleanArray::from(vec![Some(true), Some(false), Some(false), None]);
    assert_eq!(found.as_boolean(), &wanted);
}

#[tokio::test]
async fn long_conditions_survive() {
    let (engine, request) = request(|schema| {
        let key = || col("k", schema).unwrap();
        let equal = |n: i64| binary(key(), Operator::Eq, lit(n), schema).unwrap();
        let either = (1..400)
            .map(equal)
            .reduce(|a, b| binary(a, Operator::Or, b, schema).unwrap());
        let not = |n: i64| binary(key(), Operator::NotEq, lit(n), schema).unwrap();
        let all = (1..400)
            .map(not)
            .reduce(|a, b| binary(a, Operator::And, b, schema).unwrap());
        binary(either.unwrap(), Operator::And, all.unwrap(), schema).unwrap()
    })
    .await;
    let decoded = round_trip(&engine, &request);
    assert_eq!(
        decoded.predicate.unwrap().to_string(),
        request.predicate.unwrap().to_string()
    );
}

#[tokio::test]
async fn oversized_and_broken_requests_are_refused() {
    let (engine, request) = request(|schema| {
        let text = ScalarValue::Utf8View(Some("x".repeat(1 << 20)));
        binary(col("s", schema).unwrap(), Operator::Eq, lit(text), schema).unwrap()
    })
    .await;
    assert_eq!(
        encode_request(&request).unwrap_err().kind(),
        ErrorKind::Capacity
    );

    let context = engine.context().task_ctx();
    let decode = |bytes: &[u8]| decode_request(bytes, Arc::clone(&request.def), &context);
    assert_eq!(
        decode(&vec![0; 1 << 20]).unwrap_err().kind(),
        ErrorKind::Capacity
    );
    assert_eq!(
        decode(&[0xff; 9]).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    let plain = ScanRequest {
        predicate: None,
        ..request.clone()
    };
    let mut bytes = encode_request(&plain).unwrap();
    bytes.push(0);
    assert_eq!(decode(&bytes).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn columns_that_do_not_exist_are_refused() {
    let (engine, request) = request(|_| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new("k", 9));
        datafusion::physical_expr::expressions::is_null(column).unwrap()
    })
    .await;
    let context = engine.context().task_ctx();
    let bytes = encode_request(&request).unwrap();
    let error = decode_request(&bytes, Arc::clone(&request.def), &context).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);

    let wide = ScanRequest {
        projection: vec![7],
        predicate: None,
        ..request
    };
    let bytes = encode_request(&wide).unwrap();
    let error = decode_request(&bytes, wide.def, &context).unwrap_err();
    assert!(error.to_string().contains("column 7"), "{error}");
}

#[tokio::test]
async fn a_predicate_that_is_not_boolean_is_refused() {
    let (engine, request) = request(|schema| col("k", schema).unwrap()).await;
    let bytes = encode_request(&request).unwrap();
    let error = decode_request(&bytes, request.def, &engine.context().task_ctx()).unwrap_err();
    assert!(error.to_string().contains("not Boolean"), "{error}");
}
