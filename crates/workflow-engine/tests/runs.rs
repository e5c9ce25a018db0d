//! Runs and steps: their results, their records, and refusals.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use workflow_engine::store::EntryKind;
use workflow_engine::{
    BuildError, Context, DurableError, Engine, Failure, Outcome, RunError, StepError, StepFailure,
    Workflow,
};

use support::{Fixture, STEPS, types};

#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
enum PaymentError {
    #[error("the card was declined: {0}")]
    Declined(String),
}

impl DurableError for PaymentError {}

#[test]
fn the_same_id_again_executes_nothing_and_returns_the_outcome() {
    const COUNTED: Workflow<u32, u32> = Workflow::new("counted");
    let fixture = Fixture::new();
    let calls = Arc::new(AtomicU32::new(0));
    let counter = calls.clone();
    let counted = move |_: Context, input: u32| {
        let counter = counter.clone();
        async move { Ok::<_, Failure>(input + counter.fetch_add(1, Ordering::Relaxed)) }
    };
    let engine = fixture
        .builder()
        .workflow(&COUNTED, counted)
        .build()
        .unwrap();
    fixture.clock.run(async {
        assert_eq!(
            engine.run(&COUNTED, "r", 10).await.unwrap(),
            Outcome::Completed(10)
        );
        assert_eq!(
            engine.run(&COUNTED, "r", 10).await.unwrap(),
            Outcome::Completed(10)
        );
        assert_eq!(calls.load(Ordering::Relaxed), 1);

        let conflict = engine.run(&COUNTED, "r", 11).await.unwrap_err();
        assert!(
            matches!(conflict, RunError::Conflict { what: "input", .. }),
            "{conflict:?}"
        );
        let conflict = engine.run(&STEPS, "r", 10).await.unwrap_err();
        assert!(
            matches!(
                conflict,
                RunError::Conflict {
                    what: "workflow",
                    ..
                }
            ),
            "{conflict:?}"
        );
        assert_eq!(
            engine.history("r").await.unwrap().len(),
            2,
            "a conflict changes nothing"
        );
    });
}

