//! Histories that an earlier version wrote are read, and their runs continue.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracker_core::Clock;
use workflow_engine::store::{Commit, Created, Entry, EntryKind, NewRun, Record};
use workflow_engine::{
    Context, DurableError, EncodedEvent, Failure, Outcome, Payload, Status, StepError, StepFailure,
    Store, Timestamp, Workflow, WorkflowError,
};
use workflow_events::{Event, EventKind};

use support::Fixture;

const HOUR: Duration = Duration::from_secs(3600);
const OLD: Workflow<Payload, String, Declined> = Workflow::new("old");

/// An error without fields: its JSON form is `null`.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("declined")]
struct Declined;

impl DurableError for Declined {}

/// Makes a record with one event. `event` has the fields of its type.
fn record(seq: u64, event: &str, kind: EntryKind, name: &str, payload: &str) -> Record {
    let envelope = format!(
        concat!(
            r#"{{"eventId":"0197a3c0-5c00-7000-8000-00000000000{}","timestamp":"1970-01-01T00:00:00.000Z","#,
            r#""source":"workflow","workflowId":"r","workflowName":"old","seq":{},{}}}"#,
        ),
        seq, seq, event,
    );
    let operation = u32::from(!name.is_empty());
    Record {
        first_seq: seq,
        at: Timestamp::UNIX_EPOCH,
        events: vec![EncodedEvent::from_json(envelope).unwrap()],
        entry: Some(Entry {
            kind,
            name: name.into(),
            occurrence: operation,
            attempt: operation,
            due_at: None,
            payload: Some(Payload::from_json(payload.into()).unwrap()),
        }),
    }
}

