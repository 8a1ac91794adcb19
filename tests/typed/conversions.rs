//! Records to batches and back, and what cannot be converted.

use std::sync::Arc;

use netabase::arrow::array::{
    ArrayRef, BinaryViewArray, Int64Array, LargeListArray, ListArray, StringArray, StringViewArray,
    StructArray, UInt32Array,
};
use netabase::arrow::compute::{cast, concat_batches, take_record_batch};
use netabase::arrow::datatypes::{DataType, Field, Schema};
use netabase::arrow::record_batch::RecordBatch;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use netabase::typed::Shape;
use netabase::{ConversionError, Error, ErrorKind};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_come_back(rows in vec(everything(), 0..6)) {
        let batch = Everything::to_batch(&rows).unwrap();
        prop_assert_eq!(&batch.schema(), Everything::shape().schema());
        let back = Everything::from_batch(&batch).unwrap();
        prop_assert_eq!(back.len(), rows.len());
        back.iter().zip(&rows).for_each(|(there, here)| assert_same(there, here));
    }

    /// Arrays that are slices of others, or whose rows were moved, have offsets of their own.
    #[test]
    fn parts_of_batches_come_back(rows in vec(everything(), 2..6), at in any::<prop::sample::Index>()) {
        let batch = Everything::to_batch(&rows).unwrap();
        let at = at.index(rows.len());
        let back = Everything::from_batch(&batch.slice(at, rows.len() - at)).unwrap();
        back.iter().zip(&rows[at..]).for_each(|(there, here)| assert_same(there, here));
        let backwards: UInt32Array = (0..rows.len() as u32).rev().collect();
        let moved = take_record_batch(&batch, &backwards).unwrap();
        let twice = concat_batches(&batch.schema(), [&batch, &moved]).unwrap();
        let back = Everything::from_batch(&twice).unwrap();
        let expected = rows.iter().chain(rows.iter().rev());
        back.iter().zip(expected).for_each(|(there, here)| assert_same(there, here));
    }
}

#[tokio::test]
async fn rows_come_back_from_segments_of_a_folder() {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let rows: Vec<Everything> = (0..60)
        .map(|number| {
            let mut row = everything().new_tree(&mut runner).unwrap().current();
            row.number = number;
            row
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let db = Netabase::embedded(folder.path()).await.unwrap();
    let table = db.table::<Everything>();
    table.create().await.unwrap();
    assert_eq!(table.insert_many(&rows).await.unwrap().rows, 60);
    db.sql("CHECKPOINT").await.unwrap();
    db.close().await.unwrap();

    let db = Netabase::embedded(folder.path()).await.unwrap();
    let table = db.table::<Everything>();
    table.create().await.unwrap();
    let mut found = table.scan().await.unwrap().all().await.unwrap();
    found.sort_by_key(|row| row.number);
    assert_eq!(found.len(), rows.len());
    for (there, here) in found.iter().zip(&rows) {
        assert_same(there, here);
    }
    let one = &rows[17];
    let got = table.get((17, one.name.as_str())).await.unwrap().unwrap();
    assert_same(&got, one);
    assert!(table.get((17, "another name")).await.unwrap().is_none());
    db.close().await.unwrap();
}

/// The batch of two articles with one of its columns replaced.
fn with_column(name: &str, column: ArrayRef) -> RecordBatch {
    let batch = Article::to_batch(&[article(1, "one", 1), article(2, "two", 2)]).unwrap();
    let replaced = |field: &Field, old: &ArrayRef| match field.name() == name {
        true => (
            Field::new(name, column.data_type().clone(), true),
            column.clone(),
        ),
        false => (field.clone(), old.clone()),
    };
    let schema = batch.schema();
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, old)| replaced(field, old))
        .unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn without_column(name: &str) -> RecordBatch {
    let mut batch = Article::to_batch(&[article(1, "one", 1), article(2, "two", 2)]).unwrap();
    batch.remove_column(batch.schema().index_of(name).unwrap());
    batch
}

fn refused(batch: &RecordBatch) -> ConversionError {
    Article::from_batch(batch).unwrap_err()
}

#[test]
fn an_error_names_table_column_row_and_reason() {
    let nothing = with_column(
        "title",
        Arc::new(StringViewArray::from(vec![Some("a"), None])),
    );
    let error = refused(&nothing);
    assert_eq!(error.table, "articles");
    assert_eq!(error.column.as_deref(), Some("title"));
    assert_eq!(error.row, Some(1));
    assert_eq!(
        error.to_string(),
        "table \"articles\", column \"title\", row 1: it is NULL, and the field is neither an Option \
         nor has a default"
    );
    let error = Error::from(error);
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("row 1"));

    let error = refused(&with_column(
        "likes",
        Arc::new(Int64Array::from(vec![1, 2])),
    ));
    assert_eq!(
        error.to_string(),
        "table \"articles\", column \"likes\": its type is Int64, and the record's is UInt32"
    );
    let error = refused(&with_column(
        "kind",
        Arc::new(StringViewArray::from(vec!["News", "Poem"])),
    ));
    assert_eq!(
        error.to_string(),
        "table \"articles\", column \"kind\", row 1: \"Poem\" is none of \"News\", \"Essay\", \
         \"a 'letter'\""
    );
}

