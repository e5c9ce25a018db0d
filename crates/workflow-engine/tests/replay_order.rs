//! A replay takes the same branches as the first execution, even where futures are kept across
//! other awaits.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::future::{join, poll_fn};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use workflow_engine::{
    Context, DeterminismError, Engine, Failure, Outcome, RunError, Status, Store, Workflow,
};

use support::*;

const WF: Workflow<(), String> = Workflow::new("wf");
const HOUR: Duration = Duration::from_secs(3600);

async fn ok<T>(value: T) -> Result<T, Failure> {
    Ok(value)
}

/// Executes a workflow twenty times up to a sleep, and replays it after the sleep. Each execution
/// adds a line to `ways`.
fn replays<F, Fut>(function: F) -> Vec<(String, String)>
where
    F: Fn(Context, Arc<Mutex<Vec<String>>>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<String, Failure>> + Send + 'static,
{
    let execute = |_| {
        let fixture = Fixture::new();
        let ways = Arc::<Mutex<Vec<String>>>::default();
        let function = function.clone();
        let seen = ways.clone();
        let workflow = move |ctx: Context, (): ()| function(ctx, seen.clone());
        let engine = fixture.builder().workflow(&WF, workflow).build().unwrap();
        fixture.clock.run(async {
            let paused = engine.run(&WF, "r", ()).await.unwrap();
            assert!(matches!(paused, Outcome::Suspended { .. }), "{paused:?}");
            run_until_done(&fixture, &engine).await;
            let run = fixture.store.run("r").await.unwrap().unwrap();
            assert_eq!(run.status, Status::Completed, "the replay got stuck");
        });
        let mut ways = std::mem::take(&mut *ways.lock().unwrap());
        assert_eq!(ways.len(), 2, "one execution and one replay");
        (ways.remove(0), ways.remove(0))
    };
    (0..20).map(execute).collect()
}

fn assert_same(ways: &[(String, String)]) {
    let differ: Vec<_> = ways
        .iter()
        .filter(|(live, replayed)| live != replayed)
        .collect();
    assert!(
        differ.is_empty(),
        "{} of {} replays took another branch: {differ:?}",
        differ.len(),
        ways.len()
    );
}

#[test]
fn a_select_over_kept_steps_takes_the_same_branches() {
    assert_same(&replays(|ctx, ways| async move {
        let mut a = ctx.step("a", || ok("a".to_owned())).fuse();
        let mut b = ctx.step("b", || ok("b".to_owned())).fuse();
        let mut c = ctx.step("c", || ok("c".to_owned())).fuse();
        let mut way = String::new();
        for _ in 0..3 {
            let won = futures::select! { x = a => x?, x = b => x?, x = c => x? };
            let handled = ctx.step("handle", || ok(format!("handled {won}"))).await?;
            // The recorded results do not show which branch the replay took, but this line does.
            way += &format!("{won}: {handled}, ");
        }
        ways.lock().unwrap().push(way.clone());
        ctx.sleep(HOUR).await;
        Ok(way)
    }));
}

#[test]
fn unordered_steps_that_are_kept_come_in_the_same_order() {
    assert_same(&replays(|ctx, ways| async move {
        let mut steps: FuturesUnordered<_> =
            (0..8u32).map(|n| ctx.step("n", move || ok(n))).collect();
        let mut way = String::new();
        while let Some(n) = steps.next().await {
            let n = n?;
            if n % 3 == 0 {
                ctx.step("handle", move || ok(n)).await?;
            }
            way += &format!("{n} at {}, ", ctx.now());
        }
        ways.lock().unwrap().push(way.clone());
        drop(steps);
        ctx.sleep(HOUR).await;
        Ok(way)
    }));
}

#[test]
fn a_sleep_kept_against_steps_loses_or_wins_as_before() {
    assert_same(&replays(|ctx, ways| async move {
        let mut timer = ctx.sleep(Duration::from_millis(20)).fuse();
        let mut way = String::new();
        for n in 0..6u32 {
            let mut step = ctx.step("s", move || ok(n)).fuse();
            futures::select! { () = timer => way += "timer ", n = step => way += &format!("{} ", n?) };
            ctx.step("between", move || ok(n)).await?;
            if n == 3 {
                ctx.sleep(Duration::from_millis(30)).await;
            }
        }
        ways.lock().unwrap().push(way.clone());
        ctx.sleep(HOUR).await;
        Ok(way)
    }));
}

/// State of a future that is ready after the test has polled `polls` times. Tokio defers wakers in
/// this way when a task has used up its budget.
struct Deferred {
    polls: u32,
    waker: Option<Waker>,
}

fn deferring(polls: u32) -> (Engine, impl Future<Output = ()>) {
    let fixture = Fixture::new();
    let deferred = Arc::new(Mutex::new(Deferred { polls, waker: None }));
    let awaited = deferred.clone();
    let workflow = move |ctx: Context, (): ()| {
        let awaited = awaited.clone();
        async move {
            poll_fn(|cx| {
                let mut awaited = awaited.lock().unwrap();
                awaited.waker = Some(cx.waker().clone());
                if awaited.polls == 0 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            ctx.step("behind", || ok(())).await?;
            Ok::<_, Failure>("done".to_owned())
        }
    };
    let counts = poll_fn(move |cx| {
        let mut deferred = deferred.lock().unwrap();
        if deferred.polls == 0 {
            return Poll::Ready(());
        }
        deferred.polls -= 1;
        if deferred.polls == 0
            && let Some(waker) = deferred.waker.take()
        {
            waker.wake();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    (
        fixture.builder().workflow(&WF, workflow).build().unwrap(),
        counts,
    )
}

#[test]
fn a_waker_that_comes_late_is_no_wait_for_what_is_not_durable() {
    let (engine, counts) = deferring(61);
    let (outcome, ()) = futures::executor::block_on(join(engine.run(&WF, "r", ()), counts));
    assert_eq!(outcome.unwrap(), Outcome::Completed("done".into()));
}

#[test]
fn a_waker_that_never_comes_is_a_wait_for_what_is_not_durable() {
    let (engine, _never) = deferring(1);
    let refused = futures::executor::block_on(engine.run(&WF, "r", ())).unwrap_err();
    assert!(
        matches!(
            refused,
            RunError::Determinism {
                error: DeterminismError::NotDurable,
                ..
            }
        ),
        "{refused}"
    );
}
