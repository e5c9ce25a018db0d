//! The texts that reading refuses, the messages, and the texts that it accepts.

use serde_json::{Value, json};
use workflow_events::{ErrorInfo, Event, EventKind, Payload, ReadEventError};

#[test]
fn a_missing_field_is_named_with_its_type() {
    let required = [
        ("workflow.queued", &["input"] as &[&str]),
        ("workflow.started", &["input"]),
        ("workflow.paused", &["reason"]),
        ("workflow.resumed", &["reason"]),
        ("workflow.completed", &["completedSteps", "durationMs"]),
        ("workflow.failed", &["error", "completedSteps"]),
        ("workflow.cancelled", &["completedSteps"]),
        ("step.started", &["stepName", "attempt"]),
        (
            "step.completed",
            &["stepName", "attempt", "durationMs", "cached"],
        ),
        (
            "step.failed",
            &["stepName", "attempt", "error", "willRetry"],
        ),
        (
            "retry.scheduled",
            &["stepName", "attempt", "nextAttemptAt", "delayMs"],
        ),
        ("retry.exhausted", &["stepName", "attempts"]),
        ("sleep.started", &["durationMs", "resumeAt"]),
        ("sleep.completed", &["durationMs"]),
        (
            "timeout.set",
            &["stepName", "deadline", "timeoutMs", "attempt"],
        ),
        ("timeout.exceeded", &["stepName", "timeoutMs", "attempt"]),
    ];
    assert_eq!(
        required.map(|(type_name, _)| type_name),
        *EventKind::TYPE_NAMES
    );
    let envelope = [
        "eventId",
        "timestamp",
        "source",
        "workflowId",
        "workflowName",
        "seq",
    ];
    for (expected_type, fields) in required {
        for expected_field in fields.iter().chain(&envelope) {
            let mut event = full(expected_type);
            event
                .as_object_mut()
                .unwrap()
                .remove(*expected_field)
                .unwrap();
            match Event::from_value(event) {
                Err(ReadEventError::MissingField { type_name, field }) => {
                    assert_eq!(
                        (type_name.as_str(), field),
                        (expected_type, *expected_field)
                    );
                }
                other => panic!("{expected_type} without {expected_field}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_wrong_field_is_named_with_its_type() {
    for type_name in EventKind::TYPE_NAMES {
        let names: Vec<String> = full(type_name)
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        for name in names
            .iter()
            .filter(|name| !["type", "input", "output"].contains(&name.as_str()))
        {
            let mut event = full(type_name);
            event[name] = json!([[]]);
            match Event::from_value(event) {
                Err(ReadEventError::WrongField {
                    type_name: of,
                    field,
                    ..
                }) => {
                    assert_eq!((of.as_str(), field), (*type_name, name.as_str()));
                }
                other => panic!("{type_name} with a wrong {name}: {other:?}"),
            }
        }
    }
}

#[test]
fn the_message_names_type_field_and_problem() {
    let mut event = full("step.started");
    event["attempt"] = json!(-1);
    let text = event.to_string();
    let expected =
        "step.started: field `attempt` is wrong: invalid value: integer `-1`, expected u32";
    assert_eq!(
        Event::from_json(text.as_bytes()).unwrap_err().to_string(),
        expected
    );
    assert!(
        serde_json::from_str::<Event>(&text)
            .unwrap_err()
            .to_string()
            .contains(expected)
    );

    let mut event = full("step.failed");
    event["error"] = json!({});
    assert_eq!(
        Event::from_value(event).unwrap_err().to_string(),
        "step.failed: field `error` is wrong: missing field `message`",
    );

    let mut event = full("workflow.failed");
    event["error"] = json!(["message by position"]);
    assert_eq!(
        Event::from_value(event).unwrap_err().to_string(),
        r#"workflow.failed: field `error` is wrong: expected an object, not ["message by position"]"#,
    );
}

#[test]
fn what_is_no_event_is_refused() {
    let refused = |text: &str| Event::from_json(text.as_bytes()).unwrap_err();
    for text in [
        "",
        "{",
        "null",
        "[]",
        "1",
        "\"x\"",
        r#"{"a":1,"a":2}"#,
        "{} {}",
    ] {
        assert!(
            matches!(refused(text), ReadEventError::Malformed(_)),
            "{text}"
        );
    }
    assert!(matches!(refused("{}"), ReadEventError::MissingType));
    assert!(matches!(
        refused(r#"{"type":null}"#),
        ReadEventError::WrongType
    ));
    assert!(Event::from_json(b"\xff\xfe").is_err());
    assert!(matches!(
        refused(&"[".repeat(100_000)),
        ReadEventError::Malformed(_)
    ));
}

#[test]
fn a_place_before_the_first_is_refused() {
    let mut event = full("sleep.completed");
    event["seq"] = json!(0);
    assert!(matches!(
        Event::from_value(event),
        Err(ReadEventError::WrongField { field: "seq", .. })
    ));
}

#[test]
fn null_counts_as_absent_except_where_it_is_a_value() {
    let mut event = full("workflow.paused");
    for name in ["executionId", "resumeAt", "stepName"] {
        event[name] = Value::Null;
    }
    let event = Event::from_value(event).unwrap();
    assert_eq!(event.execution_id, None);
    assert!(matches!(
        event.kind,
        EventKind::WorkflowPaused {
            resume_at: None,
            step_name: None,
            ..
        }
    ));

    let mut event = full("workflow.cancelled");
    event["reason"] = Value::Null;
    assert!(matches!(
        Event::from_value(event).unwrap().kind,
        EventKind::WorkflowCancelled { reason: None, .. }
    ));

    let error: ErrorInfo =
        serde_json::from_value(json!({"message": "m", "details": null})).unwrap();
    assert_eq!(error.details, Some(Payload::default()));
    assert_eq!(
        serde_json::to_string(&error).unwrap(),
        r#"{"message":"m","details":null}"#
    );
    let error: ErrorInfo = serde_json::from_value(json!({"message": "m", "kind": null})).unwrap();
    assert_eq!(error, ErrorInfo::new("m"));
}

#[test]
fn every_number_of_an_input_survives() {
    for number in [
        "0.1",
        "18446744073709551615",
        "-9223372036854775808",
        "1.7976931348623157e308",
        "5e-324",
        "340282366920938463463374607431768211455",
        "-170141183460469231731687303715884105728",
        "3.14159265358979323846264338327950288419716939937510",
        "1e400",
        "-0.0",
        "1.50",
    ] {
        let text = full("workflow.started")
            .to_string()
            .replace("\"input\":7", &format!("\"input\":{number}"));
        let event = Event::from_json(text.as_bytes()).unwrap();
        let again = Event::from_json(&serde_json::to_vec(&event).unwrap()).unwrap();
        assert_eq!(again, event);
        assert!(
            serde_json::to_string(&event)
                .unwrap()
                .contains(&format!("\"input\":{number}")),
            "as it was written"
        );
        assert_eq!(
            event.kind,
            EventKind::WorkflowStarted {
                input: Payload::from_json(number.into()).unwrap()
            }
        );
    }
    // Only an exact parser reads this number as the one with this text.
    let exact = 121.487_919_511_619_45;
    let text = full("workflow.started")
        .to_string()
        .replace("\"input\":7", "\"input\":121.48791951161945");
    let input = Payload::encode(&exact).unwrap();
    assert_eq!(input.decode::<f64>().unwrap(), exact);
    assert_eq!(
        Event::from_json(text.as_bytes()).unwrap().kind,
        EventKind::WorkflowStarted { input }
    );
}

#[test]
fn a_typed_field_wins_over_an_extra_of_the_same_name() {
    let mut event = Event::from_value(full("workflow.paused")).unwrap();
    event.execution_id = None;
    event.kind = EventKind::WorkflowPaused {
        reason: workflow_events::PauseReason::Signal,
        resume_at: None,
        step_name: None,
    };
    let plain = event.clone();
    for name in [
        "seq",
        "type",
        "eventId",
        "executionId",
        "reason",
        "resumeAt",
        "stepName",
    ] {
        event.extra.insert(name.into(), json!("shadow").into());
    }
    let text = serde_json::to_string(&event).unwrap();
    assert!(!text.contains("shadow"));
    assert_eq!(Event::from_json(text.as_bytes()).unwrap(), plain);
    // The same name is allowed as an extra field of a type that does not have it.
    event.kind = EventKind::SleepCompleted { duration_ms: 1 };
    assert!(
        serde_json::to_string(&event)
            .unwrap()
            .contains(r#""stepName":"shadow""#)
    );
}

/// Returns an event of this type with every field of every type, so that it lacks only the fields
/// that a test removes.
fn full(type_name: &str) -> Value {
    let mut event = json!({
        "eventId": "0197a3c0-5c00-7000-8000-000000000001",
        "timestamp": "2026-03-01T12:00:00Z",
        "source": "workflow",
        "type": type_name,
        "workflowId": "run-1",
        "workflowName": "order",
        "executionId": "exec-9",
        "seq": 1,
    });
    let own: &[(&str, Value)] = &match type_name {
        "workflow.queued" | "workflow.started" => vec![("input", json!(7))],
        "workflow.paused" => {
            vec![
                ("reason", json!("sleep")),
                ("resumeAt", json!("2026-03-01T12:00:00Z")),
                ("stepName", json!("charge")),
            ]
        }
        "workflow.resumed" => vec![("reason", json!("timer"))],
        "workflow.completed" => {
            vec![
                ("completedSteps", json!(["a"])),
                ("completedStepCount", json!(1)),
                ("durationMs", json!(1)),
                ("output", json!(8)),
            ]
        }
        "workflow.failed" => {
            vec![
                ("error", json!({"message": "m"})),
                ("completedSteps", json!(["a"])),
                ("completedStepCount", json!(1)),
            ]
        }
        "workflow.cancelled" => {
            vec![
                ("reason", json!("r")),
                ("completedSteps", json!(["a"])),
                ("completedStepCount", json!(1)),
            ]
        }
        "step.started" => vec![("stepName", json!("charge")), ("attempt", json!(1))],
        "step.completed" => vec![
            ("stepName", json!("charge")),
            ("attempt", json!(1)),
            ("durationMs", json!(1)),
            ("cached", json!(false)),
        ],
        "step.failed" => vec![
            ("stepName", json!("charge")),
            ("attempt", json!(1)),
            ("error", json!({"message": "m"})),
            ("willRetry", json!(false)),
        ],
        "retry.scheduled" => vec![
            ("stepName", json!("charge")),
            ("attempt", json!(1)),
            ("nextAttemptAt", json!("2026-03-01T12:00:00Z")),
            ("delayMs", json!(1)),
        ],
        "retry.exhausted" => vec![("stepName", json!("charge")), ("attempts", json!(1))],
        "sleep.started" => vec![
            ("durationMs", json!(1)),
            ("resumeAt", json!("2026-03-01T12:00:00Z")),
        ],
        "sleep.completed" => vec![("durationMs", json!(1))],
        "timeout.set" => vec![
            ("stepName", json!("charge")),
            ("deadline", json!("2026-03-01T12:00:00Z")),
            ("timeoutMs", json!(1)),
            ("attempt", json!(1)),
        ],
        "timeout.exceeded" => {
            vec![
                ("stepName", json!("charge")),
                ("timeoutMs", json!(1)),
                ("attempt", json!(1)),
            ]
        }
        other => panic!("no example of {other}"),
    };
    for (name, value) in own {
        event[*name] = value.clone();
    }
    event
}
