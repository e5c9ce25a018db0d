//! No event is larger than 256 KiB, not counting its input, output or payload, for any values of
//! the user's code.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

use proptest::prelude::*;
use workflow_events::bounds::{self, cut};
use workflow_events::{
    CompletedSteps, ErrorInfo, Event, EventKind, PauseReason, Payload, ResumeReason, RunView,
};

const MAX_EVENT_BYTES: usize = 256 * 1024;

/// Returns texts of 300 kB whose characters have 1, 2, 2, 4 and 6 bytes in JSON.
fn large_texts() -> impl Iterator<Item = String> {
    ["a", "é", "\"", "🦀", "\u{1}"]
        .into_iter()
        .map(|text| text.repeat(300_000 / text.len()))
}

/// Returns every kind of event, with this text in every text field.
fn kinds(text: &str) -> Vec<EventKind> {
    let name = || text.to_owned();
    let at = "2026-03-01T12:00:00Z".parse().unwrap();
    let steps =
        || CompletedSteps::last_of((0..3_000).map(|_| &text[..text.floor_char_boundary(300)]));
    let error = ErrorInfo {
        kind: Some(name()),
        step_name: Some(name()),
        attempt: Some(u32::MAX),
        details: Some(Payload::encode(text).unwrap()),
        extra: (0..1_000)
            .map(|n| {
                (
                    format!("{n}\"\u{1}"),
                    Payload::encode(&text[..text.floor_char_boundary(60)]).unwrap(),
                )
            })
            .collect(),
        ..ErrorInfo::new(text)
    };
    let attempt = u32::MAX;
    vec![
        EventKind::WorkflowPaused {
            reason: PauseReason::from(name()),
            resume_at: Some(at),
            step_name: Some(name()),
        },
        EventKind::WorkflowResumed {
            reason: ResumeReason::from(name()),
        },
        EventKind::WorkflowCompleted {
            completed_steps: steps(),
            duration_ms: u64::MAX,
            output: None,
        },
        EventKind::WorkflowFailed {
            error: error.clone(),
            completed_steps: steps(),
        },
        EventKind::WorkflowCancelled {
            reason: Some(name()),
            completed_steps: steps(),
        },
        EventKind::StepStarted {
            step_name: name(),
            attempt,
        },
        EventKind::StepCompleted {
            step_name: name(),
            attempt,
            duration_ms: u64::MAX,
            cached: false,
        },
        EventKind::StepFailed {
            step_name: name(),
            attempt,
            error,
            will_retry: true,
        },
        EventKind::RetryScheduled {
            step_name: name(),
            attempt,
            next_attempt_at: at,
            delay_ms: u64::MAX,
        },
        EventKind::RetryExhausted {
            step_name: name(),
            attempts: attempt,
        },
        EventKind::TimeoutSet {
            step_name: name(),
            deadline: at,
            timeout_ms: u64::MAX,
            attempt,
        },
        EventKind::TimeoutExceeded {
            step_name: name(),
            timeout_ms: u64::MAX,
            attempt,
        },
    ]
}

#[test]
fn no_event_is_larger_than_its_bound() {
    // Ids of the largest length that an engine accepts, with the characters that are longest in
    // JSON.
    let id = "\"".repeat(512);
    for text in large_texts() {
        for kind in kinds(&text) {
            let event = Event {
                event_id: uuid::Uuid::max(),
                timestamp: "2026-03-01T12:00:00.123456789Z".parse().unwrap(),
                source: workflow_events::SOURCE.into(),
                workflow_id: id.clone(),
                workflow_name: id.clone(),
                execution_id: Some(id.clone()),
                seq: u64::MAX,
                kind: kind.bounded(),
                extra: Default::default(),
            };
            let written = serde_json::to_string(&event).unwrap();
            assert!(
                written.len() <= MAX_EVENT_BYTES,
                "{} has {} bytes",
                event.kind.type_name(),
                written.len()
            );
            assert!(
                Event::from_json(written.as_bytes()).unwrap() == event,
                "{}",
                event.kind.type_name()
            );
            assert!(
                event.kind.clone().bounded() == event.kind,
                "{} is cut again",
                event.kind.type_name()
            );
        }
    }
}

#[test]
fn what_fits_stays_as_it_is() {
    for kind in kinds(&"a".repeat(40)) {
        if !matches!(
            kind,
            EventKind::WorkflowFailed { .. } | EventKind::StepFailed { .. }
        ) {
            assert_eq!(kind.clone().bounded(), kind);
        }
    }
    let error = ErrorInfo {
        kind: Some("k".repeat(bounds::WORD_BYTES)),
        details: Some(Payload::encode(&"d".repeat(bounds::DETAILS_BYTES - 2)).unwrap()),
        extra: [(
            "hint".to_owned(),
            Payload::encode(&"h".repeat(16_000)).unwrap(),
        )]
        .into(),
        ..ErrorInfo::new("m".repeat(bounds::MESSAGE_BYTES))
    };
    assert_eq!(error.clone().bounded(), error);
}

#[test]
fn what_is_cut_says_how_much_is_missing() {
    let error = ErrorInfo {
        details: Some(Payload::encode(&vec![7; 100_000]).unwrap()),
        extra: [(
            "hint".to_owned(),
            Payload::encode(&"h".repeat(20_000)).unwrap(),
        )]
        .into(),
        ..ErrorInfo::new("m".repeat(1_000_000))
    };
    let bounded = error.bounded();
    let kept = bounds::MESSAGE_BYTES - 40;
    assert_eq!(
        bounded.message,
        format!("{}… ({} bytes cut)", "m".repeat(kept), 1_000_000 - kept)
    );
    let details: String = bounded.details.unwrap().decode().unwrap();
    assert!(
        details.starts_with("[7,7,7,") && details.ends_with(" bytes cut)"),
        "{}",
        &details[..20]
    );
    assert_eq!(
        bounded.extra["hint"].decode::<String>().unwrap(),
        "… (20002 bytes cut)"
    );
}

