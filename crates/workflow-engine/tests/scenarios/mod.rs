//! Workflows for crash enumeration, which kills their processes, on every store.

#![allow(
    unreachable_pub,
    reason = "test binaries of two crates compile this module"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use workflow_engine::{Cancel, Context, Engine, EngineBuilder, Failure, Retry, Status, Workflow};
use workflow_testing::Effects;

/// A workflow, and the script of a process that executes it.
pub struct Scenario {
    pub name: &'static str,
    pub build: fn(EngineBuilder, &Effects) -> EngineBuilder,
    pub script: fn(Engine) -> BoxFuture<'static, ()>,
    pub sinks: usize,
    /// The statuses that are correct besides the one without a crash.
    pub accepting: &'static [Status],
}

const WF: Workflow<u32, u32> = Workflow::new("scenario");

pub const ALL: &[Scenario] = &[
    Scenario {
        name: "one step",
        build: |b, e| steps(b, e),
        script: |e| run(e, 1),
        sinks: 1,
        accepting: &[],
    },
    Scenario {
        name: "three steps",
        build: |b, e| steps(b, e),
        script: |e| run(e, 3),
        sinks: 1,
        accepting: &[],
    },
    Scenario {
        name: "start then run",
        build: |b, e| steps(b, e),
        script: start_then_run,
        sinks: 1,
        accepting: &[],
    },
    Scenario {
        name: "two sinks",
        build: |b, e| steps(b, e),
        script: |e| run(e, 2),
        sinks: 2,
        accepting: &[],
    },
    Scenario {
        name: "parallel steps",
        build: parallel,
        script: |e| run(e, 3),
        sinks: 1,
        accepting: &[],
    },
    Scenario {
        name: "retry then success",
        build: retry,
        script: |e| run(e, 2),
        sinks: 1,
        accepting: &[],
    },
    Scenario {
        name: "exhausted, fallback",
        build: fallback,
        script: |e| run(e, 2),
        sinks: 1,
        accepting: &[],
    },
    Scenario {
        name: "sleep",
        build: sleep,
        script: |e| run(e, 1),
        sinks: 1,
        accepting: &[],
    },
    Scenario {
        name: "timeout",
        build: timeout,
        script: |e| run(e, 1),
        sinks: 1,
        accepting: &[],
    },
    Scenario {
        name: "select",
        build: select,
        script: |e| run(e, 1),
        sinks: 1,
        accepting: &[],
    },
    Scenario {
        name: "cancel a queued run",
        build: |b, e| steps(b, e),
        script: |e| cancel(e, Duration::ZERO),
        sinks: 1,
        accepting: &[Status::Completed],
    },
    Scenario {
        name: "cancel a sleeping run",
        build: sleep,
        script: |e| cancel_later(e, Duration::from_secs(60)),
        sinks: 1,
        accepting: &[Status::Completed],
    },
    Scenario {
        name: "cancel a running run",
        build: slow,
        script: |e| cancel_later(e, Duration::from_millis(1_500)),
        sinks: 1,
        accepting: &[Status::Completed],
    },
    Scenario {
        name: "cancel a running run at once",
        build: slow,
        script: |e| cancel_at_once(e, Duration::from_millis(1_500)),
        sinks: 1,
        accepting: &[Status::Completed],
    },
];

fn run(engine: Engine, input: u32) -> BoxFuture<'static, ()> {
    async move { drop(engine.run(&WF, "r", input).await) }.boxed()
}

fn start_then_run(engine: Engine) -> BoxFuture<'static, ()> {
    async move {
        drop(engine.start(&WF, "r", 2).await);
        drop(engine.run(&WF, "r", 2).await);
    }
    .boxed()
}

fn cancel(engine: Engine, _: Duration) -> BoxFuture<'static, ()> {
    async move {
        drop(engine.start(&WF, "r", 2).await);
        drop(engine.cancel("r", "the customer called").await);
    }
    .boxed()
}

fn cancel_later(engine: Engine, after: Duration) -> BoxFuture<'static, ()> {
    cancel_with(engine, after, Cancel::new("the customer called"))
}

fn cancel_at_once(engine: Engine, after: Duration) -> BoxFuture<'static, ()> {
    cancel_with(
        engine,
        after,
        Cancel::new("the customer called").immediate(),
    )
}

/// Cancels the run after a wait, which a separate workflow does on the test clock.
fn cancel_with(engine: Engine, after: Duration, cancel: Cancel) -> BoxFuture<'static, ()> {
    const WAIT: Workflow<u64, ()> = Workflow::new("wait");
    async move {
        let cancelling = async {
            let millis = u64::try_from(after.as_millis()).unwrap();
            drop(engine.run(&WAIT, "wait", millis).await);
            drop(engine.cancel("r", cancel).await);
        };
        drop(futures::future::join(engine.run(&WF, "r", 1), cancelling).await);
    }
    .boxed()
}

/// Registers the workflow that waits, without being suspended, on the clock of the engine.
fn waiting(builder: EngineBuilder) -> EngineBuilder {
    const WAIT: Workflow<u64, ()> = Workflow::new("wait");
    builder.suspend_after(Duration::from_secs(3600)).workflow(
        &WAIT,
        |ctx: Context, millis: u64| async move {
            ctx.sleep(Duration::from_millis(millis)).await;
            Ok::<_, Failure>(())
        },
    )
}

/// Records the effect of a step that does nothing else.
async fn note(effects: &Effects, run: &str, step: &str) -> Result<(), Failure> {
    effects.record(run, step);
    Ok(())
}

