//! Errors that cannot be recorded as their own type: the retry is decided on the error itself, and
//! its message is kept, cut to the limit.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use workflow_engine::{
    Context, DurableError, Failure, NotCompletedError, Outcome, Retry, StepError, StepFailure,
    Workflow, WorkflowError,
};
use workflow_events::EventKind;

use support::{Fixture, run_until_done};

const HOUR: Duration = Duration::from_secs(3600);
const WF: Workflow<Form, String, Awkward> = Workflow::new("awkward");

/// The reason why the error cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Form {
    /// The JSON form has several MB.
    Large,
    /// The JSON form is nested 200 levels deep.
    Deep,
    /// The error has a number that JSON cannot carry.
    NotFinite,
    /// The JSON form is that of another type.
    Unreadable,
    /// The error panics while it is encoded.
    Panics,
}

const FORMS: [Form; 4] = [Form::Large, Form::Deep, Form::NotFinite, Form::Unreadable];

#[derive(Debug)]
struct Awkward {
    form: Form,
    attempt: u32,
}

impl std::fmt::Display for Awkward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tail = if self.form == Form::Large {
            "!".repeat(3_000_000)
        } else {
            String::new()
        };
        write!(
            f,
            "the gateway is busy, said attempt {}{tail}",
            self.attempt
        )
    }
}

impl std::error::Error for Awkward {}

impl Serialize for Awkward {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.form {
            Form::Large => "!".repeat(3_000_000).serialize(serializer),
            Form::Deep => {
                let text = "[".repeat(200) + &"]".repeat(200);
                workflow_engine::Payload::from_json(text)
                    .unwrap()
                    .serialize(serializer)
            }
            Form::NotFinite => f64::NAN.serialize(serializer),
            Form::Unreadable => true.serialize(serializer),
            Form::Panics => panic!("no form"),
        }
    }
}

impl<'de> Deserialize<'de> for Awkward {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|_| Self {
            form: Form::Large,
            attempt: 0,
        })
    }
}

impl DurableError for Awkward {
    fn info(&self) -> workflow_events::ErrorInfo {
        workflow_events::ErrorInfo {
            kind: Some("busy".into()),
            ..workflow_events::ErrorInfo::new(self.to_string())
        }
    }
}

#[test]
fn such_an_error_is_retried_like_any_other() {
    for form in FORMS {
        let fixture = Fixture::new();
        let calls = Arc::new(AtomicU32::new(0));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let counted = calls.clone();
        let noted = seen.clone();
        let flaky = move |ctx: Context, form: Form| {
            let calls = counted.clone();
            let seen = noted.clone();
            async move {
                let body = || {
                    let attempt = calls.fetch_add(1, Ordering::Relaxed) + 1;
                    async move {
                        if attempt < 3 {
                            Err(Awkward { form, attempt })
                        } else {
                            Ok(attempt.to_string())
                        }
                    }
                };
                let decide = |failure: &StepFailure<Awkward>| {
                    let StepFailure::Returned(Awkward {
                        form: seen_form,
                        attempt,
                    }) = failure
                    else {
                        return false;
                    };
                    seen.lock().unwrap().push((*seen_form, *attempt));
                    true
                };
                let step = ctx
                    .step("flaky", body)
                    .retry(Retry::constant(HOUR))
                    .retry_if(decide);
                step.await.map_err(|error| Awkward {
                    form: Form::Unreadable,
                    attempt: error.attempt,
                })
            }
        };
        let engine = fixture.builder().workflow(&WF, flaky).build().unwrap();
        fixture.clock.run(async {
            let _ = engine.run(&WF, "r", form).await.unwrap();
            run_until_done(&fixture, &engine).await;
            let Outcome::Completed(output) = engine.run(&WF, "r", form).await.unwrap() else {
                panic!("{form:?}")
            };
            assert_eq!(
                (output.as_str(), calls.load(Ordering::Relaxed)),
                ("3", 3),
                "{form:?}"
            );
            assert_eq!(
                *seen.lock().unwrap(),
                [(form, 1), (form, 2)],
                "the decision sees the error itself"
            );
            let history = engine.history("r").await.unwrap();
            let errors = history.iter().filter_map(|event| match &event.kind {
                EventKind::StepFailed {
                    error,
                    will_retry: true,
                    ..
                } => Some(error.clone()),
                _ => None,
            });
            let errors: Vec<_> = errors.collect();
            assert_eq!(errors.len(), 2, "{form:?}");
            for (error, attempt) in errors.iter().zip(1..) {
                let words = format!("the gateway is busy, said attempt {attempt}");
                assert!(
                    error.message.starts_with(&words),
                    "{form:?}: {}",
                    &error.message[..80.min(error.message.len())]
                );
                assert_eq!(error.kind.as_deref(), Some("busy"));
            }
            assert!(
                fixture
                    .sink
                    .delivered()
                    .iter()
                    .all(|event| event.as_str().len() < 256 * 1024),
                "{form:?}"
            );
        });
    }
}

