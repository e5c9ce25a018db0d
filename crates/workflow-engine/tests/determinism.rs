//! Code that does not fit its history, or waits for something that is not durable, gets an error,
//! and its run stays unchanged.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::time::Duration;

use tracker_core::Clock;
use workflow_engine::{
    Context, DeterminismError, Engine, Failure, Outcome, RunError, Status, Workflow,
};

use support::{Fixture, now, run_until_done};

const WF: Workflow<(), String> = Workflow::new("wf");
const HOUR: Duration = Duration::from_secs(3600);

async fn ok<T>(value: T) -> Result<T, Failure> {
    Ok(value)
}

/// Makes an engine whose code for [`WF`] is `function`.
fn deployed<F, Fut>(fixture: &Fixture, function: F) -> Engine
where
    F: Fn(Context, ()) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<String, Failure>> + Send + 'static,
{
    fixture.builder().workflow(&WF, function).build().unwrap()
}

/// The first version of the code: two steps, an hour of sleep, a third step.
async fn original(ctx: Context, (): ()) -> Result<String, Failure> {
    ctx.step("reserve", || ok(1)).await?;
    ctx.step("charge", || ok(2)).await?;
    ctx.sleep(HOUR).await;
    ctx.step("ship", || ok(3)).await?;
    Ok("shipped".into())
}