#[test]
fn details_that_no_reader_takes_become_a_text() {
    let nested = |depth: usize| Payload::from_json("[".repeat(depth) + &"]".repeat(depth)).unwrap();
    for (depth, is_text) in [
        (bounds::DETAILS_DEPTH, false),
        (bounds::DETAILS_DEPTH + 1, true),
        (10_000, true),
    ] {
        let error = ErrorInfo {
            details: Some(nested(depth)),
            extra: [("hint".to_owned(), nested(depth))].into(),
            ..ErrorInfo::new("m")
        };
        let bounded = error.bounded();
        assert_eq!(
            bounded.details.unwrap().as_str().starts_with('"'),
            is_text,
            "{depth}"
        );
        assert_eq!(
            bounded.extra["hint"].as_str().starts_with('"'),
            is_text,
            "{depth}"
        );
    }
}

#[test]
fn forty_thousand_steps_are_counted_and_the_last_ones_listed() {
    let names = (1..=40_000).map(|n| format!("step-{n}"));
    let steps = CompletedSteps::last_of(names.clone());
    assert_eq!(
        (steps.count(), steps.names().len(), steps.is_whole()),
        (40_000, 1_000, false)
    );
    assert_eq!(
        (steps.names()[0].as_str(), steps.names()[999].as_str()),
        ("step-39001", "step-40000")
    );
    let long = CompletedSteps::last_of((1..=1_000).map(|n| format!("{n:0500}")));
    assert_eq!(long.count(), 1_000);
    assert_eq!(long.names().len(), bounds::LISTED_STEPS_BYTES / 503);

    let event = |kind| Event { kind, ..at_seq(1) };
    let completed = EventKind::WorkflowCompleted {
        completed_steps: steps,
        duration_ms: 1,
        output: None,
    };
    let view = RunView::from_events([event(completed)]);
    assert_eq!(
        (view.completed_steps().len(), view.completed_step_count()),
        (1_000, 40_000)
    );

    // An event of a version that listed all steps is read unchanged, and bounded only when it is
    // written.
    let all: Vec<String> = names.collect();
    let old = serde_json::to_string(&event(EventKind::WorkflowCancelled {
        reason: None,
        completed_steps: Default::default(),
    }));
    let old = old.unwrap().replace(
        "[],\"completedStepCount\":0",
        &serde_json::to_string(&all).unwrap(),
    );
    let old = Event::from_json(old.as_bytes()).unwrap();
    let EventKind::WorkflowCancelled {
        completed_steps, ..
    } = &old.kind
    else {
        panic!("{}", old.kind.type_name())
    };
    assert_eq!(
        (completed_steps.names(), completed_steps.count()),
        (all.as_slice(), 40_000)
    );
    let EventKind::WorkflowCancelled {
        completed_steps, ..
    } = old.kind.bounded()
    else {
        panic!("another kind")
    };
    assert_eq!(
        (completed_steps.names().len(), completed_steps.count()),
        (1_000, 40_000)
    );
}

#[test]
fn an_impossible_count_is_ignored() {
    let text = serde_json::to_string(&Event {
        kind: EventKind::WorkflowCancelled {
            reason: None,
            completed_steps: vec!["a".to_owned(), "b".to_owned()].into(),
        },
        ..at_seq(1)
    });
    let text = text.unwrap();
    for (count, read) in [
        ("2", 2),
        ("3", 3),
        ("1", 2),
        ("null", 2),
        ("18446744073709551615", u64::MAX),
    ] {
        let text = text.replace(
            "\"completedStepCount\":2",
            &format!("\"completedStepCount\":{count}"),
        );
        let event = Event::from_json(text.as_bytes()).unwrap();
        assert_eq!(
            RunView::from_events([event]).completed_step_count(),
            read,
            "{count}"
        );
    }
}

proptest! {
    #[test]
    fn a_cut_text_fits_and_is_cut_between_characters(text in "\\PC{0,80}|[\\x00-\\x1f\"\\\\é🦀]{0,80}", bytes in 0..500_usize) {
        let cut = cut(&text, bytes);
        let size = serde_json::to_string(&cut).unwrap().len() - 2;
        if size > bytes {
            prop_assert!(bytes < 40 && cut.starts_with('…'), "{} > {}: {:?}", size, bytes, cut);
        }
        if serde_json::to_string(&text).unwrap().len() - 2 <= bytes {
            prop_assert_eq!(&cut, &text);
        } else {
            let (kept, mark) = cut.rsplit_once("… (").unwrap();
            let missing: usize = mark.strip_suffix(" bytes cut)").unwrap().parse().unwrap();
            prop_assert!(text.starts_with(kept));
            prop_assert_eq!(kept.len() + missing, text.len());
        }
    }
}

fn at_seq(seq: u64) -> Event {
    Event {
        event_id: uuid::Uuid::from_u128(seq.into()),
        timestamp: "2026-03-01T12:00:00Z".parse().unwrap(),
        source: workflow_events::SOURCE.into(),
        workflow_id: "run-1".into(),
        workflow_name: "order".into(),
        execution_id: None,
        seq,
        kind: EventKind::SleepCompleted { duration_ms: 1 },
        extra: Default::default(),
    }
}