#[test]
fn missing_and_unknown_columns_are_errors() {
    let error = refused(&without_column("title"));
    assert_eq!(
        error.to_string(),
        "table \"articles\", column \"title\": it is missing, and the field has no default"
    );
    // An Option has a value without any column.
    let rows = Article::from_batch(&without_column("author")).unwrap();
    assert_eq!(rows[1].author, None);
    assert_eq!(rows[1].title, "two");

    let batch = with_column("author", Arc::new(StringArray::from(vec!["a", "b"])));
    let field = Field::new("stranger", DataType::Int64, true);
    let schema = batch.schema();
    let fields = schema.fields().iter().map(|field| field.as_ref().clone());
    let schema = Schema::new(fields.chain([field]).collect::<Vec<_>>());
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(Int64Array::from(vec![1, 2])));
    let wider = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    assert_eq!(
        refused(&wider).to_string(),
        "table \"articles\", column \"stranger\": the record has no such column: do not select it"
    );
}

#[test]
fn an_error_names_the_place_in_a_nested_value() {
    let items = StringViewArray::from(vec![Some("a"), Some("b"), None, Some("c")]);
    let item = Arc::new(Field::new_list_field(DataType::Utf8View, true));
    let offsets = netabase::arrow::buffer::OffsetBuffer::from_lengths([1, 3]);
    let list = ListArray::new(item, offsets, Arc::new(items), None);
    let error = refused(&with_column("tags", Arc::new(list)));
    assert_eq!(error.column.as_deref(), Some("tags[1]"));
    assert_eq!(error.row, Some(1));

    #[derive(Record, Debug)]
    struct Visit {
        #[record(key)]
        id: i64,
        places: Vec<Place>,
    }
    let place = Place {
        street: None,
        kinds: vec![Kind::News, Kind::Essay],
        at: None,
    };
    let visit = Visit {
        id: 1,
        places: vec![place.clone(), place],
    };
    let batch = Visit::to_batch(&[visit]).unwrap();
    assert_eq!(Visit::from_batch(&batch).unwrap()[0].id, 1);
    // The last kind of the second place becomes a text that is no kind.
    let list = batch
        .column(1)
        .as_any()
        .downcast_ref::<ListArray>()
        .unwrap();
    let structs = list
        .values()
        .as_any()
        .downcast_ref::<StructArray>()
        .unwrap();
    let kinds = structs
        .column(1)
        .as_any()
        .downcast_ref::<ListArray>()
        .unwrap();
    let texts = StringViewArray::from(vec!["News", "Essay", "News", "Poem"]);
    let (field, offsets, _, nulls) = kinds.clone().into_parts();
    let kinds = ListArray::new(field, offsets, Arc::new(texts), nulls);
    let (fields, mut columns, nulls) = structs.clone().into_parts();
    columns[1] = Arc::new(kinds);
    let structs = StructArray::new(fields, columns, nulls);
    let (field, offsets, _, nulls) = list.clone().into_parts();
    let list = ListArray::new(field, offsets, Arc::new(structs), nulls);
    let columns = vec![batch.column(0).clone(), Arc::new(list)];
    let damaged = RecordBatch::try_new(batch.schema(), columns).unwrap();
    let error = Visit::from_batch(&damaged).unwrap_err();
    assert_eq!(error.column.as_deref(), Some("places[1].kinds[1]"));
    assert_eq!(error.row, Some(0));
}

