//! Values stay as they are written: in a payload, in an event, in an error, and through all of
//! them.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use workflow_events::{ErrorInfo, Event, EventKind, Payload};

const LARGE_NUMBER: &str = "340282366920938463463374607431768211455";
const OTHER_LARGE_NUMBER: &str = "340282366920938463463374607431768211454";

#[test]
fn numbers_that_differ_in_one_digit_differ() {
    assert_ne!(payload(LARGE_NUMBER), payload(OTHER_LARGE_NUMBER));
    assert_eq!(payload(LARGE_NUMBER), Payload::encode(&u128::MAX).unwrap());
    assert_eq!(
        Payload::encode(&u128::MAX)
            .unwrap()
            .decode::<u128>()
            .unwrap(),
        u128::MAX
    );
    assert_eq!(
        payload(r#"{"a":1,"b":[2.50]}"#),
        payload(r#"{ "b": [25e-1], "a": 1 }"#)
    );
    let one = queued(LARGE_NUMBER);
    let other = queued(OTHER_LARGE_NUMBER);
    assert_ne!(one, other, "an event is what its input is");
}

#[test]
fn what_json_cannot_carry_is_refused() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(Payload::encode(&value).is_err(), "{value}");
        assert!(Payload::encode(&json_of(value)).is_err(), "{value} inside");
    }
    assert_eq!(Payload::encode(&None::<f64>).unwrap(), Payload::default());
}

fn json_of(number: f64) -> Vec<Option<f64>> {
    vec![None, Some(1.0), Some(number)]
}

#[test]
fn every_place_of_an_event_keeps_what_was_written() {
    let deep = format!("{}{LARGE_NUMBER}{}", "[".repeat(300), "]".repeat(300));
    for value in [
        LARGE_NUMBER,
        "1.50",
        "-0",
        "1e400",
        "{\"b\":1,\"a\":2}",
        deep.as_str(),
    ] {
        let error = ErrorInfo {
            details: Some(payload(value)),
            extra: [("hint".to_owned(), payload(value))].into(),
            ..ErrorInfo::new("no funds")
        };
        let failed = EventKind::StepFailed {
            step_name: "charge".into(),
            attempt: 1,
            error: error.clone(),
            will_retry: false,
        };
        let kinds = [
            EventKind::WorkflowQueued {
                input: payload(value),
            },
            EventKind::WorkflowCompleted {
                completed_steps: Default::default(),
                duration_ms: 1,
                output: Some(payload(value)),
            },
            failed,
            EventKind::Unknown {
                type_name: "workflow.archived".into(),
            },
        ];
        for kind in kinds {
            let mut event = Event {
                kind,
                ..queued("0")
            };
            event.extra.insert("shelf".into(), payload(value));
            let text = serde_json::to_string(&event).unwrap();
            let written = text.matches(value).count();
            let read = Event::from_json(text.as_bytes()).unwrap();
            assert_eq!(read, event);
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
            assert!(written >= 1, "{text}");
        }
        let text = serde_json::to_string(&error).unwrap();
        assert_eq!(serde_json::from_str::<ErrorInfo>(&text).unwrap(), error);
        assert_eq!(text.matches(value).count(), 2, "{text}");
    }
}

#[test]
fn a_typed_field_of_an_error_wins_over_an_extra_of_the_same_name() {
    let mut error = ErrorInfo::new("no funds");
    for name in ["message", "kind", "stepName", "attempt", "details"] {
        error.extra.insert(name.into(), payload("\"shadow\""));
    }
    let text = serde_json::to_string(&error).unwrap();
    assert_eq!(text, r#"{"message":"no funds"}"#);
}

/// A type that users write: serde parses the value of such a type before it reads the payload.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Tagged {
    Step(ErrorInfo),
    Other { value: Payload },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    #[serde(flatten)]
    rest: std::collections::BTreeMap<String, Payload>,
    #[serde(flatten)]
    error: ErrorInfo,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u32),
    Any(Payload),
}

