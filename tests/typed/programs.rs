//! Records where programs have them: in macros of their own, behind modules, under unusual names.

use super::*;

/// Names of the program's macro beside names that were handed to it.
macro_rules! record {
    ($(#[$attribute:meta])* $name:ident, $table:literal, $value:ty, $check:path) => {
        #[derive(Record, Debug, Clone, PartialEq)]
        #[record(table = $table)]
        struct $name {
            #[record(key)]
            id: i64,
            $(#[$attribute])*
            #[record(validate = $check)]
            value: $value,
        }
    };
}

macro_rules! parts {
    ($name:ident, $value:ty, $default:expr) => {
        #[derive(RecordField, Debug, Clone, PartialEq)]
        struct $name {
            part: $value,
            #[record(default = $default)]
            other: $value,
        }
    };
}

fn positive(value: &i32) -> Result<(), String> {
    match value {
        1.. => Ok(()),
        _ => Err("it is not positive".to_owned()),
    }
}

fn anything<T>(_: &T) -> Result<(), String> {
    Ok(())
}

record!(
    #[record(index, default = 3)]
    FromMacro,
    "from_macro",
    i32,
    positive
);
parts!(Parts, i32, 3 + 4);
record!(
    #[record(default)]
    WithParts,
    "with_parts",
    Option<Parts>,
    anything
);
record!(
    #[record(codec = "json", default)]
    Encoded,
    "encoded",
    Vec<(u8, String)>,
    anything
);

#[tokio::test]
async fn a_record_may_come_from_a_macro() {
    let db = Netabase::in_memory().await.unwrap();
    let table = db.table::<FromMacro>();
    table.create().await.unwrap();
    table.insert(&FromMacro { id: 1, value: 2 }).await.unwrap();
    let refused = table.insert(&FromMacro { id: 2, value: 0 }).await;
    assert!(refused.unwrap_err().to_string().contains("not positive"));
    let found = table
        .filter(FromMacro::columns().value.gt(1))
        .await
        .unwrap();
    assert_eq!(found.all().await.unwrap(), [FromMacro { id: 1, value: 2 }]);
    db.close().await.unwrap();
    let parts = Parts { part: 1, other: 2 };
    let rows = [WithParts {
        id: 1,
        value: Some(parts),
    }];
    let batch = WithParts::to_batch(&rows).unwrap();
    assert_eq!(WithParts::from_batch(&batch).unwrap(), rows);
    let rows = [Encoded {
        id: 1,
        value: vec![(1, "a".to_owned())],
    }];
    let batch = Encoded::to_batch(&rows).unwrap();
    assert_eq!(Encoded::from_batch(&batch).unwrap(), rows);
}

mod library {
    #![deny(warnings)]
    // As if it were a library's, whose names are unusual.
    #![allow(non_camel_case_types, non_snake_case, unreachable_pub)]

    use netabase::{Record, RecordField};

    /// A public record with private fields and names that Rust would have otherwise.
    #[derive(Record, Debug, Clone, PartialEq)]
    #[record(table = "strange")]
    pub struct r#type {
        #[record(key = 2)]
        pub r#match: i64,
        #[record(key = 1)]
        Kind: Mode,
        pub(crate) writer: String,
        reader: Option<r#struct>,
        column0: u8,
        rows: Vec<String>,
        batch: bool,
    }

    #[derive(RecordField, Debug, Clone, Copy, PartialEq)]
    pub enum Mode {
        r#Async,
        Other,
    }

    #[derive(RecordField, Debug, Clone, PartialEq)]
    pub struct r#struct {
        r#fn: i64,
        values: bool,
    }

    impl r#type {
        pub fn new(number: i64) -> Self {
            Self {
                r#match: number,
                Kind: Mode::r#Async,
                writer: "w".to_owned(),
                reader: Some(r#struct {
                    r#fn: 1,
                    values: true,
                }),
                column0: 3,
                rows: vec!["r".to_owned()],
                batch: true,
            }
        }

        pub fn is_of(kind: Mode) -> netabase::typed::Filter<Self> {
            Self::columns().Kind.eq(kind)
        }
    }
}

#[tokio::test]
async fn names_of_the_program_are_its_own() {
    use library::{Mode, r#type as Strange};
    let db = Netabase::in_memory().await.unwrap();
    let table = db.table::<Strange>();
    table.create().await.unwrap();
    let row = Strange::new(5);
    table.insert(&row).await.unwrap();
    assert_eq!(
        table.get((&Mode::r#Async, 5)).await.unwrap().as_ref(),
        Some(&row)
    );
    for (mode, rows) in [(Mode::Async, 1), (Mode::Other, 0)] {
        let found = table.filter(Strange::is_of(mode)).await.unwrap();
        assert_eq!(found.all().await.unwrap().len(), rows);
    }
    let text = printed(
        &db,
        "SELECT \"Kind\", \"match\", reader['fn'] AS f FROM strange",
    )
    .await;
    assert!(text.contains("Async") && text.contains('5'), "{text}");
    db.close().await.unwrap();
}