fn register<F, Fut>(builder: EngineBuilder, effects: &Effects, function: F) -> EngineBuilder
where
    F: Fn(Context, u32, Effects) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<u32, Failure>> + Send + 'static,
{
    let effects = effects.clone();
    builder.workflow(&WF, move |ctx, input| function(ctx, input, effects.clone()))
}

fn steps(builder: EngineBuilder, effects: &Effects) -> EngineBuilder {
    register(builder, effects, |ctx, count, effects| async move {
        for n in 1..=count {
            let name = format!("step-{n}");
            ctx.step(name.clone(), || note(&effects, ctx.run_id(), &name))
                .await?;
        }
        Ok(count)
    })
}

fn parallel(builder: EngineBuilder, effects: &Effects) -> EngineBuilder {
    register(builder, effects, |ctx, count, effects| async move {
        let step = |n: u32| {
            let effects = effects.clone();
            let id = ctx.run_id().to_owned();
            ctx.step(format!("step-{n}"), move || {
                let effects = effects.clone();
                let id = id.clone();
                async move {
                    effects.record(&id, &format!("step-{n}"));
                    Ok::<_, Failure>(n * 2)
                }
            })
        };
        let sum: u32 = futures::future::try_join_all((1..=count).map(step))
            .await?
            .iter()
            .sum();
        ctx.step("sum", || note(&effects, ctx.run_id(), "sum"))
            .await?;
        Ok(sum)
    })
}

/// Registers a step that fails twice and then succeeds. The first delay is short enough to wait in
/// memory, the second suspends the run. The count of effects survives crashes.
fn retry(builder: EngineBuilder, effects: &Effects) -> EngineBuilder {
    register(builder, effects, |ctx, failures, effects| async move {
        let policy = Retry::function(|attempt| {
            Duration::from_millis(if attempt == 1 { 50 } else { 60_000 })
        });
        let body = || async {
            effects.record(ctx.run_id(), "flaky");
            let count = effects.count(ctx.run_id(), "flaky");
            if count > failures as usize {
                Ok(())
            } else {
                Err(Failure::new("not yet"))
            }
        };
        ctx.step("flaky", body).retry(policy.attempts(9)?).await?;
        Ok(failures)
    })
}

fn fallback(builder: EngineBuilder, effects: &Effects) -> EngineBuilder {
    register(builder, effects, |ctx, _, effects| async move {
        let body = || async {
            effects.record(ctx.run_id(), "broken");
            Err::<u32, _>(Failure::new("never"))
        };
        let policy = Retry::constant(Duration::from_secs(10)).attempts(2)?;
        let got = match ctx.step("broken", body).retry(policy).await {
            Ok(value) => value,
            Err(_) => {
                let body = || async {
                    effects.record(ctx.run_id(), "fallback");
                    Ok::<_, Failure>(7)
                };
                ctx.step("fallback", body).await?
            }
        };
        ctx.sleep(Duration::from_secs(60)).await;
        Ok(got)
    })
}

fn sleep(builder: EngineBuilder, effects: &Effects) -> EngineBuilder {
    register(
        waiting(builder).suspend_after(Duration::from_secs(1)),
        effects,
        |ctx, input, effects| async move {
            ctx.step("before", || note(&effects, ctx.run_id(), "before"))
                .await?;
            ctx.sleep(Duration::from_millis(20)).await;
            ctx.sleep(Duration::from_secs(3600)).await;
            ctx.step("after", || note(&effects, ctx.run_id(), "after"))
                .await?;
            Ok(input)
        },
    )
}

fn timeout(builder: EngineBuilder, effects: &Effects) -> EngineBuilder {
    register(builder, effects, |ctx, input, effects| async move {
        let calls = Arc::new(AtomicU32::new(0));
        let body = || {
            let effects = &effects;
            let calls = calls.clone();
            let ctx = &ctx;
            async move {
                effects.record(ctx.run_id(), "slow");
                if calls.fetch_add(1, Ordering::Relaxed) == 0 {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Failure>(())
            }
        };
        let policy = Retry::constant(Duration::from_secs(5)).attempts(3)?;
        ctx.step("slow", body)
            .timeout(Duration::from_millis(250))
            .retry(policy)
            .await?;
        Ok(input)
    })
}

fn select(builder: EngineBuilder, effects: &Effects) -> EngineBuilder {
    register(builder, effects, |ctx, _, effects| async move {
        let fast = ctx.step("fast", || note(&effects, ctx.run_id(), "fast"));
        let never = ctx.step("never", std::future::pending::<Result<(), Failure>>);
        let won = match futures::future::select(never, fast).await {
            futures::future::Either::Left(_) => 1,
            futures::future::Either::Right(_) => 2,
        };
        let body = || note(&effects, ctx.run_id(), "late");
        match futures::future::select(
            ctx.sleep(Duration::from_secs(30)),
            ctx.sleep(Duration::from_secs(20)),
        )
        .await
        {
            futures::future::Either::Left(_) => Err(Failure::new("the longer sleep won")),
            futures::future::Either::Right(_) => {
                ctx.step("late", body).await?;
                Ok(won)
            }
        }
    })
}

/// Registers three steps, each followed by a sleep of one second in memory.
fn slow(builder: EngineBuilder, effects: &Effects) -> EngineBuilder {
    register(
        waiting(builder),
        effects,
        |ctx, input, effects| async move {
            for name in ["one", "two", "three"] {
                ctx.step(name, || note(&effects, ctx.run_id(), name))
                    .await?;
                ctx.sleep(Duration::from_secs(1)).await;
            }
            Ok(input)
        },
    )
}
