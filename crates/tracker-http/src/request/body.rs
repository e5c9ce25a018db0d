//! The body of a request: `{"events":[...]}`, with the configured fields added.

use exact_json::EncodeError;
use serde::Serialize;
use tracker_core::{Reason, SendError};

use crate::request::enrichment::{Enrichment, UnfitEventError};

/// Encodes `events` as one body.
pub(crate) fn encode<E: Serialize>(
    events: &[E],
    enrichment: &Enrichment,
) -> Result<Vec<u8>, SendError> {
    let mut body = Vec::with_capacity(64 + events.len() * 128);
    let mut json = Vec::new();
    body.extend_from_slice(b"{\"events\":[");
    for (index, event) in events.iter().enumerate() {
        let unencodable = |unfit: UnfitEventError| SendError::Unencodable {
            index,
            reason: Reason::new(unfit.to_string()),
        };
        if index > 0 {
            body.push(b',');
        }
        if enrichment.is_empty() {
            write(&mut body, event).map_err(unencodable)?;
            continue;
        }
        json.clear();
        write(&mut json, event).map_err(unencodable)?;
        let text = str::from_utf8(&json).map_err(|_| unencodable(UnfitEventError::NotAnObject))?;
        enrichment.append(&mut body, text).map_err(unencodable)?;
    }
    body.extend_from_slice(b"]}");
    Ok(body)
}

/// Appends an event as JSON; refuses a number that is not finite, because JSON has no form for it.
fn write<E: Serialize>(body: &mut Vec<u8>, event: &E) -> Result<(), UnfitEventError> {
    let before = body.len();
    serde_json::to_writer(&mut *body, event).map_err(EncodeError::from)?;
    // serde_json writes such a number as null. Most events contain no null, and are encoded only
    // once.
    if contains_null(&body[before..]) {
        exact_json::encode(event)?;
    }
    Ok(())
}