#[test]
fn texts_bytes_and_lists_are_read_in_every_layout() {
    for layout in [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View] {
        let titles = StringArray::from(vec!["one", "two"]);
        let titles = cast(&titles, &layout).unwrap();
        let rows = Article::from_batch(&with_column("title", titles)).unwrap();
        assert_eq!(rows[1].title, "two");
    }
    let batch = without_column("title");
    let tags = batch.column_by_name("tags").unwrap();
    let item = Arc::new(Field::new("element", DataType::LargeUtf8, true));
    let large = cast(tags, &DataType::LargeList(item)).unwrap();
    assert!(large.as_any().is::<LargeListArray>());
    let rows = Article::from_batch(&with_column("tags", large)).unwrap();
    assert_eq!(rows[1].tags, ["a", "a"]);

    #[derive(Record)]
    struct Blob {
        #[record(key)]
        key: Vec<u8>,
    }
    let views: ArrayRef = Arc::new(BinaryViewArray::from_iter_values([b"k"]));
    let batch = RecordBatch::try_from_iter([("key", views)]).unwrap();
    assert_eq!(Blob::from_batch(&batch).unwrap()[0].key, b"k");
}

#[test]
fn a_time_beyond_the_column_is_refused() {
    #[derive(Record)]
    struct Event {
        #[record(key)]
        at: SystemTime,
    }
    let far = Event {
        at: UNIX_EPOCH + Duration::from_secs(10_000_000_000),
    };
    let error = Event::to_batch(&[Event { at: UNIX_EPOCH }, far]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "table \"event\", column \"at\", row 1: a time is from the years 1678 to 2262"
    );
}

#[test]
fn what_would_not_be_read_again_is_not_encoded() {
    #[derive(Record, Debug)]
    struct Measure {
        #[record(key)]
        id: i64,
        #[record(codec = "json")]
        value: Option<f64>,
    }
    let rows = [Some(1.5), Some(f64::NAN)].map(|value| Measure { id: 1, value });
    let error = Measure::to_batch(&rows).unwrap_err();
    assert_eq!(
        (error.column.as_deref(), error.row),
        (Some("value"), Some(1))
    );
    assert!(error.reason.contains("NaN is no number of JSON"), "{error}");
}

#[test]
fn encoded_values_that_are_none_are_errors() {
    #[derive(Record, Debug)]
    struct Note {
        #[record(key)]
        id: i64,
        #[record(codec = "cbor")]
        body: Whole,
    }
    let note = |id| Note {
        id,
        body: Whole::Pair(1, 'x'),
    };
    let batch = Note::to_batch(&[note(1), note(2)]).unwrap();
    assert!(matches!(
        Note::from_batch(&batch).unwrap()[1].body,
        Whole::Pair(1, 'x')
    ));
    let good = netabase::ValueCodec::Cbor.encode(&Whole::Nothing).unwrap();
    let mut long = good.clone();
    long.push(0);
    let other = netabase::ValueCodec::Json.encode(&Whole::Nothing).unwrap();
    for (bad, reason) in [
        (long, "follow"),
        (other, "encoded as json"),
        (vec![], "empty"),
    ] {
        let bytes: ArrayRef = Arc::new(BinaryViewArray::from_iter_values([&good, &bad]));
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let batch = RecordBatch::try_from_iter([("id", ids), ("body", bytes)]).unwrap();
        let error = Note::from_batch(&batch).unwrap_err();
        assert_eq!(error.row, Some(1));
        assert_eq!(error.column.as_deref(), Some("body"));
        assert!(error.reason.contains(reason), "{error}");
    }
}

