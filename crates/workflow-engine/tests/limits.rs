//! Every store accepts the same values, and other values are refused before anything is written.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use workflow_engine::{
    BuildError, Cancel, CancelError, Cancelled, Context, Failure, NameError, Outcome, Retry,
    RunError, RunOptions, Status, StepFailure, Workflow,
};
use workflow_events::{CompletedSteps, EventKind};

use support::{Fixture, STEPS, Sink, run_until_done};

const HOUR: Duration = Duration::from_secs(3600);

/// Returns ids and names that are refused everywhere.
fn refused() -> Vec<String> {
    ["", "a\0b", "a\nb", "\u{7f}", "\u{1b}[31m"]
        .map(String::from)
        .into_iter()
        .chain(["x".repeat(3 << 20)])
        .collect()
}

#[test]
fn an_id_that_is_not_accepted_is_refused_and_nothing_is_written() {
    let fixture = Fixture::new();
    let engine = fixture.builder().build().unwrap();
    let is_id = |error: &RunError, wanted: &str| matches!(error, RunError::Id { what, .. } if *what == wanted);
    fixture.clock.run(async {
        for id in refused()
            .into_iter()
            .chain(["x".repeat(513), "é".repeat(257)])
        {
            let started = engine.start(&STEPS, id.as_str(), 1).await.unwrap_err();
            assert!(
                is_id(&started, "run id") && started.to_string().len() < 100,
                "{started}"
            );
            assert!(is_id(
                &engine.run(&STEPS, id.as_str(), 1).await.unwrap_err(),
                "run id"
            ));
            let options = RunOptions::new("r").execution_id(id.as_str());
            assert!(is_id(
                &engine.start(&STEPS, options, 1).await.unwrap_err(),
                "execution id"
            ));
            assert!(is_id(
                &engine
                    .handle(&STEPS, id.as_str())
                    .result()
                    .await
                    .unwrap_err(),
                "run id"
            ));
            let cancel = engine.cancel(&id, "no").await;
            assert!(matches!(cancel, Err(CancelError::Id(_))), "{cancel:?}");
        }
        assert!(engine.list(&Default::default()).await.unwrap().is_empty());
        for id in [
            "x".repeat(512),
            "é🦀 a/b?c=d\"\\".repeat(20),
            "\u{2028}".into(),
        ] {
            let options = RunOptions::new(id.as_str()).execution_id(id.as_str());
            assert_eq!(
                engine.run(&STEPS, options, 1).await.unwrap(),
                Outcome::Completed(1)
            );
            assert_eq!(
                engine.handle(&STEPS, id.as_str()).result().await.unwrap(),
                Outcome::Completed(1)
            );
        }
    });
}

#[test]
fn a_name_that_is_not_accepted_makes_no_engine() {
    for name in refused().into_iter().chain(["x".repeat(257)]) {
        let fixture = Fixture::new();
        let sink = fixture
            .builder()
            .sink(name.as_str(), Arc::new(Sink::new()))
            .build()
            .unwrap_err();
        assert!(
            matches!(sink, BuildError::Name { what: "sink", .. }) && sink.to_string().len() < 400,
            "{sink}"
        );
        let workflow: Workflow<u32, u32> = Workflow::new(Box::leak(name.into_boxed_str()));
        let workflow = fixture
            .builder()
            .workflow(&workflow, support::steps)
            .build()
            .unwrap_err();
        assert!(
            matches!(
                workflow,
                BuildError::Name {
                    what: "workflow",
                    ..
                }
            ),
            "{workflow}"
        );
    }
    let long: Workflow<u32, u32> = Workflow::new(Box::leak("x".repeat(256).into_boxed_str()));
    let fixture = Fixture::new();
    assert!(
        fixture
            .builder()
            .sink("x".repeat(256), fixture.sink.clone())
            .workflow(&long, support::steps)
            .build()
            .is_ok()
    );
}

#[test]
fn a_reason_of_several_mb_is_refused_and_the_run_goes_on() {
    let fixture = Fixture::new();
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        engine.start(&STEPS, "r", 1).await.unwrap();
        for bytes in [16 * 1024 + 1, 6_000_000] {
            let refused = engine.cancel("r", "x".repeat(bytes)).await.unwrap_err();
            assert!(
                matches!(refused, CancelError::Reason { bytes: b, limit: 16_384 } if b == bytes),
                "{refused}"
            );
        }
        assert_eq!(
            engine.handle(&STEPS, "r").status().await.unwrap(),
            Some(Status::Queued)
        );
        // A reason of the maximum length, of the characters that are longest in JSON, fits into its
        // event.
        let reason = "\u{1}".repeat(16 * 1024);
        assert_eq!(
            engine
                .cancel("r", Cancel::new(reason.as_str()))
                .await
                .unwrap(),
            Cancelled::Done
        );
        let end = engine.run(&STEPS, "r", 1).await.unwrap();
        assert_eq!(
            end,
            Outcome::Cancelled {
                reason: Some(reason)
            },
            "it comes back whole"
        );
        assert!(engine.flush().await.is_delivered());
        let kind = fixture.delivered().pop().unwrap().kind;
        let EventKind::WorkflowCancelled {
            reason: Some(reason),
            ..
        } = kind
        else {
            panic!("{}", kind.type_name())
        };
        assert!(reason.ends_with(" bytes cut)"), "{}", reason.len());
    });
}