fn contains_null(json: &[u8]) -> bool {
    json.windows(4).any(|window| window == b"null")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    use exact_json::members;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::event::JsonEvent;

    fn enriched(event: Value) -> Value {
        let mut enrichment = Enrichment::default();
        enrichment.set("env", "prod".into());
        enrichment.set("serviceKey", "k\"ey".into());
        let body = encode(&[event], &enrichment).unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()["events"][0].clone()
    }

    #[test]
    fn configured_fields_are_added_and_win() {
        assert_eq!(
            enriched(json!({})),
            json!({"env": "prod", "serviceKey": "k\"ey"})
        );
        assert_eq!(
            enriched(json!({"a": 1})),
            json!({"a": 1, "env": "prod", "serviceKey": "k\"ey"})
        );
        assert_eq!(
            enriched(json!({"env": "dev", "a": 1})),
            json!({"a": 1, "env": "prod", "serviceKey": "k\"ey"})
        );
        assert_eq!(
            enriched(json!({"a": {"env": "inner"}})),
            json!({"a": {"env": "inner"}, "env": "prod", "serviceKey": "k\"ey"})
        );
    }

    #[test]
    fn an_overridden_field_stands_once() {
        let mut enrichment = Enrichment::default();
        enrichment.set("env", "prod".into());
        let body = encode(&[json!({"env": "dev"})], &enrichment).unwrap();
        assert_eq!(body, br#"{"events":[{"env":"prod"}]}"#);
    }

    #[test]
    fn an_event_that_is_not_an_object_cannot_be_enriched() {
        let mut enrichment = Enrichment::default();
        enrichment.set("env", "prod".into());
        let refused = encode(&[json!({}), json!(7)], &enrichment).unwrap_err();
        assert!(matches!(refused, SendError::Unencodable { index: 1, .. }));
        assert_eq!(
            encode(&[json!(7), json!("x")], &Enrichment::default()).unwrap(),
            br#"{"events":[7,"x"]}"#
        );
    }

    /// Adds `env` to a text that was written by hand.
    fn raw_enriched(text: &str) -> String {
        let mut enrichment = Enrichment::default();
        enrichment.set("env", "prod".into());
        let body = encode(&[JsonEvent::from_json(text).unwrap()], &enrichment).unwrap();
        let body = String::from_utf8(body).unwrap();
        body.strip_prefix("{\"events\":[")
            .unwrap()
            .strip_suffix("]}")
            .unwrap()
            .to_owned()
    }

    #[test]
    fn an_object_may_be_written_in_any_way() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let kept = format!(r#"{{"a":{deep}}}"#);
        for (text, expected) in [
            ("{}", r#"{"env":"prod"}"#),
            ("{ }", r#"{"env":"prod"}"#),
            ("\n{\r\n\t}\n", r#"{"env":"prod"}"#),
            (
                "{ \"a\" :\t1 , \"b\": [ 1, 2 ] }",
                r#"{"env":"prod","a":1,"b":[ 1, 2 ]}"#,
            ),
            (
                r#"{"a":1,"a":2.50,"env":"x","env":{"env":1}}"#,
                r#"{"env":"prod","a":1,"a":2.50}"#,
            ),
            (
                r#"{"\u0065nv":1,"\ud800":2,"\ud800env":3}"#,
                r#"{"env":"prod","\ud800":2,"\ud800env":3}"#,
            ),
            (
                r#"{"a":{"env":"inner"},"\"env\"":1,"":2}"#,
                r#"{"env":"prod","a":{"env":"inner"},"\"env\"":1,"":2}"#,
            ),
            (
                r#"{"a":"}, \"env\":1, {"}"#,
                r#"{"env":"prod","a":"}, \"env\":1, {"}"#,
            ),
        ] {
            assert_eq!(raw_enriched(text), expected, "{text}");
        }
        assert_eq!(
            raw_enriched(&kept),
            format!(r#"{{"env":"prod","a":{deep}}}"#)
        );
    }

    #[test]
    fn a_number_that_json_has_no_form_for_is_refused() {
        let mut enrichment = Enrichment::default();
        for _ in 0..2 {
            for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let events = [[("a", Some(1.0))], [("a", Some(number))]].map(HashMap::from);
                let refused = encode(&events, &enrichment).unwrap_err();
                assert!(
                    matches!(refused, SendError::Unencodable { index: 1, .. }),
                    "{refused:?}"
                );
            }
            assert!(
                encode(
                    &[HashMap::from([("a", None::<f64>), ("null", None)])],
                    &enrichment
                )
                .is_ok()
            );
            enrichment.set("env", "prod".into());
        }
    }

    /// White space that may stand between two parts.
    fn space() -> impl Strategy<Value = String> {
        "[ \t\r\n]{0,2}"
    }

    fn name() -> impl Strategy<Value = String> {
        let odd = prop_oneof![
            Just(r#""env""#),
            Just(r#""\u0065nv""#),
            Just(r#""serviceKey""#),
            Just(r#""\ud800""#),
            Just(r#""Env""#),
        ];
        prop_oneof![
            odd.prop_map(str::to_owned),
            any::<String>().prop_map(|name| Value::String(name).to_string())
        ]
    }

    fn value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("-1.50E+400".to_owned()),
            Just(r#""\udfff \/""#.to_owned()),
            name(),
        ];
        leaf.prop_recursive(4, 16, 3, |inner| {
            let list =
                proptest::collection::vec((space(), inner.clone()), 0..3).prop_map(|items| {
                    items
                        .into_iter()
                        .map(|(space, item)| space + &item)
                        .collect::<Vec<_>>()
                        .join(",")
                });
            let member = (name(), space(), inner)
                .prop_map(|(name, space, value)| format!("{name}{space}:{value}"));
            let object = (proptest::collection::vec(member, 0..3), space());
            prop_oneof![
                list.prop_map(|items| format!("[{items}]")),
                object.prop_map(|(members, space)| format!("{{{space}{}}}", members.join(","))),
            ]
        })
    }

    proptest! {
        /// For every object, the result is JSON with the field once, and with all other members
        /// unchanged and in their order.
        #[test]
        fn what_is_enriched_is_json_with_the_field_once_and_all_else_as_it_was(
            written in proptest::collection::vec((name(), value(), space()), 0..5),
        ) {
            let text: Vec<_> = written.iter().map(|(name, value, space)| format!("{space}{name}{space}:{value}{space}")).collect();
            let enriched = raw_enriched(&format!("{{{}}}", text.join(",")));
            prop_assert!(JsonEvent::from_json(enriched.clone()).is_ok(), "{}", enriched);
            let mut expected = vec![(r#""env""#, r#""prod""#)];
            let is_env = |name: &str| name == r#""env""# || name == r#""\u0065nv""#;
            expected.extend(written.iter().filter(|w| !is_env(&w.0)).map(|w| (w.0.as_str(), w.1.as_str())));
            let members = members(&enriched).unwrap();
            prop_assert_eq!(members.iter().map(|m| (m.key, m.value)).collect::<Vec<_>>(), expected);
        }
    }
}
