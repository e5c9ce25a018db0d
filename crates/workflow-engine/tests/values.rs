//! Values are read as they were written, and events carry them unchanged: numbers of any size,
//! nesting, errors of every form. A value that cannot be read back is refused before anything is
//! written.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use workflow_engine::{
    Context, DurableError, Failure, NotCompletedError, Outcome, Payload, RunError, StepError,
    StepFailure, Workflow,
};
use workflow_events::EventKind;

use support::{Fixture, run_until_done};

const HOUR: Duration = Duration::from_secs(3600);

/// Returns the input through a step and a sleep, so that the value passes every place that stores
/// one.
async fn echo<T>(ctx: Context, input: T) -> Result<T, Failure>
where
    T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let echoed = ctx
        .step("echo", || async { Ok::<_, Failure>(input.clone()) })
        .await?;
    ctx.sleep(HOUR).await;
    Ok(echoed)
}

fn json(text: &str) -> Payload {
    Payload::from_json(text.to_owned()).unwrap()
}

fn nested(levels: usize, inner: &str) -> String {
    "[".repeat(levels) + inner + &"]".repeat(levels)
}

#[test]
fn inputs_that_differ_beyond_64_bits_are_different_inputs() {
    const LARGE: Workflow<u128, u128> = Workflow::new("large");
    let fixture = Fixture::new();
    let engine = fixture.builder().workflow(&LARGE, echo).build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&LARGE, "r", u128::MAX).await.unwrap();
        let other = engine.run(&LARGE, "r", u128::MAX - 1).await;
        assert!(
            matches!(other, Err(RunError::Conflict { what: "input", .. })),
            "{other:?}"
        );
        run_until_done(&fixture, &engine).await;
        assert_eq!(
            engine.run(&LARGE, "r", u128::MAX).await.unwrap(),
            Outcome::Completed(u128::MAX)
        );
        let view = engine.view("r").await.unwrap().unwrap();
        assert_eq!(
            view.input(),
            Some(&json("340282366920938463463374607431768211455"))
        );
        assert_eq!(view.output(), view.input());
        let large = |event: &&workflow_engine::EncodedEvent| {
            event
                .as_str()
                .contains("340282366920938463463374607431768211455")
        };
        assert_eq!(
            fixture.sink.delivered().iter().filter(large).count(),
            2,
            "started and completed"
        );
    });
}