#[test]
fn a_step_whose_name_is_not_accepted_fails_and_is_not_executed() {
    const NAMED: Workflow<String, String> = Workflow::new("named");
    let fixture = Fixture::new();
    let executed = Arc::new(AtomicU32::new(0));
    let counted = executed.clone();
    let named = move |ctx: Context, name: String| {
        let executed = counted.clone();
        async move {
            let mut failures = Vec::new();
            // The same name twice, and another name with the same beginning, are three different
            // operations.
            for name in [name.clone(), name.clone(), format!("{name}\0")] {
                let body = || async { Ok::<_, Failure>(executed.fetch_add(1, Ordering::Relaxed)) };
                let step = ctx
                    .step(name, body)
                    .retry(Retry::simple())
                    .retry_if(|_| true)
                    .timeout(HOUR);
                let error = step.await.unwrap_err();
                let StepFailure::InvalidName(problem) = error.cause else {
                    return Err(Failure::new("another cause"));
                };
                failures.push(problem);
                ctx.sleep(HOUR).await;
            }
            ctx.step("fine", || async { Ok::<_, Failure>(()) }).await?;
            Ok(failures.join("; "))
        }
    };
    let engine = fixture.builder().workflow(&NAMED, named).build().unwrap();
    fixture.clock.run(async {
        for (n, name) in refused().into_iter().chain(["x".repeat(513)]).enumerate() {
            let id = format!("r-{n}");
            let shown: String = name.chars().take(10).collect();
            // A name of several MB does not fit into an input.
            let name = if name.len() > 1 << 20 {
                "x".repeat(1 << 19)
            } else {
                name
            };
            let _ = engine.run(&NAMED, id.as_str(), name.clone()).await.unwrap();
            run_until_done(&fixture, &engine).await;
            let Outcome::Completed(problems) = engine.run(&NAMED, id.as_str(), name).await.unwrap()
            else {
                panic!("{shown:?} does not complete")
            };
            assert_eq!(problems.split("; ").count(), 3, "{problems}");
            let names = fixture
                .records(&id)
                .await
                .into_iter()
                .filter_map(|record| record.entry)
                .map(|entry| entry.name);
            for name in names {
                assert!(
                    name.len() < 200 && !name.chars().any(char::is_control),
                    "{name:?}"
                );
            }
            let view = engine.view(&id).await.unwrap().unwrap();
            assert_eq!(
                (view.completed_steps(), view.is_complete()),
                (["fine".to_owned()].as_slice(), true)
            );
        }
        assert_eq!(executed.load(Ordering::Relaxed), 0, "no body is executed");
    });
}

#[test]
fn a_run_of_forty_thousand_steps_ends_with_an_event_that_a_receiver_takes() {
    const MANY: Workflow<(), ()> = Workflow::new("many");
    let fixture = Fixture::new();
    let many = |ctx: Context, (): ()| async move {
        for batch in 0..40 {
            let steps = (0..1_000).map(|n| {
                ctx.step(format!("step-{}", batch * 1_000 + n), || async {
                    Ok::<_, Failure>(())
                })
            });
            futures::future::try_join_all(steps).await?;
        }
        Ok(())
    };
    let engine = fixture.builder().workflow(&MANY, many).build().unwrap();
    fixture.clock.run(async {
        let outcome = engine.run(&MANY, "r", ()).await.unwrap();
        assert_eq!(outcome, Outcome::Completed(()));
        assert_eq!(
            engine
                .handle(&MANY, "r")
                .completed_steps()
                .await
                .unwrap()
                .len(),
            40_000,
            "nothing is lost"
        );
        let last = fixture
            .records("r")
            .await
            .pop()
            .unwrap()
            .events
            .pop()
            .unwrap();
        assert!(
            last.as_str().len() < 128 * 1024,
            "{} bytes",
            last.as_str().len()
        );
        let EventKind::WorkflowCompleted {
            completed_steps, ..
        } = last.decode().unwrap().kind
        else {
            panic!("{last:?}")
        };
        let expected: Vec<_> = (0..40_000).map(|n| format!("step-{n}")).collect();
        assert_eq!(completed_steps, CompletedSteps::from(expected));
        assert_eq!(
            (completed_steps.count(), completed_steps.names().len()),
            (40_000, 1_000)
        );
        assert!(engine.view("r").await.unwrap().unwrap().is_complete());
    });
}

#[test]
fn the_words_of_a_refusal_say_what_is_wrong_and_show_no_secret() {
    let error = NameError::ControlCharacter {
        character: '\0',
        at: 3,
    };
    assert_eq!(
        error.to_string(),
        "it has a control character, '\\0', at byte 3"
    );
    let error = RunError::Id {
        what: "run id",
        source: NameError::TooLong {
            bytes: 3_000_000,
            limit: 512,
        },
    };
    assert_eq!(
        error.to_string(),
        "the run id is not accepted: it has 3000000 bytes, and the limit is 512"
    );
}
