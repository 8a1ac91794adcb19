//! Whole values by key.

use super::*;
use netabase::{ErrorKind, MAX_VALUE_BYTES, ValueCodec};

#[tokio::test]
async fn a_value_comes_back_whatever_its_format() {
    let db = Netabase::in_memory().await.unwrap();
    let value = Whole::Tree {
        left: Box::new(Some(Whole::Pair(7, 'ß'))),
        name: "a 'name'".to_owned(),
    };
    for codec in [ValueCodec::Bincode, ValueCodec::Json, ValueCodec::Cbor] {
        let key = codec.name().as_bytes();
        db.put_value(key, &value, codec).await.unwrap();
        let back: Whole = db.get_value(key).await.unwrap().unwrap();
        assert_eq!(format!("{back:?}"), format!("{value:?}"));
    }
    assert!(db.get_value::<Whole>(b"missing").await.unwrap().is_none());
    db.close().await.unwrap();
}

#[tokio::test]
async fn what_is_no_value_is_an_error() {
    let db = Netabase::in_memory().await.unwrap();
    db.put(b"raw", b"no value").await.unwrap();
    let error = db.get_value::<String>(b"raw").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    db.put_value(b"text", "text", ValueCodec::Cbor)
        .await
        .unwrap();
    let error = db.get_value::<Whole>(b"text").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let long = "x".repeat(MAX_VALUE_BYTES);
    let error = db
        .put_value(b"long", &long, ValueCodec::Json)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Capacity);
    assert!(db.get(b"long").await.unwrap().is_none());
    db.close().await.unwrap();
}
