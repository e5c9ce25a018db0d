//! Many runs on several threads are cancelled and dropped at random. Each ends once, with the
//! outcome that its caller was promised.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{sleep, timeout};
use tracker_core::testing::MemoryTransport;
use workflow_engine::{
    Cancel, CancelError, Context, EncodedEvent, Engine, Failure, Outcome, Retry, Store, Workflow,
};
use workflow_events::EventKind;

const WF: Workflow<u64, u64> = Workflow::new("wf");
const RUNS: u64 = 300;

async fn works(ctx: Context, n: u64) -> Result<u64, Failure> {
    let wait = |name: &'static str, millis: u64| {
        ctx.step(name, move || async move {
            sleep(Duration::from_millis(millis)).await; // tidy: sleep: the steps take their time
            Ok::<_, Failure>(millis)
        })
    };
    let one = wait("one", n % 7).await?;
    let (two, three) =
        futures::future::join(wait("two", n % 5), wait("three", 110 * (n % 2))).await;
    ctx.sleep(Duration::from_millis(n % 30)).await;
    let mut first = true;
    let flaky = || {
        let fails = std::mem::take(&mut first);
        async move {
            if fails {
                Err(Failure::new("not yet"))
            } else {
                Ok(1)
            }
        }
    };
    let four = ctx
        .step("four", flaky)
        .retry(Retry::constant(Duration::from_millis(2)))
        .await?;
    Ok(one + two? + three? + four)
}

/// Executes runs on one storage through all of `stores`, each with its own engine.
pub(crate) async fn stress(stores: &[Arc<dyn Store>]) {
    let sink = Arc::new(MemoryTransport::<EncodedEvent>::new());
    let engine = |store: &Arc<dyn Store>| {
        let builder = Engine::builder()
            .store(store.clone())
            .workflow(&WF, works)
            .sink("sink", sink.clone());
        // A wait of ten milliseconds suspends a run here; a shorter one stays in memory.
        builder
            .suspend_after(Duration::from_millis(10))
            .poll_interval(Duration::from_millis(20))
            .build()
            .unwrap()
    };
    let engines: Vec<_> = stores.iter().map(engine).collect();
    let workers: Vec<_> = engines
        .iter()
        .flat_map(|engine| [engine.clone(), engine.clone()])
        .map(|engine| tokio::spawn(async move { engine.work().await }))
        .collect();
    let one = |n: u64| {
        // One engine starts the run; another may execute it, and a third may cancel it.
        let engine = engines[n as usize % engines.len()].clone();
        let other = engines[(n as usize + 1) % engines.len()].clone();
        tokio::spawn(async move {
            let id = format!("r{n}");
            if n.is_multiple_of(3) {
                // The future is dropped at a random time, and a worker continues the run.
                let drop_after = Duration::from_micros(fastrand::u64(..20_000));
                let _ = timeout(drop_after, engine.run(&WF, id.as_str(), n)).await;
            }
            let handle = engine.start(&WF, id.as_str(), n).await.unwrap();
            let mut promised = false;
            if n.is_multiple_of(2) {
                sleep(Duration::from_micros(fastrand::u64(..40_000))).await; // tidy: sleep: at a random moment
                let cancel = Cancel::new("enough");
                let cancel = if n.is_multiple_of(4) {
                    cancel.immediate()
                } else {
                    cancel
                };
                match other.cancel(&id, cancel).await {
                    Ok(_) => promised = true,
                    Err(CancelError::Ended { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            let Ok(outcome) = timeout(Duration::from_secs(20), handle.result()).await else {
                let history = handle.history().await.unwrap();
                let event_types: Vec<_> =
                    history.iter().map(|event| event.kind.type_name()).collect();
                panic!(
                    "run {:?} does not end; its history is {event_types:?}",
                    handle.run().await
                );
            };
            let outcome = outcome.unwrap();
            assert_eq!(
                matches!(outcome, Outcome::Cancelled { .. }),
                promised,
                "{id}: {outcome:?}"
            );
            let events = handle.history().await.unwrap();
            assert!(
                events.iter().zip(1..).all(|(event, seq)| event.seq == seq),
                "{id} has a gap"
            );
            let count =
                |is: fn(&EventKind) -> bool| events.iter().filter(|event| is(&event.kind)).count();
            let ends = count(|kind| {
                matches!(
                    kind,
                    EventKind::WorkflowCompleted { .. }
                        | EventKind::WorkflowFailed { .. }
                        | EventKind::WorkflowCancelled { .. }
                )
            });
            assert_eq!(ends, 1, "{id}");
            let ended = count(|kind| {
                matches!(
                    kind,
                    EventKind::StepCompleted { .. } | EventKind::StepFailed { .. }
                )
            });
            let started = count(|kind| matches!(kind, EventKind::StepStarted { .. }));
            // A dropped run leaves starts without ends, as a crash does.
            assert!(
                started == ended || n.is_multiple_of(3) && started > ended,
                "{id}: {started} starts, {ended} ends"
            );
            (promised, events.len())
        })
    };
    let ended = join_all((0..RUNS).map(one)).await;
    let ended: Vec<_> = ended
        .into_iter()
        .map(|run| run.expect("no panic"))
        .collect();
    for engine in &engines {
        let report = engine.shutdown(Duration::from_secs(30)).await;
        assert!(report.is_complete(), "{report}");
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let cancelled = ended.iter().filter(|(promised, _)| *promised).count();
    println!("{RUNS} runs, {cancelled} cancelled");
    assert!(cancelled > 20, "{cancelled} cancels were in time");
    // A delivery that the shutdown interrupted was repeated with the same ids.
    let delivered: HashSet<String> = sink
        .delivered()
        .iter()
        .map(|event| event.as_str().to_owned())
        .collect();
    assert_eq!(
        delivered.len(),
        ended.iter().map(|(_, events)| events).sum::<usize>()
    );
}