#[test]
fn the_order_of_fields_and_the_form_of_a_number_are_no_part_of_an_input() {
    const ANY: Workflow<Payload, Payload> = Workflow::new("any");
    let fixture = Fixture::new();
    let engine = fixture.builder().workflow(&ANY, echo).build().unwrap();
    fixture.clock.run(async {
        let _ = engine
            .run(&ANY, "r", json(r#"{"a":1.50,"b":"\u00e9"}"#))
            .await
            .unwrap();
        for same in [r#"{"b":"é","a":1.5}"#, r#"{ "a": 15e-1, "b": "é" }"#] {
            let _ = engine.run(&ANY, "r", json(same)).await.unwrap();
        }
        for other in [
            r#"{"a":1.5}"#,
            r#"{"a":1.5,"b":"e"}"#,
            r#"{"a":1.5000000000000000000001,"b":"é"}"#,
        ] {
            let other = engine.run(&ANY, "r", json(other)).await;
            assert!(
                matches!(other, Err(RunError::Conflict { what: "input", .. })),
                "{other:?}"
            );
        }
    });
}

#[test]
fn a_value_at_the_limit_of_depth_is_read_by_every_reader() {
    const ANY: Workflow<Payload, Payload> = Workflow::new("any");
    let fixture = Fixture::new();
    let engine = fixture.builder().workflow(&ANY, echo).build().unwrap();
    fixture.clock.run(async {
        let deep = json(&nested(100, "1e400"));
        engine.start(&ANY, "r", deep.clone()).await.unwrap();
        run_until_done(&fixture, &engine).await;
        assert_eq!(
            engine.handle(&ANY, "r").result().await.unwrap(),
            Outcome::Completed(deep)
        );
        // This includes a reader that reads numbers as floats, and has a limit of 128 levels.
        let deep = nested(100, "7");
        let delivered = fixture.sink.delivered();
        assert_eq!(
            delivered
                .iter()
                .filter(|event| event.as_str().contains(&nested(100, "1e400")))
                .count(),
            3
        );
        for event in delivered {
            serde_json::from_str::<serde_json::Value>(&event.as_str().replace("1e400", "7"))
                .unwrap();
        }
        assert_eq!(json(&deep).depth(), 100);
    });
}

#[test]
fn a_value_that_is_too_deep_is_refused_before_it_is_written() {
    const ANY: Workflow<Payload, Payload> = Workflow::new("any");
    const STEP: Workflow<usize, String> = Workflow::new("step");
    const OUTPUT: Workflow<usize, Payload> = Workflow::new("output");
    let fixture = Fixture::new();
    let step = |ctx: Context, levels: usize| async move {
        let mut executed = 0;
        let step = ctx.step("deep", || {
            executed += 1;
            async move { Ok::<_, Failure>(json(&nested(levels, ""))) }
        });
        let error = step
            .retry(workflow_engine::Retry::simple())
            .await
            .unwrap_err();
        assert!(executed <= 1, "it is not tried again");
        ctx.sleep(HOUR).await;
        match error.cause {
            StepFailure::TooDeep { levels, limit } => Ok(format!("{levels} of {limit}")),
            other => Err(Failure::new(other.to_string())),
        }
    };
    let output =
        |_: Context, levels: usize| async move { Ok::<_, Failure>(json(&nested(levels, ""))) };
    let engine = fixture
        .builder()
        .workflow(&ANY, echo)
        .workflow(&STEP, step)
        .workflow(&OUTPUT, output)
        .build()
        .unwrap();
    fixture.clock.run(async {
        for levels in [101, 127, 128, 10_000] {
            let refused = engine.run(&ANY, "r", json(&nested(levels, ""))).await;
            assert!(
                matches!(refused, Err(RunError::InputTooDeep { levels: l, limit: 100 }) if l == levels),
                "{refused:?}"
            );
            assert!(engine.history("r").await.unwrap().is_empty(), "nothing is recorded");

            let step = format!("step-{levels}");
            let output = format!("output-{levels}");
            let _ = engine.run(&STEP, step.as_str(), levels).await.unwrap();
            run_until_done(&fixture, &engine).await;
            let end = engine.run(&STEP, step.as_str(), levels).await.unwrap();
            assert_eq!(end, Outcome::Completed(format!("{levels} of 100")));
            let failure = failed(engine.run(&OUTPUT, output.as_str(), levels).await.unwrap());
            assert_eq!(failure.info.kind.as_deref(), Some("tooDeep"));
            for id in [step, output] {
                assert!(!engine.history(&id).await.unwrap().is_empty(), "it can be read");
            }
        }
    });
}

#[test]
fn an_input_that_json_cannot_carry_is_refused_before_it_is_written() {
    const FLOAT: Workflow<f64, f64> = Workflow::new("float");
    const FLOATS: Workflow<Vec<Option<f32>>, ()> = Workflow::new("floats");
    const ODD: Workflow<Odd, ()> = Workflow::new("odd");
    let fixture = Fixture::new();
    let builder = fixture.builder().workflow(&FLOAT, echo);
    let builder = builder.workflow(&FLOATS, |_: Context, _| async { Ok::<_, Failure>(()) });
    let engine = builder
        .workflow(&ODD, |_: Context, _| async { Ok::<_, Failure>(()) })
        .build()
        .unwrap();
    fixture.clock.run(async {
        for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let refused = engine.run(&FLOAT, "r", float).await;
            assert!(matches!(refused, Err(RunError::Input(_))), "{refused:?}");
        }
        let refused = engine.start(&FLOATS, "r", vec![None, Some(f32::NAN)]).await;
        assert!(matches!(refused, Err(RunError::Input(_))), "{refused:?}");
        let refused = engine.start(&ODD, "r", Odd("not a number".into())).await;
        assert!(
            matches!(refused, Err(RunError::InputUnreadable(_))),
            "{refused:?}"
        );
        assert!(
            engine.history("r").await.unwrap().is_empty(),
            "nothing is recorded"
        );
        for float in [
            f64::MAX,
            f64::MIN_POSITIVE,
            -0.0,
            0.1,
            121.487_919_511_619_45,
        ] {
            let _ = engine.run(&FLOAT, float.to_string(), float).await.unwrap();
            run_until_done(&fixture, &engine).await;
            let Outcome::Completed(output) =
                engine.run(&FLOAT, float.to_string(), float).await.unwrap()
            else {
                panic!("it completes")
            };
            assert_eq!(output.to_bits(), float.to_bits());
        }
    });
}

/// A value that is written as a text and read as a number.
#[derive(Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "u32")]
struct Odd(String);

impl Clone for Odd {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl From<Odd> for String {
    fn from(odd: Odd) -> Self {
        odd.0
    }
}

impl From<u32> for Odd {
    fn from(number: u32) -> Self {
        Self(number.to_string())
    }
}

/// A user's error that has a step's error in an enum with an internal tag: serde buffers its value
/// before decoding.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "type")]
enum OrderError {
    #[error("charging: {cause}")]
    Charge { cause: Failure },
    #[error("packing: {cause}")]
    Pack { cause: StepError<Failure> },
    #[error("called off")]
    CalledOff,
}

impl DurableError for OrderError {}

/// An error without fields: its JSON form is `null`.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("oops")]
struct Oops;

impl DurableError for Oops {}

#[test]
fn an_error_comes_back_as_it_was_whatever_its_form() {
    const ORDER: Workflow<u32, (), OrderError> = Workflow::new("order");
    const UNIT: Workflow<(), (), Oops> = Workflow::new("unit");
    const PANICS: Workflow<(), (), Oops> = Workflow::new("panics");
    let fixture = Fixture::new();
    let details = || json(r#"{"code":340282366920938463463374607431768211455,"list":[null,{}]}"#);
    let order = move |ctx: Context, way: u32| async move {
        let declined = move || async move {
            Err::<(), _>(
                Failure::new("declined")
                    .with_kind("k")
                    .with_details(details()),
            )
        };
        let error = ctx.step("charge", declined).await.unwrap_err();
        ctx.sleep(HOUR).await;
        assert_eq!(
            error.cause,
            StepFailure::Returned(
                Failure::new("declined")
                    .with_kind("k")
                    .with_details(details())
            )
        );
        Err(match way {
            0 => OrderError::Charge {
                cause: Failure::new("small").with_details(json("{\"a\":[1,null]}")),
            },
            1 => OrderError::Pack {
                cause: StepError {
                    step: "pack".into(),
                    attempt: 1,
                    cause: StepFailure::Panicked("p".into()),
                },
            },
            _ => OrderError::CalledOff,
        })
    };
    let unit = |ctx: Context, (): ()| async move {
        let error = ctx
            .step("oops", || async { Err::<(), _>(Oops) })
            .await
            .unwrap_err();
        assert_eq!(error.cause, StepFailure::Returned(Oops));
        ctx.sleep(HOUR).await;
        Err(Oops)
    };
    let panics = |_: Context, (): ()| async move { panic!("not an oops") };
    let engine = fixture
        .builder()
        .workflow(&ORDER, order)
        .workflow(&UNIT, unit)
        .workflow(&PANICS, panics)
        .build()
        .unwrap();
    fixture.clock.run(async {
        for way in 0..3 {
            let id = format!("order-{way}");
            let _ = engine.run(&ORDER, id.as_str(), way).await.unwrap();
            run_until_done(&fixture, &engine).await;
            let error = failed(engine.run(&ORDER, id.as_str(), way).await.unwrap())
                .error
                .unwrap();
            let expected = [
                "charging: small",
                "packing: step pack failed: it panicked: p",
                "called off",
            ];
            assert_eq!(error.to_string(), expected[way as usize]);
            let history = engine.history(&id).await.unwrap();
            let recorded = history.iter().find_map(|event| match &event.kind {
                EventKind::StepFailed { error, .. } => error.details.clone(),
                _ => None,
            });
            assert_eq!(recorded, Some(details()));
        }
        let _ = engine.run(&UNIT, "unit", ()).await.unwrap();
        run_until_done(&fixture, &engine).await;
        assert_eq!(
            failed(engine.run(&UNIT, "unit", ()).await.unwrap()).error,
            Some(Oops)
        );
        assert_eq!(
            failed(engine.handle(&UNIT, "unit").result().await.unwrap()).error,
            Some(Oops)
        );
        assert_eq!(
            failed(engine.run(&PANICS, "panics", ()).await.unwrap()).error,
            None
        );
    });
}

fn failed<O, E>(outcome: Outcome<O, E>) -> workflow_engine::WorkflowError<E> {
    match outcome.completed() {
        Err(NotCompletedError::Failed(failure)) => failure,
        _ => panic!("it did not fail"),
    }
}