/// Suspends a run of the original code, deploys other code, and returns the error of the run.
fn changed<F, Fut>(function: F) -> DeterminismError
where
    F: Fn(Context, ()) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<String, Failure>> + Send + 'static,
{
    let fixture = Fixture::new();
    let before = deployed(&fixture, original);
    let after = deployed(&fixture, function);
    fixture.clock.run(async {
        let _ = before.run(&WF, "r", ()).await.unwrap();
        fixture.clock.sleep(HOUR).await;
        let event_types = fixture.event_types("r").await;
        let outcome = after.run(&WF, "r", ()).await;
        let Err(RunError::Determinism { error, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(
            fixture.event_types("r").await,
            event_types,
            "nothing is recorded"
        );
        assert_eq!(
            after.handle(&WF, "r").status().await.unwrap(),
            Some(Status::Suspended),
            "and nothing has changed"
        );
        run_until_done(&fixture, &before).await;
        assert_eq!(
            before.run(&WF, "r", ()).await.unwrap(),
            Outcome::Completed("shipped".into()),
            "the old code continues"
        );
        error
    })
}

#[test]
fn a_step_with_another_name() {
    let error = changed(|ctx, ()| async move {
        ctx.step("reserve", || ok(1)).await?;
        ctx.step("pay", || ok(2)).await?;
        Ok(String::new())
    });
    let expected =
        "the history continues with step \"charge\" #1, but the code waits for step \"pay\" #1";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn steps_in_another_order() {
    let error = changed(|ctx, ()| async move {
        ctx.step("charge", || ok(2)).await?;
        ctx.step("reserve", || ok(1)).await?;
        Ok(String::new())
    });
    assert_eq!(
        error.to_string(),
        "the history continues with step \"reserve\" #1, but the code waits for step \"charge\" #1"
    );
}

#[test]
fn a_sleep_where_a_step_was() {
    let error = changed(|ctx, ()| async move {
        ctx.step("reserve", || ok(1)).await?;
        ctx.sleep(HOUR).await;
        Ok(String::new())
    });
    assert_eq!(
        error.to_string(),
        "the history continues with step \"charge\" #1, but the code waits for sleep #1"
    );
}

#[test]
fn a_sleep_of_another_length() {
    let error = changed(|ctx, ()| async move {
        ctx.step("reserve", || ok(1)).await?;
        ctx.step("charge", || ok(2)).await?;
        ctx.sleep(HOUR * 2).await;
        Ok(String::new())
    });
    let expected = "the history has sleep #1 with {\"ms\":3600000}, but the code calls it with {\"ms\":7200000}";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_sleep_that_the_code_no_longer_has() {
    let error = changed(|ctx, ()| async move {
        ctx.step("reserve", || ok(1)).await?;
        ctx.step("charge", || ok(2)).await?;
        ctx.step("ship", || ok(3)).await?;
        Ok(String::new())
    });
    assert_eq!(
        error.to_string(),
        "the history continues with sleep #1, but the code waits for step \"ship\" #1"
    );
}

#[test]
fn records_that_the_code_never_requests() {
    let error = changed(|ctx, ()| async move {
        ctx.step("reserve", || ok(1)).await?;
        Ok("that is all".into())
    });
    assert_eq!(
        error,
        DeterminismError::LeftOver {
            recorded: "step \"charge\" #1".into()
        }
    );
}

#[test]
fn a_result_of_another_type() {
    let error = changed(|ctx, ()| async move {
        ctx.step("reserve", || ok("text".to_owned())).await?;
        Ok(String::new())
    });
    assert!(
        matches!(error, DeterminismError::Type { operation, .. } if operation == "step \"reserve\" #1")
    );
}

/// Returns the error of a new run with this code.
fn refused<F, Fut>(fixture: &Fixture, function: F) -> String
where
    F: Fn(Context, ()) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<String, Failure>> + Send + 'static,
{
    let engine = deployed(fixture, function);
    fixture.clock.run(async {
        let outcome = engine.run(&WF, "r", ()).await;
        let Err(RunError::Determinism { error, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        error.to_string()
    })
}

#[test]
fn an_operation_inside_a_step() {
    let nested = |ctx: Context, (): ()| async move {
        let inner = || async {
            ctx.step("inner", || ok(())).await?;
            ok(String::new()).await
        };
        Ok(ctx.step("outer", inner).await?)
    };
    let expected = "step \"inner\" #1 is called inside step \"outer\": a step's body cannot call durable operations";
    assert_eq!(refused(&Fixture::new(), nested), expected);
}

#[test]
fn randomness_inside_a_step() {
    let nested = |ctx: Context, (): ()| async move {
        Ok(ctx.step("outer", || ok(ctx.uuid().to_string())).await?)
    };
    let expected =
        "uuid is called inside step \"outer\": a step's body cannot call durable operations";
    assert_eq!(refused(&Fixture::new(), nested), expected);
}

#[test]
fn waiting_for_what_is_not_durable() {
    let fixture = Fixture::new();
    let clock = fixture.clock.clone();
    let waits = move |_: Context, (): ()| {
        let clock = clock.clone();
        async move {
            clock.sleep(HOUR).await;
            ok(String::new()).await
        }
    };
    let expected = "the code waits for something that is not durable: put it inside a step";
    assert_eq!(refused(&fixture, waits), expected);
}

#[test]
fn a_context_in_a_spawned_task() {
    let spawns = |ctx: Context, (): ()| async move {
        let task = std::thread::spawn(move || {
            futures::executor::block_on(async { ctx.step("there", || ok(())).await })
        });
        let waits = async { futures::future::pending::<()>().await };
        waits.await;
        drop(task);
        ok(String::new()).await
    };
    // Either is seen first: the operation of the foreign task, or that the workflow itself waits
    // for nothing durable.
    let fixture = Fixture::new();
    let message = refused(&fixture, spawns);
    let expected = "step \"there\" #1 is used outside of the workflow's own future, for instance in a spawned task";
    assert!(
        message == expected || message.contains("not durable"),
        "{message}"
    );
}

#[test]
fn a_plain_delay_inside_a_step_is_fine() {
    let fixture = Fixture::new();
    let clock = fixture.clock.clone();
    let delays = move |ctx: Context, (): ()| {
        let clock = clock.clone();
        async move {
            let body = || async {
                clock.sleep(HOUR).await;
                ok("waited".to_owned()).await
            };
            Ok(ctx.step("wait", body).await?)
        }
    };
    let engine = deployed(&fixture, delays);
    fixture.clock.run(async {
        assert_eq!(
            engine.run(&WF, "r", ()).await.unwrap(),
            Outcome::Completed("waited".into())
        );
    });
}

#[test]
fn waiting_for_a_branch_of_the_same_workflow_is_fine() {
    let fixture = Fixture::new();
    let talks = |ctx: Context, (): ()| async move {
        let (sender, receiver) = futures::channel::oneshot::channel();
        let says = async {
            let greeting = ctx.step("say", || ok("hello".to_owned())).await?;
            let _ = sender.send(greeting);
            Ok::<_, Failure>(())
        };
        let receives = async { Ok::<_, Failure>(receiver.await?) };
        Ok(futures::future::try_join(says, receives).await?.1)
    };
    let engine = deployed(&fixture, talks);
    fixture.clock.run(async {
        assert_eq!(
            engine.run(&WF, "r", ()).await.unwrap(),
            Outcome::Completed("hello".into())
        );
    });
}

#[test]
fn time_and_randomness_are_the_same_in_a_replay() {
    let fixture = Fixture::new();
    let draws = |ctx: Context, (): ()| async move {
        let before = format!("{} {} {}", ctx.now(), ctx.random(), ctx.uuid());
        ctx.step("record", || ok(before.clone())).await?;
        ctx.sleep(HOUR).await;
        let recorded = ctx.step("again", || ok(())).await.map(|()| before)?;
        Ok(format!("{recorded} {} {}", ctx.now(), ctx.uuid()))
    };
    let engine = deployed(&fixture, draws);
    fixture.clock.run(async {
        let _ = engine.run(&WF, "r", ()).await.unwrap();
        let records = fixture.records("r").await;
        let step = records
            .iter()
            .filter_map(|record| record.entry.as_ref())
            .find(|entry| entry.name == "record");
        let first: String = step.unwrap().payload.as_ref().unwrap().decode().unwrap();
        run_until_done(&fixture, &engine).await;
        let Outcome::Completed(output) = engine.run(&WF, "r", ()).await.unwrap() else {
            panic!()
        };
        assert!(output.starts_with(&first), "{output} after {first}");
        assert_eq!(
            output.split(' ').nth(3).unwrap(),
            now(&fixture).to_string(),
            "the time has moved on with the sleep"
        );
        let _ = engine.run(&WF, "another", ()).await.unwrap();
        let other = fixture.records("another").await;
        let other = other[1]
            .entry
            .as_ref()
            .unwrap()
            .payload
            .as_ref()
            .unwrap()
            .decode::<String>()
            .unwrap();
        assert_ne!(
            other.split(' ').nth(1),
            first.split(' ').nth(1),
            "another run draws other numbers"
        );
    });
}

#[test]
fn a_worker_leaves_such_a_run_and_tries_again_after_thirty_seconds() {
    let fixture = Fixture::new();
    let before = deployed(&fixture, original);
    let after = deployed(&fixture, |_, ()| async { Ok("nothing of that".to_owned()) });
    fixture.clock.run(async {
        let _ = before.run(&WF, "r", ()).await.unwrap();
        fixture.clock.sleep(HOUR).await;
        let event_types = fixture.event_types("r").await;
        for _ in 0..20 {
            let idle = after.run_until_idle().await.unwrap();
            let rest = idle.next_wake.unwrap().duration_since(now(&fixture));
            assert_eq!((idle.executed, rest), (1, Duration::from_secs(30)));
            fixture.clock.sleep(rest).await;
        }
        assert_eq!(
            fixture.event_types("r").await,
            event_types,
            "nothing is recorded, however often it is tried"
        );
        run_until_done(&fixture, &before).await;
        assert_eq!(
            before.run(&WF, "r", ()).await.unwrap(),
            Outcome::Completed("shipped".into())
        );
    });
}
