//! Round trips, limits, and bytes that are no values.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sample {
    name: String,
    numbers: Vec<i64>,
    ratio: Option<f64>,
    by_name: BTreeMap<String, Kind>,
    bytes: (u8, [u16; 2]),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind {
    Nothing,
    One(char),
    Named { deep: Box<Option<Kind>>, yes: bool },
}

fn kinds() -> impl Strategy<Value = Kind> {
    let leaf = prop_oneof![Just(Kind::Nothing), any::<char>().prop_map(Kind::One)];
    leaf.prop_recursive(4, 16, 1, |inner| {
        (proptest::option::of(inner), any::<bool>()).prop_map(|(deep, yes)| Kind::Named {
            deep: Box::new(deep),
            yes,
        })
    })
}

fn samples() -> impl Strategy<Value = Sample> {
    (
        any::<String>(),
        proptest::collection::vec(any::<i64>(), 0..20),
        proptest::option::of(-1e9..1e9f64),
        proptest::collection::btree_map(any::<String>(), kinds(), 0..5),
        any::<(u8, [u16; 2])>(),
    )
        .prop_map(|(name, numbers, ratio, by_name, bytes)| Sample {
            name,
            numbers,
            ratio,
            by_name,
            bytes,
        })
}

fn codec() -> impl Strategy<Value = ValueCodec> {
    proptest::sample::select(ValueCodec::ALL.to_vec())
}

