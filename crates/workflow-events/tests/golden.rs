//! The wire contract, file by file: `golden/` has one event of every type and `golden-variants/`
//! the other shapes an event can have. `golden-uncounted/` has events as they were written before
//! completed steps were counted. The files are written by hand from the contract.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use uuid::Uuid;
use workflow_events::{
    CompletedSteps, ErrorInfo, Event, EventKind, PauseReason, Payload, ResumeReason, SOURCE,
    Timestamp,
};

#[test]
fn every_type_has_its_golden_file() {
    let mut files: Vec<String> = fs::read_dir(folder("golden"))
        .unwrap()
        .map(|file| {
            file.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    files.sort();
    let mut types = EventKind::TYPE_NAMES.to_vec();
    types.sort_unstable();
    assert_eq!(files, types);
}

#[test]
fn every_golden_file_is_written_back_byte_for_byte() {
    for folder_name in ["golden", "golden-variants"] {
        for file in fs::read_dir(folder(folder_name)).unwrap() {
            let path = file.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let event = Event::from_json(text.as_bytes()).unwrap();
            let written = serde_json::to_string_pretty(&event).unwrap() + "\n";
            assert_eq!(written, text, "{}", path.display());
            assert_eq!(
                serde_json::from_str::<Event>(&text).unwrap(),
                event,
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn every_type_reads_as_its_literal() {
    let kinds = [
        EventKind::WorkflowQueued {
            input: json!({"amount": 12.5, "items": ["tea", "cup"], "note": null}).into(),
        },
        EventKind::WorkflowStarted {
            input: Payload::default(),
        },
        EventKind::WorkflowPaused {
            reason: PauseReason::Retry,
            resume_at: Some(at("2026-03-01T12:00:05Z")),
            step_name: Some("charge".into()),
        },
        EventKind::WorkflowResumed {
            reason: ResumeReason::Recovery,
        },
        EventKind::WorkflowCompleted {
            completed_steps: steps(&["reserve", "charge"]),
            duration_ms: 5250,
            output: Some(json!({"receipt": "r-77"}).into()),
        },
        EventKind::WorkflowFailed {
            error: ErrorInfo {
                message: "card declined".into(),
                kind: Some("card_declined".into()),
                step_name: Some("charge".into()),
                attempt: Some(3),
                details: Some(json!({"code": 51}).into()),
                extra: BTreeMap::new(),
            },
            completed_steps: steps(&["reserve"]),
        },
        EventKind::WorkflowCancelled {
            reason: Some("customer changed their mind".into()),
            completed_steps: steps(&[]),
        },
        EventKind::StepStarted {
            step_name: "charge".into(),
            attempt: 1,
        },
        EventKind::StepCompleted {
            step_name: "charge".into(),
            attempt: 2,
            duration_ms: 340,
            cached: false,
        },
        EventKind::StepFailed {
            step_name: "charge".into(),
            attempt: 1,
            error: ErrorInfo {
                kind: Some("unavailable".into()),
                details: Some(json!([503]).into()),
                ..ErrorInfo::new("gateway busy")
            },
            will_retry: true,
        },
        EventKind::RetryScheduled {
            step_name: "charge".into(),
            attempt: 1,
            next_attempt_at: at("2026-03-01T12:00:05Z"),
            delay_ms: 5000,
        },
        EventKind::RetryExhausted {
            step_name: "charge".into(),
            attempts: 3,
        },
        EventKind::SleepStarted {
            duration_ms: 60_000,
            resume_at: at("2026-03-01T12:01:00.123Z"),
        },
        EventKind::SleepCompleted {
            duration_ms: 60_042,
        },
        EventKind::TimeoutSet {
            step_name: "charge".into(),
            deadline: at("2026-03-01T12:00:02.123456Z"),
            timeout_ms: 2000,
            attempt: 1,
        },
        EventKind::TimeoutExceeded {
            step_name: "charge".into(),
            timeout_ms: 2000,
            attempt: 1,
        },
    ];
    assert_eq!(
        kinds.each_ref().map(EventKind::type_name),
        *EventKind::TYPE_NAMES
    );
    for (seq, kind) in (1..).zip(kinds) {
        let expected = Event {
            event_id: Uuid::from_u128(0x0197_a3c0_5c00_7000_8000_0000_0000_0000 + u128::from(seq)),
            timestamp: at("2026-03-01T12:00:00.123Z"),
            source: SOURCE.into(),
            workflow_id: "run-1".into(),
            workflow_name: "order".into(),
            execution_id: Some("exec-9".into()),
            seq,
            kind,
            extra: BTreeMap::new(),
        };
        assert_eq!(read("golden", expected.kind.type_name()), expected);
    }
}

#[test]
fn every_variant_reads_as_its_literal() {
    let none = BTreeMap::new;
    let completed = |output| EventKind::WorkflowCompleted {
        completed_steps: steps(&[]),
        duration_ms: 0,
        output,
    };
    let variants = [
        (
            "paused-for-a-signal",
            EventKind::WorkflowPaused {
                reason: PauseReason::Signal,
                resume_at: None,
                step_name: None,
            },
            none(),
        ),
        ("completed-without-output", completed(None), none()),
        (
            "completed-with-null",
            completed(Some(Payload::default())),
            none(),
        ),
        (
            "cancelled-without-reason",
            EventKind::WorkflowCancelled {
                reason: None,
                completed_steps: steps(&[]),
            },
            none(),
        ),
        (
            "failed-with-a-message-only",
            EventKind::WorkflowFailed {
                error: ErrorInfo::new("boom"),
                completed_steps: steps(&[]),
            },
            none(),
        ),
        (
            "unknown-pause-reason",
            EventKind::WorkflowPaused {
                reason: PauseReason::Other("approval".into()),
                resume_at: None,
                step_name: None,
            },
            none(),
        ),
        (
            "unknown-resume-reason",
            EventKind::WorkflowResumed {
                reason: ResumeReason::Other("operator".into()),
            },
            none(),
        ),
        (
            "unknown-type",
            EventKind::Unknown {
                type_name: "workflow.archived".into(),
            },
            object(json!({"reason": {"code": 7}, "shelf": "b"})),
        ),
        (
            "unknown-fields-and-source",
            EventKind::StepStarted {
                step_name: "charge".into(),
                attempt: 1,
            },
            object(json!({"env": "production", "executedBy": null, "serviceKey": "orders"})),
        ),
    ];
    assert_eq!(
        fs::read_dir(folder("golden-variants")).unwrap().count(),
        variants.len()
    );
    for (file, kind, extra) in variants {
        let event = read("golden-variants", file);
        assert_eq!((event.kind, event.extra), (kind, extra), "{file}");
        assert_eq!(event.execution_id, None, "{file}");
    }
    assert_eq!(
        read("golden-variants", "unknown-fields-and-source").source,
        "other-engine"
    );
}

#[test]
fn an_event_without_a_count_reads_as_one_that_lists_every_step() {
    let files: Vec<PathBuf> = fs::read_dir(folder("golden-uncounted"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(files.len(), 7);
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let counted = if folder("golden").join(format!("{name}.json")).exists() {
            "golden"
        } else {
            "golden-variants"
        };
        assert_eq!(
            read("golden-uncounted", name),
            read(counted, name),
            "{name}"
        );
    }
}

fn read(folder_name: &str, file: &str) -> Event {
    Event::from_json(&fs::read(folder(folder_name).join(format!("{file}.json"))).unwrap()).unwrap()
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn steps(names: &[&str]) -> CompletedSteps {
    CompletedSteps::last_of(names.iter().copied())
}

fn object(value: Value) -> BTreeMap<String, Payload> {
    let Value::Object(fields) = value else {
        panic!("{value} is no object")
    };
    fields
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect()
}
