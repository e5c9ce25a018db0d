//! Encoding, comparing and splitting, against serde_json where it is exact, and at the extremes.

use exact_json::{EncodeError, depth, elements, encode, members, same};
use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

#[test]
fn numbers_that_are_not_finite_are_refused_wherever_they_stand() {
    #[derive(Serialize)]
    enum Odd {
        Newtype(f32),
        Tuple(u8, f64),
        Struct { inner: Option<f64> },
    }
    for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(matches!(encode(&odd), Err(EncodeError::NotFinite)));
        assert!(matches!(
            encode(&vec![Some(1.0), None, Some(odd)]),
            Err(EncodeError::NotFinite)
        ));
        assert!(matches!(
            encode(
                &[("k", odd)]
                    .into_iter()
                    .collect::<std::collections::BTreeMap<_, _>>()
            ),
            Err(EncodeError::NotFinite)
        ));
        assert!(matches!(
            encode(&Odd::Newtype(odd as f32)),
            Err(EncodeError::NotFinite)
        ));
        assert!(matches!(
            encode(&Odd::Tuple(1, odd)),
            Err(EncodeError::NotFinite)
        ));
        assert!(matches!(
            encode(&Odd::Struct { inner: Some(odd) }),
            Err(EncodeError::NotFinite)
        ));
    }
    assert_eq!(
        encode(&Odd::Struct { inner: None }).unwrap().get(),
        r#"{"Struct":{"inner":null}}"#
    );
    assert_eq!(
        encode(&(None::<f64>, (), "null")).unwrap().get(),
        r#"[null,null,"null"]"#
    );
}

#[test]
fn integers_keep_every_digit() {
    for number in [u128::MAX, u128::from(u64::MAX) + 1] {
        assert_eq!(encode(&number).unwrap().get(), number.to_string());
    }
    assert_eq!(encode(&i128::MIN).unwrap().get(), i128::MIN.to_string());
}

#[test]
fn numbers_are_compared_exactly() {
    let same_numbers = [
        ("1", "1.0"),
        ("1e2", "100"),
        ("0.00", "0"),
        ("15e-1", "1.50"),
        ("1E+400", "10e399"),
        ("-0", "-0.0"),
    ];
    for (one, other) in same_numbers {
        assert!(same(one, other), "{one} {other}");
    }
    let big = "1267650600228229401496703205376";
    for (one, other) in [
        (big, "1267650600228229401496703205377"),
        ("0", "-0"),
        ("1", "10"),
        ("1e400", "1e401"),
    ] {
        assert!(!same(one, other), "{one} {other}");
    }
}

#[test]
fn what_is_not_json_is_no_object_and_no_array() {
    for text in [
        "",
        "{",
        "[",
        "{\"a\"",
        "{\"a\":}",
        "{\"a\":1,}",
        "[1,]",
        "[1 2]",
        "{\"a\" 1}",
        "[1]x",
        "\"",
        "[\"\\",
        "[é]",
    ] {
        assert_eq!((members(text), elements(text)), (None, None), "{text}");
        let _ = (depth(text), same(text, "1"));
    }
    assert!(members("{ \n}").unwrap().is_empty() && elements(" [ ] ").unwrap().is_empty());
}

#[test]
fn members_are_as_they_are_written() {
    let text = "\t{ \"a\\u0062\" : {\"x\":[1,\"}\"]} ,\"a\":1,\"a\":2, \"\\ud800\":\"\\\"\" }";
    let found: Vec<_> = members(text)
        .unwrap()
        .into_iter()
        .map(|member| (member.name(), member.value))
        .collect();
    let named = |name: &str| Some(name.to_owned());
    let expected = [
        (named("ab"), "{\"x\":[1,\"}\"]}"),
        (named("a"), "1"),
        (named("a"), "2"),
        (None, "\"\\\"\""),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_million_levels_are_counted_and_compared_without_a_stack() {
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    assert_eq!(depth(&deep), 1_000_000);
    assert!(same(&deep, &deep) && !same(&deep, "[]"));
    assert_eq!(elements(&deep).unwrap()[0].len(), deep.len() - 2);
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "(?s).{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("(?s).{0,3}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_is_the_same_however_it_is_written(value in values()) {
        let plain = value.to_string();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        prop_assert!(same(&plain, &pretty));
        let encoded = encode(&value).unwrap();
        prop_assert_eq!(encoded.get(), &plain);
    }

    #[test]
    fn two_values_are_the_same_exactly_if_they_are_equal(one in values(), other in values()) {
        // An integer and a float of the same value are different for serde_json; the generator
        // makes no such pair.
        prop_assert_eq!(same(&one.to_string(), &other.to_string()), one == other);
    }

    #[test]
    fn parts_are_those_that_serde_json_finds(value in values()) {
        let text = serde_json::to_string_pretty(&value).unwrap();
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        match &value {
            Value::Object(map) => {
                let found = members(&text).unwrap();
                let found: serde_json::Map<_, _> = found.iter().map(|member| (member.name().unwrap(), parsed(member.value))).collect();
                prop_assert_eq!(&found, map);
            }
            Value::Array(list) => {
                let found: Vec<_> = elements(&text).unwrap().into_iter().map(parsed).collect();
                prop_assert_eq!(&found, list);
            }
            _ => prop_assert_eq!((members(&text), elements(&text), depth(&text)), (None, None, 0)),
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "(?s)[\\[\\]{}\",:\\\\0-9eE.+é a-]{0,40}", other in "(?s).{0,20}") {
        let _ = (members(&text), elements(&text), depth(&text), same(&text, &other), depth(&other), members(&other));
    }
}