#[test]
fn the_last_error_keeps_its_words_and_every_replay_meets_the_same() {
    for form in FORMS {
        let fixture = Fixture::new();
        let met = Arc::new(Mutex::new(Vec::new()));
        let noted = met.clone();
        let fails = move |ctx: Context, form: Form| {
            let met = noted.clone();
            async move {
                let body = || async move { Err::<(), _>(Awkward { form, attempt: 1 }) };
                let StepError { cause, .. } = ctx.step("fails", body).await.unwrap_err();
                met.lock().unwrap().push(format!("{cause:?}"));
                ctx.sleep(HOUR).await;
                let StepFailure::Unrecorded { info, .. } = &cause else {
                    panic!("it cannot be recorded")
                };
                assert_eq!(cause.to_string(), info.message);
                Err(Awkward { form, attempt: 2 })
            }
        };
        let engine = fixture.builder().workflow(&WF, fails).build().unwrap();
        fixture.clock.run(async {
            let _ = engine.run(&WF, "r", form).await.unwrap();
            run_until_done(&fixture, &engine).await;
            let WorkflowError { info, error, .. } =
                failed(engine.run(&WF, "r", form).await.unwrap());
            assert!(error.is_none(), "it cannot be its own type");
            assert!(
                info.message
                    .starts_with("the gateway is busy, said attempt 2"),
                "{form:?}: {:.80}",
                info.message
            );
            assert_eq!(info.kind.as_deref(), Some("busy"));
            let met = met.lock().unwrap().clone();
            assert!(
                met.len() == 2 && met[0] == met[1],
                "{form:?}: {:.200} / {:.200}",
                met[0],
                met[1]
            );

            let history = engine.history("r").await.unwrap();
            let errors = history.iter().filter_map(|event| match &event.kind {
                EventKind::StepFailed { error, .. } | EventKind::WorkflowFailed { error, .. } => {
                    Some(error.clone())
                }
                _ => None,
            });
            let errors: Vec<_> = errors.collect();
            assert!(
                errors[0]
                    .message
                    .starts_with("the gateway is busy, said attempt 1"),
                "{form:?}"
            );
            assert_eq!((&errors[1], errors.len()), (&*info, 2), "{form:?}");
            if form == Form::Large {
                assert!(
                    errors
                        .iter()
                        .all(|error| error.message.ends_with(" bytes cut)"))
                );
            }
            for record in fixture.records("r").await {
                let payload = record
                    .entry
                    .and_then(|entry| entry.payload)
                    .map_or(0, |payload| payload.as_str().len());
                assert!(
                    payload < 128 * 1024,
                    "{form:?}: {payload} bytes are recorded"
                );
            }
        });
    }
}

#[test]
fn an_error_that_panics_while_it_is_encoded_is_a_panic() {
    let fixture = Fixture::new();
    let fails = move |ctx: Context, form: Form| async move {
        let body = || async move { Err::<(), _>(Awkward { form, attempt: 1 }) };
        let cause = ctx.step("fails", body).await.unwrap_err().cause;
        ctx.sleep(HOUR).await;
        Ok(cause.to_string())
    };
    let engine = fixture.builder().workflow(&WF, fails).build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&WF, "r", Form::Panics).await.unwrap();
        run_until_done(&fixture, &engine).await;
        let end = engine
            .run(&WF, "r", Form::Panics)
            .await
            .unwrap()
            .completed()
            .unwrap();
        assert_eq!(end, "it panicked: no form");
    });
}

#[test]
fn messages_of_several_mb_are_cut_wherever_they_come_from() {
    const MB: Workflow<u32, (), Failure> = Workflow::new("mb");
    let fixture = Fixture::new();
    let large = |ctx: Context, way: u32| async move {
        let text = "é".repeat(2_000_000);
        let step = ctx.step("large", || {
            let text = text.clone();
            async move {
                match way {
                    0 => panic!("{text}"),
                    1 => Err::<(), _>(Failure::new(text)),
                    2 => Err(Failure::new("m").with_kind(text)),
                    3 => Err(Failure::new("m").with_details(serde_json::Value::from(text))),
                    _ => Err(Failure::from(std::io::Error::other(text))),
                }
            }
        });
        let error = step.retry(Retry::simple()).await.unwrap_err();
        ctx.sleep(HOUR).await;
        if way == 4 {
            panic!("{text}")
        } else {
            Err(error.into())
        }
    };
    let engine = fixture.builder().workflow(&MB, large).build().unwrap();
    fixture.clock.run(async {
        for way in 0..5 {
            let _ = engine.run(&MB, format!("r-{way}"), way).await.unwrap();
            run_until_done(&fixture, &engine).await;
            let failure = failed(engine.run(&MB, format!("r-{way}"), way).await.unwrap());
            let encoded = serde_json::to_string(&*failure.info).unwrap();
            assert!(
                encoded.contains(" bytes cut)") && encoded.len() < 128 * 1024,
                "{way}: {} bytes",
                encoded.len()
            );
            assert_eq!(
                failure.error.is_some(),
                way != 4,
                "{way}: a cut failure is a failure"
            );
        }
        assert!(engine.flush().await.is_delivered());
        let largest = fixture
            .sink
            .delivered()
            .iter()
            .map(|event| event.as_str().len())
            .max();
        assert!(largest < Some(256 * 1024), "{largest:?}");
    });
}

fn failed<O, E>(outcome: Outcome<O, E>) -> WorkflowError<E> {
    match outcome.completed() {
        Err(NotCompletedError::Failed(failure)) => failure,
        _ => panic!("it did not fail"),
    }
}