#[test]
fn two_concurrent_runs_of_one_id_execute_the_body_once() {
    const HELD: Workflow<(), ()> = Workflow::new("held");
    let fixture = Fixture::new();
    let calls = Arc::new(AtomicU32::new(0));
    let counter = calls.clone();
    let clock = fixture.clock.clone();
    let held = move |ctx: Context, (): ()| {
        counter.fetch_add(1, Ordering::Relaxed);
        let clock = clock.clone();
        async move {
            let hold = || async {
                tracker_core::Clock::sleep(&*clock, std::time::Duration::from_secs(1)).await;
                Ok::<_, Failure>(())
            };
            ctx.step("hold", hold).await?;
            Ok::<_, Failure>(())
        }
    };
    let engine = fixture.builder().workflow(&HELD, held).build().unwrap();
    fixture.clock.run(async {
        let (one, two) =
            futures::future::join(engine.run(&HELD, "r", ()), engine.run(&HELD, "r", ())).await;
        assert_eq!(one.unwrap(), Outcome::Completed(()));
        assert_eq!(
            two.unwrap(),
            Outcome::Completed(()),
            "the second waits for the first"
        );
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_typed_error_comes_back_as_its_own_type() {
    const PAY: Workflow<(), (), PaymentError> = Workflow::new("pay");
    let fixture = Fixture::new();
    let pay = |ctx: Context, (): ()| async move {
        let charge = || async { Err::<(), _>(PaymentError::Declined("no funds".into())) };
        ctx.step("charge", charge)
            .await
            .map_err(|error| match error.cause {
                StepFailure::Returned(error) => error,
                other => panic!("{other}"),
            })
    };
    let engine = fixture.builder().workflow(&PAY, pay).build().unwrap();
    fixture.clock.run(async {
        for _ in 0..2 {
            let Outcome::Failed(failure) = engine.run(&PAY, "r", ()).await.unwrap() else {
                panic!("it fails")
            };
            assert_eq!(
                failure.error,
                Some(PaymentError::Declined("no funds".into()))
            );
        }
        let record = &fixture.records("r").await[1];
        let recorded = record.entry.as_ref().unwrap().payload.as_ref().unwrap();
        let cause = StepFailure::Returned(PaymentError::Declined("no funds".into()));
        assert_eq!(
            recorded.decode::<StepFailure<PaymentError>>().unwrap(),
            cause
        );
    });
}

#[test]
fn empty_results_are_recorded_like_any_other() {
    const EMPTY: Workflow<(), ()> = Workflow::new("empty");
    let fixture = Fixture::new();
    let empty = |ctx: Context, (): ()| async move {
        ctx.step("unit", || async { Ok::<_, Failure>(()) }).await?;
        ctx.step("none", || async { Ok::<Option<u8>, Failure>(None) })
            .await?;
        ctx.step("false", || async { Ok::<_, Failure>(false) })
            .await?;
        ctx.step("text", || async { Ok::<_, Failure>(String::new()) })
            .await?;
        ctx.step("list", || async { Ok::<Vec<u8>, Failure>(vec![]) })
            .await?;
        Ok::<_, Failure>(())
    };
    let engine = fixture.builder().workflow(&EMPTY, empty).build().unwrap();
    fixture.clock.run(async {
        assert_eq!(
            engine.run(&EMPTY, "r", ()).await.unwrap(),
            Outcome::Completed(())
        );
        let history = fixture.records("r").await;
        let entries = history.iter().filter_map(|record| record.entry.as_ref());
        let steps: Vec<_> = entries
            .filter(|entry| entry.kind == EntryKind::StepCompleted)
            .collect();
        let texts: Vec<_> = steps
            .iter()
            .map(|step| step.payload.as_ref().unwrap().as_str())
            .collect();
        assert_eq!(texts, ["null", "null", "false", "\"\"", "[]"]);
    });
}

#[test]
fn parallel_steps_are_all_recorded_and_may_borrow() {
    const PARALLEL: Workflow<Vec<u32>, u32> = Workflow::new("parallel");
    let fixture = Fixture::new();
    let parallel = |ctx: Context, numbers: Vec<u32>| async move {
        let double = |n: u32| ctx.step("double", move || async move { Ok::<_, Failure>(n * 2) });
        let all = futures::future::try_join_all(numbers.iter().map(|n| double(*n))).await?;
        let sum = || async { Ok::<u32, Failure>(all.iter().sum()) };
        Ok::<_, Failure>(ctx.step("sum", sum).await?)
    };
    let engine = fixture
        .builder()
        .workflow(&PARALLEL, parallel)
        .build()
        .unwrap();
    fixture.clock.run(async {
        let outcome = engine
            .run(&PARALLEL, "r", (1..=100).collect())
            .await
            .unwrap();
        assert_eq!(outcome, Outcome::Completed(10_100));
        let history = fixture.records("r").await;
        let entries = history.iter().filter_map(|record| record.entry.as_ref());
        let mut doubles: Vec<_> = entries.filter(|entry| entry.name == "double").collect();
        doubles.sort_by_key(|entry| entry.occurrence);
        let results: Vec<u32> = doubles
            .iter()
            .map(|s| s.payload.as_ref().unwrap().decode().unwrap())
            .collect();
        assert_eq!(
            results,
            (1..=100).map(|n| n * 2).collect::<Vec<_>>(),
            "occurrences are claimed by the call"
        );
        assert!(engine.view("r").await.unwrap().unwrap().is_complete());
    });
}

#[test]
fn a_panic_is_the_failure_of_its_step_and_of_nothing_else() {
    const PANICS: Workflow<(), String> = Workflow::new("panics");
    const BODY: Workflow<(), ()> = Workflow::new("body-panics");
    let fixture = Fixture::new();
    let panics = |ctx: Context, (): ()| async move {
        let explode = || async {
            if true {
                panic!("boom")
            } else {
                Ok::<(), Failure>(())
            }
        };
        let error: StepError<Failure> = ctx.step("explode", explode).await.unwrap_err();
        ctx.step("go-on", || async { Ok::<_, Failure>(()) }).await?;
        Ok::<_, Failure>(error.to_string())
    };
    let body = |_: Context, (): ()| async move {
        if true {
            panic!("no step")
        } else {
            Ok::<(), Failure>(())
        }
    };
    let engine = fixture
        .builder()
        .workflow(&PANICS, panics)
        .workflow(&BODY, body)
        .build()
        .unwrap();
    fixture.clock.run(async {
        let outcome = engine.run(&PANICS, "r", ()).await.unwrap();
        assert_eq!(
            outcome,
            Outcome::Completed("step explode failed: it panicked: boom".into())
        );
        let Outcome::Failed(failure) = engine.run(&BODY, "b", ()).await.unwrap() else {
            panic!("it fails")
        };
        assert_eq!(
            (failure.info.kind.as_deref(), failure.error),
            (Some("panic"), None)
        );
        assert_eq!(
            types(&engine.history("b").await.unwrap()),
            ["workflow.started", "workflow.failed"]
        );
        assert_eq!(
            engine.run(&STEPS, "s", 1).await.unwrap(),
            Outcome::Completed(1),
            "the engine continues"
        );
    });
}

#[test]
fn a_result_without_a_json_form_is_a_typed_failure_that_names_the_step() {
    #[derive(Debug, Deserialize)]
    struct Opaque;
    impl Serialize for Opaque {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("opaque"))
        }
    }
    const OPAQUE: Workflow<(), String> = Workflow::new("opaque");
    let fixture = Fixture::new();
    let opaque = |ctx: Context, (): ()| async move {
        let error = ctx
            .step("open", || async { Ok::<_, Failure>(Opaque) })
            .await
            .unwrap_err();
        assert!(matches!(error.cause, StepFailure::Unencodable(_)));
        Ok::<_, Failure>(error.to_string())
    };
    let engine = fixture.builder().workflow(&OPAQUE, opaque).build().unwrap();
    fixture.clock.run(async {
        let outcome = engine.run(&OPAQUE, "r", ()).await.unwrap();
        assert_eq!(
            outcome,
            Outcome::Completed("step open failed: its result cannot be recorded: opaque".into())
        );
    });
}

#[test]
fn unknown_and_duplicate_names_are_refused_and_nothing_is_recorded() {
    const UNKNOWN: Workflow<(), ()> = Workflow::new("unknown");
    let fixture = Fixture::new();
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        assert!(matches!(
            engine.run(&UNKNOWN, "r", ()).await,
            Err(RunError::UnknownWorkflow { .. })
        ));
        assert!(engine.history("r").await.unwrap().is_empty());
        assert!(engine.view("r").await.unwrap().is_none());
    });
    let duplicate = fixture
        .builder()
        .workflow(&STEPS, support::steps)
        .build()
        .unwrap_err();
    assert_eq!(
        duplicate,
        BuildError::DuplicateWorkflow {
            name: "steps".into()
        }
    );
    let duplicate = fixture
        .builder()
        .sink("collector", fixture.sink.clone())
        .build()
        .unwrap_err();
    assert_eq!(
        duplicate,
        BuildError::DuplicateSink {
            name: "collector".into()
        }
    );
    assert_eq!(Engine::builder().build().unwrap_err(), BuildError::NoStore);
}

#[test]
fn a_step_body_may_run_without_being_static() {
    const BORROWS: Workflow<(), usize> = Workflow::new("borrows");
    let fixture = Fixture::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let borrows = move |ctx: Context, (): ()| {
        let log = log.clone();
        async move {
            let words = vec!["a".to_owned(), "b".to_owned()];
            let mut total = 0;
            for word in &words {
                total += ctx
                    .step("measure", || async { Ok::<_, Failure>(word.len()) })
                    .await?;
                log.lock().unwrap().push(word.clone());
            }
            Ok::<_, Failure>(total)
        }
    };
    let engine = fixture
        .builder()
        .workflow(&BORROWS, borrows)
        .build()
        .unwrap();
    fixture.clock.run(async {
        assert_eq!(
            engine.run(&BORROWS, "r", ()).await.unwrap(),
            Outcome::Completed(2)
        );
    });
    assert_eq!(*seen.lock().unwrap(), ["a", "b"]);
}
