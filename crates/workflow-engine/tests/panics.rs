//! The user's code may panic anywhere: records stay complete, and other runs are not affected.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::select;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use tracker_core::Clock;
use workflow_engine::{
    Context, DurableError, Failure, Outcome, Retry, Status, StepFailure, Store, Workflow,
    WorkflowError,
};

use support::*;

const WF: Workflow<(), String> = Workflow::new("wf");
const HOUR: Duration = Duration::from_secs(3600);

/// A value that panics when it is encoded.
#[derive(Debug, Deserialize)]
struct Unserializable;

impl Serialize for Unserializable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("serialize")
    }
}

/// A value that panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "dropped");
    }
}

/// An error whose message panics.
#[derive(Debug, Serialize, Deserialize)]
struct Wordless;

impl std::fmt::Display for Wordless {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("words")
    }
}

impl DurableError for Wordless {}

/// Executes a workflow beside others, which must not be affected. Returns its outcome.
fn beside_others<O, E, F, Fut>(
    workflow: &Workflow<(), O, E>,
    function: F,
) -> (Fixture, Outcome<O, E>)
where
    O: Serialize + for<'de> Deserialize<'de> + Send + 'static,
    E: DurableError,
    F: Fn(Context, Arc<dyn Clock>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, E>> + Send + 'static,
{
    let fixture = Fixture::new();
    let clock: Arc<dyn Clock> = fixture.clock.clone();
    let body = move |ctx: Context, (): ()| function(ctx, clock.clone());
    let engine = fixture.builder().workflow(workflow, body).build().unwrap();
    let outcome = fixture.clock.run(async {
        let handle = engine.start(workflow, "r", ()).await.unwrap();
        engine.start(&STEPS, "other", 3).await.unwrap();
        let result = handle.result();
        let _ = select(pin!(engine.work()), pin!(fixture.clock.sleep(3 * HOUR))).await;
        assert_eq!(
            fixture.store.run("other").await.unwrap().unwrap().status,
            Status::Completed
        );
        let event_types = fixture.event_types("r").await;
        let count = |ends: &[&str]| {
            event_types
                .iter()
                .filter(|kind| ends.contains(&kind.as_str()))
                .count()
        };
        assert_eq!(
            count(&["step.started"]),
            count(&["step.completed", "step.failed"]),
            "{event_types:?}"
        );
        result.await.unwrap()
    });
    (fixture, outcome)
}

fn failed<O: std::fmt::Debug, E>(outcome: Outcome<O, E>) -> WorkflowError<E> {
    match outcome {
        Outcome::Failed(failure) => failure,
        _ => panic!("it has not failed"),
    }
}

#[test]
fn a_decision_to_retry_that_panics_ends_its_step_and_nothing_else() {
    let (_, outcome) = beside_others(&WF, |ctx, clock| async move {
        let slow = || async {
            clock.sleep(Duration::from_millis(500)).await;
            Err::<(), _>(Failure::new("no"))
        };
        let step = ctx
            .step("s", slow)
            .retry(Retry::standard())
            .retry_if(|_| panic!("retry_if"));
        let failure = step.await.unwrap_err();
        assert_eq!(failure.cause, StepFailure::Panicked("retry_if".into()));
        // No operation counts as executing, so this suspends.
        ctx.sleep(HOUR).await;
        Ok::<_, Failure>("went on".to_owned())
    });
    assert_eq!(outcome, Outcome::Completed("went on".into()));
}

#[test]
fn a_delay_that_panics_ends_its_step() {
    let (_, outcome) = beside_others(&WF, |ctx, _| async move {
        let policy = Retry::function(|_| panic!("delay"));
        let step = ctx
            .step("s", || async { Err::<(), _>(Failure::new("no")) })
            .retry(policy);
        Ok::<_, Failure>(format!("{:?}", step.await.unwrap_err().cause))
    });
    assert_eq!(outcome, Outcome::Completed("Panicked(\"delay\")".into()));
}

#[test]
fn a_result_whose_encoding_panics_fails_its_step() {
    let (_, outcome) = beside_others(&WF, |ctx, clock| async move {
        let slow = || async {
            clock.sleep(Duration::from_millis(500)).await;
            Ok::<_, Failure>(Unserializable)
        };
        Ok::<_, Failure>(format!(
            "{:?}",
            ctx.step("s", slow).await.unwrap_err().cause
        ))
    });
    assert_eq!(
        outcome,
        Outcome::Completed("Panicked(\"serialize\")".into())
    );
}

#[test]
fn an_error_whose_words_panic_fails_its_step() {
    let (_, outcome) = beside_others(&WF, |ctx, _| async move {
        let cause = ctx
            .step("s", || async { Err::<(), _>(Wordless) })
            .await
            .unwrap_err()
            .cause;
        Ok::<_, Failure>(
            if matches!(cause, StepFailure::Panicked(words) if words == "words") {
                "as told"
            } else {
                "not"
            }
            .to_owned(),
        )
    });
    assert_eq!(outcome, Outcome::Completed("as told".into()));
}

#[test]
fn an_attempt_that_is_cut_and_panics_while_it_is_dropped_has_panicked() {
    let (_, outcome) = beside_others(&WF, |ctx, _| async move {
        let hangs = || async {
            let _bomb = Bomb;
            std::future::pending::<Result<(), Failure>>().await
        };
        let step = ctx.step("s", hangs).timeout(Duration::from_millis(300));
        Ok::<_, Failure>(format!("{:?}", step.await.unwrap_err().cause))
    });
    assert_eq!(outcome, Outcome::Completed("Panicked(\"dropped\")".into()));
}

#[test]
fn an_output_whose_encoding_panics_fails_its_run() {
    const BAD: Workflow<(), Unserializable> = Workflow::new("bad");
    let (_, outcome) = beside_others(&BAD, |_, _| async { Ok::<_, Failure>(Unserializable) });
    assert_eq!(
        failed(outcome).info.message,
        "the workflow panicked: serialize"
    );
}

#[test]
fn an_error_of_a_workflow_whose_words_panic_fails_its_run() {
    const BAD: Workflow<(), (), Wordless> = Workflow::new("bad");
    let (_, outcome) = beside_others(&BAD, |_, _| async { Err::<(), _>(Wordless) });
    assert_eq!(failed(outcome).info.message, "the workflow panicked: words");
}

#[test]
fn a_workflow_that_panics_while_it_is_suspended_is_suspended() {
    let (fixture, outcome) = beside_others(&WF, |ctx, _| async move {
        let bomb = Bomb;
        ctx.sleep(HOUR).await;
        std::mem::forget(bomb);
        Ok::<_, Failure>("awake".to_owned())
    });
    assert_eq!(outcome, Outcome::Completed("awake".into()));
    assert!(
        fixture
            .delivered()
            .iter()
            .any(|event| event.kind.type_name() == "workflow.paused")
    );
}

#[test]
fn an_output_that_cannot_be_read_back_fails_its_run() {
    const NAN: Workflow<(), f64> = Workflow::new("nan");
    let (_, outcome) = beside_others(&NAN, |_, _| async { Ok::<_, Failure>(f64::NAN) });
    assert_eq!(failed(outcome).info.kind.as_deref(), Some("unencodable"));
}

#[test]
fn an_error_of_a_workflow_that_cannot_be_read_back_keeps_its_message() {
    #[derive(Debug, Deserialize)]
    struct Silent;
    impl Serialize for Silent {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(S::Error::custom("nothing to say"))
        }
    }
    impl std::fmt::Display for Silent {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("it is over")
        }
    }
    impl DurableError for Silent {}
    const SILENT: Workflow<(), (), Silent> = Workflow::new("silent");
    let (_, outcome) = beside_others(&SILENT, |_, _| async { Err::<(), _>(Silent) });
    let failure = failed(outcome);
    assert_eq!(
        (failure.info.message.as_str(), failure.error.is_none()),
        ("it is over", true)
    );
}

#[test]
fn an_error_of_a_workflow_that_is_too_large_keeps_its_message() {
    let (_, outcome) = beside_others(&WF, |_, _| async {
        Err::<String, _>(Failure::new("x".repeat(2 << 20)))
    });
    let failure = failed(outcome);
    assert!(
        failure.info.message.starts_with("xxx") && failure.info.message.ends_with(" bytes cut)")
    );
    assert_eq!(
        (failure.info.kind.as_deref(), failure.error.is_none()),
        (None, true)
    );
}
