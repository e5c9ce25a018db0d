//! The wire form under random events and random JSON.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;
use workflow_events::{
    CompletedSteps, ErrorInfo, Event, EventKind, PauseReason, Payload, ResumeReason, RunView,
    Timestamp,
};

proptest! {
    #[test]
    fn every_event_round_trips(event in event()) {
        let text = serde_json::to_string(&event).unwrap();
        let read = Event::from_json(text.as_bytes()).unwrap();
        prop_assert_eq!(&read, &event);
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), text.as_str());
        prop_assert_eq!(&serde_json::from_str::<Event>(&text).unwrap(), &event);
        prop_assert_eq!(&Event::from_value(serde_json::to_value(&event).unwrap()).unwrap(), &event);
    }

    #[test]
    fn the_fields_are_written_in_the_order_of_the_contract(event in event()) {
        let text = serde_json::to_string(&event).unwrap();
        let mut from = 0;
        for name in ["eventId", "timestamp", "source", "type", "workflowId", "workflowName", "executionId", "seq"] {
            if name == "executionId" && event.execution_id.is_none() {
                continue;
            }
            let key = format!("\"{name}\":");
            prop_assert!(text[from + 1..].starts_with(&key), "{} in {}", name, text);
            let value = serde_json::Deserializer::from_str(&text[from + 1 + key.len()..]);
            let mut values = value.into_iter::<Value>();
            values.next().unwrap().unwrap();
            from += 1 + key.len() + values.byte_offset();
        }
    }

    #[test]
    fn an_event_with_one_field_gone_wrong_never_panics(
        event in event(),
        field in any::<prop::sample::Index>(),
        wrong in prop::option::of(json(3)),
    ) {
        let mut value = serde_json::to_value(&event).unwrap();
        let fields = value.as_object_mut().unwrap();
        let name = field.get(&fields.keys().cloned().collect::<Vec<_>>()).clone();
        match wrong {
            Some(wrong) => fields.insert(name, wrong),
            None => fields.remove(&name),
        };
        let unchanged = value.clone();
        if let Ok(event) = Event::from_value(value) {
            let again = Event::from_value(serde_json::to_value(&event).unwrap()).unwrap();
            prop_assert_eq!(&again, &event);
            let _ = RunView::from_events([event]).is_complete();
        } else {
            prop_assert!(serde_json::from_value::<Event>(unchanged).is_err());
        }
    }

    #[test]
    fn no_json_panics(value in json(4)) {
        let _ = Event::from_value(value.clone());
        let _ = serde_json::from_value::<ErrorInfo>(value.clone());
        let _ = serde_json::from_value::<Timestamp>(value);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Event::from_json(&bytes);
    }
}

fn event() -> impl Strategy<Value = Event> {
    let words = (
        text(),
        text(),
        prop::option::of(text()),
        prop_oneof![Just("workflow".to_owned()), text()],
    );
    (
        any::<u128>(),
        timestamp(),
        words,
        1..=u64::MAX,
        kind(),
        object(),
    )
        .prop_map(
            |(
                id,
                timestamp,
                (workflow_id, workflow_name, execution_id, source),
                seq,
                kind,
                extra,
            )| Event {
                event_id: Uuid::from_u128(id),
                timestamp,
                source: source.into(),
                workflow_id,
                workflow_name,
                execution_id,
                seq,
                kind,
                extra,
            },
        )
}