#[test]
fn a_payload_is_read_where_serde_has_read_the_value_before() {
    for value in [
        "null",
        "true",
        "7",
        "-7",
        "1.5",
        "\"tea\"",
        "[1,[2]]",
        r#"{"a":{"b":null}}"#,
    ] {
        let error = ErrorInfo {
            details: Some(payload(value)),
            extra: [("x".to_owned(), payload(value))].into(),
            ..ErrorInfo::new("m")
        };
        for tagged in [
            Tagged::Step(error.clone()),
            Tagged::Other {
                value: payload(value),
            },
        ] {
            let text = serde_json::to_string(&tagged).unwrap();
            assert_eq!(
                serde_json::from_str::<Tagged>(&text).unwrap(),
                tagged,
                "{text}"
            );
            let through: Value = serde_json::to_value(&tagged).unwrap();
            assert_eq!(
                serde_json::from_value::<Tagged>(through).unwrap(),
                tagged,
                "{text}"
            );
        }
        let text = serde_json::to_string(&error).unwrap();
        let flat: Flat = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (flat.error.message.as_str(), &flat.rest["x"]),
            ("m", &payload(value))
        );
        let untagged: Untagged = serde_json::from_str(value).unwrap();
        assert_eq!(
            untagged,
            if value == "7" {
                Untagged::Number(7)
            } else {
                Untagged::Any(payload(value))
            }
        );
        let some: Option<Vec<Payload>> = serde_json::from_str(&format!("[{value}]")).unwrap();
        assert_eq!(some.unwrap(), [payload(value)]);
        let from_value: Payload =
            serde_json::from_value(serde_json::from_str(value).unwrap()).unwrap();
        assert_eq!(from_value, payload(value));
    }
}

#[test]
fn an_event_is_read_where_serde_has_read_the_value_before() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Line {
        Event(Box<Event>),
        Other(Payload),
    }
    let event = Event {
        kind: EventKind::StepFailed {
            step_name: "charge".into(),
            attempt: 1,
            error: ErrorInfo {
                details: Some(payload("[1,null]")),
                ..ErrorInfo::new("m")
            },
            will_retry: false,
        },
        ..queued("0")
    };
    let text = serde_json::to_string(&event).unwrap();
    assert_eq!(
        serde_json::from_str::<Line>(&text).unwrap(),
        Line::Event(event.into())
    );
    assert_eq!(
        serde_json::from_str::<Line>("[1]").unwrap(),
        Line::Other(payload("[1]"))
    );
}

#[test]
fn the_debug_form_shows_no_payload() {
    assert_eq!(
        format!("{:?}", payload("\"4242 4242\"")),
        "Payload(11 bytes)"
    );
    assert!(!format!("{:?}", queued("\"4242 4242\"")).contains("4242"));
}

proptest! {
    #[test]
    fn every_integer_comes_back(number in any::<u128>(), signed in any::<i128>()) {
        prop_assert_eq!(Payload::encode(&number).unwrap().decode::<u128>().unwrap(), number);
        prop_assert_eq!(Payload::encode(&signed).unwrap().decode::<i128>().unwrap(), signed);
        prop_assert_eq!(Payload::encode(&number).unwrap() == Payload::encode(&(number ^ 1)).unwrap(), false);
    }

    #[test]
    fn every_float_comes_back(number in any::<f64>()) {
        match Payload::encode(&number) {
            Ok(payload) => prop_assert_eq!(payload.decode::<f64>().unwrap().to_bits(), number.to_bits()),
            Err(_) => prop_assert!(!number.is_finite()),
        }
    }
}

fn payload(json: &str) -> Payload {
    Payload::from_json(json.to_owned()).unwrap()
}

fn queued(input: &str) -> Event {
    let event = json!({
        "eventId": "0197a3c0-5c00-7000-8000-000000000001",
        "timestamp": "2026-03-01T12:00:00Z",
        "source": "workflow",
        "type": "workflow.queued",
        "workflowId": "run-1",
        "workflowName": "order",
        "seq": 1,
        "input": null,
    });
    Event {
        kind: EventKind::WorkflowQueued {
            input: payload(input),
        },
        ..Event::from_value(event).unwrap()
    }
}