/// Makes a fixture with a run whose process died after it wrote these records.
async fn earlier(input: &str, records: Vec<Record>, status: Status) -> Fixture {
    let fixture = Fixture::new();
    let started = format!(r#""type":"workflow.started","input":{input}"#);
    let created = NewRun {
        id: "r".into(),
        workflow: "old".into(),
        execution_id: None,
        status: Status::Running,
        worker: "earlier".into(),
        record: record(1, &started, EntryKind::Created, "", input),
    };
    fixture
        .store
        .renew("earlier", Timestamp::UNIX_EPOCH.saturating_add(HOUR))
        .await
        .unwrap();
    let Created::New(claim) = fixture.store.create(created).await.unwrap() else {
        panic!("it is new")
    };
    if !records.is_empty() {
        fixture
            .store
            .commit(Commit {
                claim,
                records,
                status,
                due_at: None,
            })
            .await
            .unwrap();
    }
    fixture
}

/// Reads the history of the run, as a receiver does.
async fn history(fixture: &Fixture) -> Vec<Event> {
    support::decode(
        &fixture
            .records("r")
            .await
            .into_iter()
            .flat_map(|record| record.events)
            .collect::<Vec<_>>(),
    )
}

#[test]
fn a_recorded_step_with_a_name_that_is_refused_today_is_replayed() {
    for name in ["x".repeat(600), "two\nlines".into()] {
        let text = serde_json::to_string(&name).unwrap();
        let completed = format!(
            r#""type":"step.completed","stepName":{text},"attempt":1,"durationMs":1,"cached":false"#
        );
        let step = record(
            2,
            &completed,
            EntryKind::StepCompleted,
            &name,
            "\"recorded\"",
        );
        futures::executor::block_on(async {
            let fixture = earlier("null", vec![step], Status::Running).await;
            let old = move |ctx: Context, _| {
                let name = name.clone();
                async move {
                    let again = name.clone();
                    let recorded = ctx
                        .step(name, || async { Ok::<_, Failure>("executed".to_owned()) })
                        .await;
                    // The second step with the name is not in the history.
                    let next = ctx
                        .step(again, || async { Ok::<_, Failure>(()) })
                        .await
                        .unwrap_err();
                    assert!(matches!(next.cause, StepFailure::InvalidName(_)), "{next}");
                    recorded.map_err(|_| Declined)
                }
            };
            let engine = fixture.builder().workflow(&OLD, old).build().unwrap();
            fixture.clock.run(async {
                fixture.clock.sleep(HOUR * 2).await;
                let end = engine.run(&OLD, "r", Payload::default()).await.unwrap();
                assert_eq!(end, Outcome::Completed("recorded".into()));
            });
        });
    }
}

#[test]
fn a_recorded_value_that_is_too_deep_today_is_replayed() {
    let deep = "[".repeat(126) + &"]".repeat(126);
    let completed =
        r#""type":"step.completed","stepName":"deep","attempt":1,"durationMs":1,"cached":false"#;
    let step = record(2, completed, EntryKind::StepCompleted, "deep", &deep);
    futures::executor::block_on(async {
        let fixture = earlier(&deep, vec![step], Status::Running).await;
        let old = move |ctx: Context, input: Payload| async move {
            let recorded = ctx
                .step("deep", || async { Ok::<_, Failure>(Payload::default()) })
                .await;
            assert_eq!(recorded.unwrap(), input);
            Ok(input.depth().to_string())
        };
        let engine = fixture.builder().workflow(&OLD, old).build().unwrap();
        fixture.clock.run(async {
            fixture.clock.sleep(HOUR * 2).await;
            let _ = engine.run_until_idle().await.unwrap();
            let end = engine.handle(&OLD, "r").result().await.unwrap();
            assert_eq!(end, Outcome::Completed("126".into()));
        });
        assert_eq!(
            history(&fixture).await[0].kind,
            EventKind::WorkflowStarted {
                input: Payload::from_json(deep).unwrap()
            }
        );
    });
}

#[test]
fn every_form_of_a_failed_step_is_read_as_it_was() {
    let forms: [(&str, StepFailure<Failure>); 6] = [
        (
            r#"{"returned":{"message":"m","kind":"k","details":{"a":1}}}"#,
            {
                let details = Payload::from_json(r#"{"a":1}"#.into()).unwrap();
                StepFailure::Returned(Failure::new("m").with_kind("k").with_details(details))
            },
        ),
        (
            r#"{"returned":{"message":"m","stepName":"s","attempt":2,"more":7}}"#,
            {
                let text = r#"{"message":"m","stepName":"s","attempt":2,"more":7}"#;
                StepFailure::Returned(serde_json::from_str(text).unwrap())
            },
        ),
        (r#"{"panicked":"p"}"#, StepFailure::Panicked("p".into())),
        (
            r#"{"timedOut":{"timeoutMs":1,"elapsedMs":2}}"#,
            StepFailure::TimedOut {
                timeout_ms: 1,
                elapsed_ms: 2,
            },
        ),
        (
            r#"{"unencodable":"u"}"#,
            StepFailure::Unencodable("u".into()),
        ),
        (
            r#"{"tooLarge":{"bytes":3,"limit":2}}"#,
            StepFailure::TooLarge { bytes: 3, limit: 2 },
        ),
    ];
    for (json, failure) in forms {
        assert_eq!(serde_json::to_string(&failure).unwrap(), json);
        assert_eq!(
            serde_json::from_str::<StepFailure<Failure>>(json).unwrap(),
            failure
        );
        let error = format!(r#"{{"step":"s","attempt":1,"cause":{json}}}"#);
        let read: StepError<Failure> = serde_json::from_str(&error).unwrap();
        assert_eq!(
            read,
            StepError {
                step: "s".into(),
                attempt: 1,
                cause: failure
            }
        );
        assert_eq!(serde_json::to_string(&read).unwrap(), error);
    }
}

#[test]
fn every_form_of_a_failed_run_is_read_as_it_was() {
    const TYPED: Workflow<Payload, String, String> = Workflow::new("old");
    let failed =
        r#""type":"workflow.failed","error":{"message":"m","kind":"k"},"completedSteps":[]"#;
    for (json, expected) in [
        (
            r#"{"info":{"message":"m","kind":"k"},"error":"e"}"#,
            Some("e".to_owned()),
        ),
        (r#"{"info":{"message":"m","kind":"k"},"error":null}"#, None),
        (r#"{"info":{"message":"m","kind":"k"}}"#, None),
    ] {
        futures::executor::block_on(async {
            let end = record(2, failed, EntryKind::Failed, "", json);
            let fixture = earlier("null", vec![end], Status::Failed).await;
            let engine = fixture.builder().build().unwrap();
            let outcome = fixture
                .clock
                .run(engine.handle(&TYPED, "r").result())
                .unwrap();
            let Outcome::Failed(WorkflowError { info, error, .. }) = outcome else {
                panic!("{json} has not failed")
            };
            assert_eq!(
                (info.message.as_str(), info.kind.as_deref(), error),
                ("m", Some("k"), expected),
                "{json}"
            );
            assert_eq!(
                history(&fixture).await.last().unwrap().kind.type_name(),
                "workflow.failed"
            );
        });
    }
}