/// JSON need not give back the last bit of a number with a fraction.
fn alike(a: &Sample, b: &Sample) -> bool {
    let ratio = match (a.ratio, b.ratio) {
        (Some(a), Some(b)) => (a - b).abs() <= a.abs() * 1e-12,
        (a, b) => a == b,
    };
    let without = |sample: &Sample| Sample {
        ratio: None,
        ..sample.clone()
    };
    ratio && without(a) == without(b)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn values_come_back(sample in samples(), codec in codec()) {
        let bytes = codec.encode(&sample).unwrap();
        prop_assert_eq!(ValueCodec::of(&bytes).unwrap(), codec);
        prop_assert!(alike(&codec.decode(&bytes).unwrap(), &sample));
        prop_assert!(alike(&ValueCodec::decode_tagged(&bytes).unwrap(), &sample));
        for other in ValueCodec::ALL {
            prop_assert_eq!(other.decode::<Sample>(&bytes).is_ok(), other == codec);
        }
    }

    #[test]
    fn nothing_may_be_cut_off_or_follow(sample in samples(), codec in codec()) {
        let mut bytes = codec.encode(&sample).unwrap();
        for len in 0..bytes.len() {
            prop_assert!(codec.decode::<Sample>(&bytes[..len]).is_err());
        }
        bytes.push(b'0');
        prop_assert!(codec.decode::<Sample>(&bytes).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_an_error_or_a_value(
        codec in codec(),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        start in any::<usize>(),
        sample in samples(),
    ) {
        let mut arbitrary = vec![codec.tag()];
        arbitrary.extend_from_slice(&body);
        // A good value with garbage in its middle gets further.
        let mut damaged = codec.encode(&sample).unwrap();
        let at = 1 + start % (damaged.len() - 1).max(1);
        for (old, new) in damaged[at..].iter_mut().zip(&body) {
            *old = *new;
        }
        for bytes in [arbitrary, damaged, body] {
            let _ = ValueCodec::decode_tagged::<Sample>(&bytes);
            let _ = ValueCodec::decode_tagged::<Vec<String>>(&bytes);
            let _ = ValueCodec::decode_tagged::<serde_json::Value>(&bytes);
            let _ = ValueCodec::decode_tagged::<BTreeMap<u64, Vec<u8>>>(&bytes);
        }
    }
}

#[test]
fn lengths_that_are_lies_cost_nothing() {
    // bincode: a length of 2^62 in eight bytes. CBOR: text, bytes, a list and a map of 2^62.
    let bincode = [&[b'B', 253][..], &(1u64 << 62).to_le_bytes()].concat();
    let mut lies = vec![bincode];
    for kind in [0x7b, 0x5b, 0x9b, 0xbb] {
        lies.push([&[b'C', kind][..], &(1u64 << 62).to_be_bytes()].concat());
    }
    for bytes in lies {
        assert!(ValueCodec::decode_tagged::<String>(&bytes).is_err());
        assert!(ValueCodec::decode_tagged::<Vec<u64>>(&bytes).is_err());
        assert!(ValueCodec::decode_tagged::<BTreeMap<u64, u64>>(&bytes).is_err());
        assert!(ValueCodec::decode_tagged::<serde_json::Value>(&bytes).is_err());
    }
}

#[test]
fn depth_is_limited() {
    let json = [b"J".to_vec(), vec![b'['; 100_000]].concat();
    let cbor = [b"C".to_vec(), vec![0x81; 100_000]].concat();
    for bytes in [json, cbor] {
        let error = ValueCodec::decode_tagged::<serde_json::Value>(&bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let text = error.to_string().to_lowercase();
        assert!(text.contains("recursion"), "{text}");
    }
    // Named { deep: Some(Named { deep: … }) }, which would be a hundred thousand frames.
    let bincode = [b"B".to_vec(), [2, 1].repeat(100_000)].concat();
    let error = ValueCodec::Bincode.decode::<Kind>(&bincode).unwrap_err();
    assert!(error.to_string().contains("recursion"), "{error}");
    let mut kind = Kind::Nothing;
    for _ in 0..20 {
        kind = Kind::Named {
            deep: Box::new(Some(kind)),
            yes: true,
        };
        for codec in ValueCodec::ALL {
            let bytes = codec.encode(&kind).unwrap();
            assert_eq!(codec.decode::<Kind>(&bytes).unwrap(), kind);
        }
    }
}

#[test]
fn size_is_limited_both_ways() {
    for codec in ValueCodec::ALL {
        // Text takes a byte each; its length and marks take a few.
        let fits = codec.encode(&"x".repeat(MAX_VALUE_BYTES - 16)).unwrap();
        assert!(fits.len() <= MAX_VALUE_BYTES);
        assert!(codec.decode::<String>(&fits).is_ok());
        let error = codec.encode(&"x".repeat(MAX_VALUE_BYTES)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Capacity);
        let mut long = vec![codec.tag()];
        long.resize(MAX_VALUE_BYTES + 1, b' ');
        let error = codec.decode::<String>(&long).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Capacity);
    }
    let mut out = Bounded::new(b'B');
    while out.write(&[0; 1000]).is_ok() {}
    assert!(out.full && out.bytes.capacity() <= MAX_VALUE_BYTES);
}

#[test]
fn errors_name_the_format() {
    let bytes = ValueCodec::Json.encode(&1u8).unwrap();
    let error = ValueCodec::Cbor.decode::<u8>(&bytes).unwrap_err();
    assert!(error.to_string().contains("json") && error.to_string().contains("cbor"));
    assert!(ValueCodec::of(&[]).is_err() && ValueCodec::of(&[7]).is_err());
    let not_text = BTreeMap::from([((1u8, 2u8), 3u8)]);
    let error = ValueCodec::Json.encode(&not_text).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// `deep` levels of the type, innermost first.
fn nested<T>(deep: usize, first: T, outer: impl Fn(T) -> T) -> T {
    (0..deep).fold(first, |inner, _| outer(inner))
}

#[test]
fn what_is_encoded_is_decoded_however_deep() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Leaf,
        Few(Box<Tree>, u8),
        Named { one: Box<Tree> },
        Wrapped(Box<Tree>),
        Maybe(Option<Box<Tree>>),
        List(Vec<Tree>),
    }
    let outer: [fn(Tree) -> Tree; 5] = [
        |inner| Tree::Few(Box::new(inner), 1),
        |inner| Tree::Named {
            one: Box::new(inner),
        },
        |inner| Tree::Wrapped(Box::new(inner)),
        |inner| Tree::Maybe(Some(Box::new(inner))),
        |inner| Tree::List(vec![inner]),
    ];
    for codec in ValueCodec::ALL {
        for outer in outer {
            let deepest = (1..200).find(|deep| {
                let value = nested(*deep, Tree::Leaf, outer);
                let Ok(bytes) = codec.encode(&value) else {
                    return true;
                };
                let decoded = codec.decode::<Tree>(&bytes);
                assert_eq!(decoded.as_ref().ok(), Some(&value), "{codec}, {deep}");
                false
            });
            // And nothing is refused that would have come back.
            assert!(
                deepest.is_some_and(|deep| deep > 40),
                "{codec}: {deepest:?}"
            );
        }
    }
    let lists = nested(127, serde_json::Value::Null, |inner| vec![inner].into());
    let bytes = ValueCodec::Json.encode(&lists).unwrap();
    assert_eq!(
        ValueCodec::Json
            .decode::<serde_json::Value>(&bytes)
            .unwrap(),
        lists
    );
    let error = ValueCodec::Json.encode(&vec![lists]).unwrap_err();
    assert!(error.to_string().contains("too deep"), "{error}");
}

#[test]
fn json_has_no_numbers_that_are_none() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = ValueCodec::Json.encode(&Some(value)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(ValueCodec::Json.encode(&vec![value as f32]).is_err());
        for codec in [ValueCodec::Bincode, ValueCodec::Cbor] {
            let back: f64 = codec.decode(&codec.encode(&value).unwrap()).unwrap();
            assert_eq!(back.to_bits(), value.to_bits());
        }
    }
}
