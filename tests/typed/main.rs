//! Records, as a program uses them: by themselves, and over a database in memory.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod conversions;
mod filters;
mod names;
mod programs;
mod shapes;
mod tables;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use netabase::{Netabase, Record, RecordField};
use proptest::collection::{btree_map, hash_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// One of every type, in and out of an `Option`, a list and a map.
#[derive(Record, Debug, Clone)]
#[record(shards = 3)]
struct Everything {
    #[record(key = 2, index = "by_name")]
    name: String,
    #[record(key = 1, shard_key)]
    number: i32,
    flag: bool,
    small: Small,
    large: Large,
    #[record(index = "by_name")]
    bytes: Vec<u8>,
    time: SystemTime,
    kind: Kind,
    maybe: Option<Kind>,
    texts: Vec<String>,
    gaps: Vec<Option<i64>>,
    deep: Option<Vec<Vec<Vec<u8>>>>,
    by_text: BTreeMap<String, Option<u64>>,
    by_number: Option<HashMap<i16, Vec<String>>>,
    place: Place,
    places: Vec<Place>,
    no_place: Option<Place>,
    #[record(codec = "bincode")]
    whole: Whole,
    #[record(codec = "json")]
    json: Option<Whole>,
    #[record(codec = "cbor")]
    cbor: Vec<Whole>,
}

#[derive(RecordField, Debug, Clone)]
struct Small {
    a: i8,
    b: u8,
    c: i16,
    d: u16,
    e: Option<f32>,
}

#[derive(RecordField, Debug, Clone)]
struct Large {
    a: u32,
    b: i64,
    c: u64,
    d: f64,
}

#[derive(RecordField, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    News,
    Essay,
    #[record(rename = "a 'letter'")]
    Letter,
}

#[derive(RecordField, Debug, Clone)]
struct Place {
    street: Option<String>,
    kinds: Vec<Kind>,
    at: Option<Small>,
}

/// What no column can be.
#[derive(Serialize, Deserialize, Debug, Clone)]
enum Whole {
    Nothing,
    Pair(u8, char),
    Tree {
        left: Box<Option<Whole>>,
        name: String,
    },
}

fn small() -> impl Strategy<Value = Small> {
    (
        any::<i8>(),
        any::<u8>(),
        any::<i16>(),
        any::<u16>(),
        option::of(any::<f32>()),
    )
        .prop_map(|(a, b, c, d, e)| Small { a, b, c, d, e })
}

fn large() -> impl Strategy<Value = Large> {
    (any::<u32>(), any::<i64>(), any::<u64>(), any::<f64>()).prop_map(|(a, b, c, d)| Large {
        a,
        b,
        c,
        d,
    })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::News), Just(Kind::Essay), Just(Kind::Letter)]
}

fn place() -> impl Strategy<Value = Place> {
    (
        option::of(any::<String>()),
        vec(kind(), 0..3),
        option::of(small()),
    )
        .prop_map(|(street, kinds, at)| Place { street, kinds, at })
}

fn whole() -> impl Strategy<Value = Whole> {
    let leaf = prop_oneof![
        Just(Whole::Nothing),
        any::<(u8, char)>().prop_map(|(a, b)| Whole::Pair(a, b))
    ];
    leaf.prop_recursive(3, 8, 1, |inner| {
        (option::of(inner), any::<String>()).prop_map(|(left, name)| Whole::Tree {
            left: Box::new(left),
            name,
        })
    })
}

/// Any time that a column can hold, to the nanosecond.
fn time() -> impl Strategy<Value = SystemTime> {
    (any::<bool>(), 0..i64::MAX as u64).prop_map(|(before, nanos)| {
        let distance = Duration::from_nanos(nanos);
        if before {
            UNIX_EPOCH - distance
        } else {
            UNIX_EPOCH + distance
        }
    })
}

fn everything() -> impl Strategy<Value = Everything> {
    let scalars = (
        any::<String>(),
        any::<i32>(),
        any::<bool>(),
        small(),
        large(),
    );
    let more = (vec(any::<u8>(), 0..40), time(), kind(), option::of(kind()));
    let lists = (
        vec(any::<String>(), 0..4),
        vec(option::of(any::<i64>()), 0..4),
        option::of(vec(vec(vec(any::<u8>(), 0..3), 0..3), 0..3)),
    );
    let maps = (
        btree_map(any::<String>(), option::of(any::<u64>()), 0..4),
        option::of(hash_map(any::<i16>(), vec(any::<String>(), 0..3), 0..3)),
    );
    let places = (place(), vec(place(), 0..3), option::of(place()));
    let wholes = (whole(), option::of(whole()), vec(whole(), 0..3));
    (scalars, more, lists, maps, places, wholes).prop_map(
        |(scalars, more, lists, maps, places, wholes)| Everything {
            name: scalars.0,
            number: scalars.1,
            flag: scalars.2,
            small: scalars.3,
            large: scalars.4,
            bytes: more.0,
            time: more.1,
            kind: more.2,
            maybe: more.3,
            texts: lists.0,
            gaps: lists.1,
            deep: lists.2,
            by_text: maps.0,
            by_number: maps.1,
            place: places.0,
            places: places.1,
            no_place: places.2,
            whole: wholes.0,
            json: wholes.1,
            cbor: wholes.2,
        },
    )
}

/// Equal, where NaN is NaN, and whatever order a hash map happens to have.
fn assert_same(there: &Everything, here: &Everything) {
    let text = |row: &Everything| {
        let sorted = row
            .by_number
            .as_ref()
            .map(|map| map.iter().collect::<BTreeMap<_, _>>());
        let rest = Everything {
            by_number: None,
            ..row.clone()
        };
        format!("{rest:?} {sorted:?}")
    };
    assert_eq!(text(there), text(here));
}

/// A small table for everything else.
#[derive(Record, Debug, Clone, PartialEq)]
#[record(table = "articles")]
struct Article {
    #[record(key)]
    id: i64,
    title: String,
    author: Option<String>,
    #[record(index)]
    likes: u32,
    kind: Kind,
    tags: Vec<String>,
}

fn article(id: i64, title: &str, likes: u32) -> Article {
    Article {
        id,
        title: title.to_owned(),
        author: (id % 2 == 0).then(|| format!("author {id}")),
        likes,
        kind: if id % 3 == 0 {
            Kind::News
        } else {
            Kind::Letter
        },
        tags: vec!["a".to_owned(); usize::try_from(id % 3).unwrap()],
    }
}

async fn with_articles(articles: &[Article]) -> Netabase {
    let db = Netabase::in_memory().await.unwrap();
    let table = db.table::<Article>();
    table.create().await.unwrap();
    table.insert_many(articles).await.unwrap();
    db
}

async fn printed(db: &Netabase, sql: &str) -> String {
    db.sql(sql).await.unwrap().show().await.unwrap()
}
