//! Names of tables and columns, by our attributes and by serde's.

use super::*;

fn names<R: Record>() -> Vec<&'static str> {
    R::shape()
        .columns()
        .iter()
        .map(|column| column.name())
        .collect()
}

#[test]
fn names_follow_the_source_the_rule_or_the_word() {
    #[derive(Record)]
    struct BlogPost {
        #[record(key)]
        r#type: i64,
        created_at: i64,
        #[record(rename = "Any name \"at\" all")]
        other: i64,
    }
    assert_eq!(BlogPost::shape().table(), "blog_post");
    assert_eq!(
        names::<BlogPost>(),
        ["type", "created_at", "Any name \"at\" all"]
    );

    #[derive(Record)]
    #[record(rename_all = "camelCase")]
    struct Camel {
        #[record(key)]
        first_id: i64,
        #[record(rename = "second_id")]
        second_id: i64,
    }
    assert_eq!(names::<Camel>(), ["firstId", "second_id"]);
    assert_eq!(Camel::columns().first_id.name(), "firstId");
}

#[test]
fn serde_is_followed_unless_a_record_attribute_says_otherwise() {
    #[derive(Record, Serialize, Deserialize, Default)]
    #[serde(rename_all = "kebab-case", default)]
    struct Both {
        #[record(key)]
        the_id: i64,
        #[serde(rename = "heading", alias = "header")]
        title: String,
        #[serde(rename = "theirs")]
        #[record(rename = "ours")]
        other: String,
        #[serde(skip)]
        cached: usize,
        #[serde(skip)]
        #[record(skip = false)]
        kept: u32,
        #[serde(skip_serializing)]
        #[record(skip)]
        secret: String,
        #[serde(default = "seven", skip_serializing_if = "Option::is_none")]
        seven: Option<u8>,
    }
    fn seven() -> Option<u8> {
        Some(7)
    }
    assert_eq!(
        names::<Both>(),
        ["the-id", "heading", "ours", "kept", "seven"]
    );
    let json = serde_json::to_value(Both::default()).unwrap();
    assert!(json.get("the-id").is_some() && json.get("heading").is_some());

    // Only the key is there: everything else takes a default, as serde would have it.
    let ids: netabase::arrow::array::ArrayRef =
        std::sync::Arc::new(netabase::arrow::array::Int64Array::from(vec![4]));
    let batch =
        netabase::arrow::record_batch::RecordBatch::try_from_iter([("the-id", ids)]).unwrap();
    let row = Both::from_batch(&batch).unwrap().remove(0);
    assert_eq!(
        (row.the_id, row.title.as_str(), row.seven),
        (4, "", Some(7))
    );
    assert_eq!(
        (row.cached, row.kept, row.secret.len(), row.other.len()),
        (0, 0, 0, 0)
    );
}

#[test]
fn a_record_attribute_decides_what_serde_cannot_say_here() {
    #[derive(Record, Serialize, Deserialize, Debug)]
    #[serde(rename_all(serialize = "camelCase", deserialize = "snake_case"))]
    #[record(rename_all = "kebab-case")]
    struct Decided {
        #[record(key)]
        the_id: i64,
        #[serde(rename(serialize = "a", deserialize = "b"))]
        #[record(rename = "c")]
        title: String,
        #[serde(rename(serialize = "d", deserialize = "e"))]
        #[record(skip)]
        other: String,
        #[serde(flatten)]
        #[record(codec = "json")]
        rest: BTreeMap<String, String>,
        #[serde(flatten)]
        #[record(skip)]
        more: BTreeMap<String, String>,
    }
    assert_eq!(names::<Decided>(), ["the-id", "c", "rest"]);
    #[derive(RecordField, Serialize, Debug)]
    enum State {
        #[serde(rename(serialize = "a", deserialize = "b"))]
        #[record(rename = "c")]
        Open,
    }
    use netabase::typed::TextEnum;
    assert_eq!(State::TEXTS, ["c"]);
}

#[test]
fn a_default_of_serde_is_taken_but_for_the_key() {
    #[derive(Record, Serialize, Deserialize, Debug)]
    #[serde(default = "Made::make")]
    struct Made {
        #[record(key)]
        #[serde(default)]
        id: i64,
        n: u32,
        #[serde(default)]
        zero: u32,
    }
    impl Made {
        fn make() -> Self {
            Self {
                id: 1,
                n: 42,
                zero: 1,
            }
        }
    }
    let whole = Made {
        id: 3,
        n: 4,
        zero: 5,
    };
    let batch = Made::to_batch(&[whole]).unwrap();
    let row = Made::from_batch(&batch.project(&[0]).unwrap())
        .unwrap()
        .remove(0);
    assert_eq!((row.id, row.n, row.zero), (3, 42, 0));
    let error = Made::from_batch(&batch.project(&[1, 2]).unwrap()).unwrap_err();
    assert_eq!(error.column.as_deref(), Some("id"));
}

#[test]
fn a_default_of_the_struct_is_taken_by_field() {
    #[derive(Record, Debug, PartialEq)]
    #[record(default)]
    struct Settings {
        #[record(key)]
        name: String,
        retries: u32,
        #[record(default)]
        pause: u32,
        #[record(skip)]
        handle: u8,
    }
    impl Default for Settings {
        fn default() -> Self {
            Self {
                name: "default".to_owned(),
                retries: 3,
                pause: 100,
                handle: 9,
            }
        }
    }
    let settings = Settings {
        name: "a".to_owned(),
        retries: 1,
        pause: 1,
        handle: 1,
    };
    let mut batch = Settings::to_batch(&[settings]).unwrap();
    batch.remove_column(2);
    batch.remove_column(1);
    let expected = Settings {
        name: "a".to_owned(),
        retries: 3,
        pause: 0,
        handle: 9,
    };
    assert_eq!(Settings::from_batch(&batch).unwrap(), [expected]);
}

#[test]
fn an_enum_is_a_text_under_its_own_name() {
    #[derive(RecordField, Serialize, Debug, PartialEq)]
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    enum State {
        NotYet,
        #[serde(rename = "ok")]
        Fine,
        #[record(rename = "ours")]
        #[serde(rename = "theirs")]
        Other,
    }
    use netabase::typed::TextEnum;
    assert_eq!(State::TEXTS, ["NOT_YET", "ok", "ours"]);
    for state in [State::NotYet, State::Fine] {
        assert_eq!(serde_json::to_value(&state).unwrap(), state.text());
    }
    assert_eq!(State::of_text("ours"), Some(State::Other));
    assert_eq!(State::of_text("Other"), None);
}

#[test]
fn the_crate_may_go_by_another_name() {
    mod elsewhere {
        pub(super) use netabase as database;
    }
    #[derive(Record)]
    #[record(crate = elsewhere::database)]
    struct Renamed {
        #[record(key)]
        id: i64,
    }
    assert_eq!(names::<Renamed>(), ["id"]);
}