#[test]
fn validation_holds_in_both_directions() {
    fn check_title(title: &str) -> Result<(), String> {
        match title.trim().is_empty() {
            true => Err("a title has letters".to_owned()),
            false => Ok(()),
        }
    }
    fn check_span(span: &Span) -> Result<(), &'static str> {
        match span.from <= span.to {
            true => Ok(()),
            false => Err("it ends before it begins"),
        }
    }
    #[derive(Record, Debug)]
    #[record(table = "spans", validate = check_span)]
    struct Span {
        #[record(key)]
        from: i64,
        to: i64,
        #[record(validate = check_title)]
        title: String,
    }
    /// The same table without rules.
    #[derive(Record)]
    #[record(table = "spans")]
    struct AnySpan {
        #[record(key)]
        from: i64,
        to: i64,
        title: String,
    }
    let cases = [
        ((1, 2, "a"), None),
        (
            (2, 1, "a"),
            Some("table \"spans\", row 1: it ends before it begins"),
        ),
        (
            (1, 2, " "),
            Some("table \"spans\", column \"title\", row 1: a title has letters"),
        ),
    ];
    for ((from, to, title), expected) in cases {
        let title = title.to_owned();
        let good = || Span {
            from: 0,
            to: 0,
            title: "good".to_owned(),
        };
        let span = Span {
            from,
            to,
            title: title.clone(),
        };
        let writing = Span::to_batch(&[good(), span]).err();
        let any = |from, to, title| AnySpan { from, to, title };
        let rows = [any(0, 0, "good".to_owned()), any(from, to, title)];
        let reading = Span::from_batch(&AnySpan::to_batch(&rows).unwrap()).err();
        for error in [writing, reading] {
            assert_eq!(error.map(|error| error.to_string()).as_deref(), expected);
        }
    }
}

#[test]
fn defaults_stand_in_for_missing_columns_and_null() {
    #[derive(Record, Debug, PartialEq)]
    struct Old {
        #[record(key)]
        id: i64,
        #[record(default)]
        likes: u32,
        #[record(default = "none".to_owned())]
        title: String,
        #[record(default = Some(7))]
        rank: Option<i32>,
        #[record(skip)]
        cached: Vec<String>,
        #[record(skip, default = 9)]
        nine: u8,
    }
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("id", ids.clone())]).unwrap();
    let row = &Old::from_batch(&batch).unwrap()[0];
    assert_eq!(
        (row.likes, row.title.as_str(), row.rank),
        (0, "none", Some(7))
    );
    assert_eq!((row.cached.len(), row.nine), (0, 9));
    let nulls = |data_type: &DataType| netabase::arrow::array::new_null_array(data_type, 1);
    let columns = [
        ("id", ids),
        ("likes", nulls(&DataType::UInt32)),
        ("title", nulls(&DataType::Utf8)),
        ("rank", nulls(&DataType::Int32)),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.map(|(name, column)| (name, column, true)),
    );
    let row = &Old::from_batch(&batch.unwrap()).unwrap()[0];
    // NULL is a value of an Option, and none of the others.
    assert_eq!((row.likes, row.title.as_str(), row.rank), (0, "none", None));
    let columns: Vec<&str> = Old::shape()
        .columns()
        .iter()
        .map(|column| column.name())
        .collect();
    assert_eq!(columns, ["id", "likes", "title", "rank"]);
}

#[test]
fn a_shape_can_be_looked_at() {
    let shape: &Shape = Article::shape();
    assert_eq!(shape.table(), "articles");
    let author = &shape.columns()[2];
    assert_eq!(author.name(), "author");
    assert_eq!(author.data_type(), &DataType::Utf8View);
    assert!(author.is_nullable());
}