fn kind() -> impl Strategy<Value = EventKind> {
    let ms = any::<u64>;
    let attempt = any::<u32>;
    let steps = || prop::collection::vec(text(), 0..4).prop_map(CompletedSteps::from);
    let pause = prop_oneof![
        Just(PauseReason::Sleep),
        Just(PauseReason::Retry),
        Just(PauseReason::Signal),
        text().prop_map(PauseReason::from),
    ];
    let resume = prop_oneof![
        Just(ResumeReason::Timer),
        Just(ResumeReason::Retry),
        Just(ResumeReason::Signal),
        Just(ResumeReason::Recovery),
        text().prop_map(ResumeReason::from),
    ];
    prop_oneof![
        payload(3).prop_map(|input| EventKind::WorkflowQueued { input }),
        payload(3).prop_map(|input| EventKind::WorkflowStarted { input }),
        (
            pause,
            prop::option::of(timestamp()),
            prop::option::of(text())
        )
            .prop_map(|(reason, resume_at, step_name)| EventKind::WorkflowPaused {
                reason,
                resume_at,
                step_name
            }),
        resume.prop_map(|reason| EventKind::WorkflowResumed { reason }),
        (steps(), ms(), prop::option::of(payload(3))).prop_map(
            |(completed_steps, duration_ms, output)| {
                EventKind::WorkflowCompleted {
                    completed_steps,
                    duration_ms,
                    output,
                }
            }
        ),
        (error(), steps()).prop_map(|(error, completed_steps)| EventKind::WorkflowFailed {
            error,
            completed_steps
        }),
        (prop::option::of(text()), steps()).prop_map(|(reason, completed_steps)| {
            EventKind::WorkflowCancelled {
                reason,
                completed_steps,
            }
        }),
        (text(), attempt())
            .prop_map(|(step_name, attempt)| EventKind::StepStarted { step_name, attempt }),
        (text(), attempt(), ms(), any::<bool>()).prop_map(
            |(step_name, attempt, duration_ms, cached)| {
                EventKind::StepCompleted {
                    step_name,
                    attempt,
                    duration_ms,
                    cached,
                }
            }
        ),
        (text(), attempt(), error(), any::<bool>()).prop_map(
            |(step_name, attempt, error, will_retry)| {
                EventKind::StepFailed {
                    step_name,
                    attempt,
                    error,
                    will_retry,
                }
            }
        ),
        (text(), attempt(), timestamp(), ms()).prop_map(
            |(step_name, attempt, next_attempt_at, delay_ms)| {
                EventKind::RetryScheduled {
                    step_name,
                    attempt,
                    next_attempt_at,
                    delay_ms,
                }
            }
        ),
        (text(), attempt()).prop_map(|(step_name, attempts)| EventKind::RetryExhausted {
            step_name,
            attempts
        }),
        (ms(), timestamp()).prop_map(|(duration_ms, resume_at)| EventKind::SleepStarted {
            duration_ms,
            resume_at
        }),
        ms().prop_map(|duration_ms| EventKind::SleepCompleted { duration_ms }),
        (text(), timestamp(), ms(), attempt()).prop_map(
            |(step_name, deadline, timeout_ms, attempt)| {
                EventKind::TimeoutSet {
                    step_name,
                    deadline,
                    timeout_ms,
                    attempt,
                }
            }
        ),
        (text(), ms(), attempt()).prop_map(|(step_name, timeout_ms, attempt)| {
            EventKind::TimeoutExceeded {
                step_name,
                timeout_ms,
                attempt,
            }
        }),
        text()
            .prop_filter("an unknown type", |name| !EventKind::TYPE_NAMES
                .contains(&name.as_str()))
            .prop_map(|type_name| EventKind::Unknown { type_name }),
    ]
}

fn error() -> impl Strategy<Value = ErrorInfo> {
    (
        text(),
        prop::option::of(text()),
        prop::option::of(text()),
        prop::option::of(any::<u32>()),
        prop::option::of(payload(2)),
        object(),
    )
        .prop_map(
            |(message, kind, step_name, attempt, details, extra)| ErrorInfo {
                message,
                kind,
                step_name,
                attempt,
                details,
                extra,
            },
        )
}

/// Generates names that no kind has, because an extra field with a known name is not written.
fn object() -> impl Strategy<Value = BTreeMap<String, Payload>> {
    prop::collection::btree_map("x[\\PC]{0,6}|env|serviceKey", payload(2), 0..4)
}

fn payload(depth: u32) -> impl Strategy<Value = Payload> {
    json(depth).prop_map(Payload::from)
}

fn json(depth: u32) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(depth, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        text(),
        prop::sample::select(vec!["type", "seq", "error", "message"]).prop_map(Into::into)
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["\\PC{0,12}", "[\\x00-\\x1f\"\\\\/]{0,4}", "[a-z.]{0,12}"]
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (
        Timestamp::MIN.as_millis()..=Timestamp::MAX.as_millis(),
        0..1_000_000_u64,
    )
        .prop_map(|(millis, nanos)| {
            Timestamp::from_millis(millis)
                .unwrap()
                .saturating_add(std::time::Duration::from_nanos(nanos))
        })
}
