//! The engine over real sockets on several threads: concurrent runs, flushes and aborted runs
//! against a failing endpoint.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tracker_core::Config;
use tracker_http::testing::{Answer, FaultServer};
use workflow_engine::{Context, Engine, Failure, HttpTransport, MemoryStore, Outcome, Workflow};

use support::{STEPS, steps};

const RUNS: u32 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_committed_event_arrives_in_order_whatever_is_aborted_or_fails() {
    let server = FaultServer::start().await.unwrap();
    for n in 0..60 {
        server.then(match n % 6 {
            0 => Answer::Status(503),
            1 => Answer::LoseAnswer,
            2 => Answer::Reset,
            3 => Answer::ResetInBody,
            4 => Answer::AcceptAndClose,
            _ => Answer::Accept,
        });
    }
    let quick = Duration::from_millis(1);
    let config = Config::builder()
        .batch_events(16)
        .initial_delay(quick)
        .max_delay(5 * quick)
        .build()
        .unwrap();
    let engine = Engine::builder()
        .store(Arc::new(MemoryStore::new()))
        .workflow(&STEPS, steps)
        .sink(
            "receiver",
            Arc::new(HttpTransport::builder(server.url()).build().unwrap()),
        )
        .delivery(config)
        .build()
        .unwrap();

    let delivery = tokio::spawn({
        let engine = engine.clone();
        async move { engine.deliver().await }
    });
    let work = (0..RUNS).map(|n| {
        let engine = engine.clone();
        tokio::spawn(async move {
            let run = engine.run(&STEPS, format!("run-{n}"), n % 5);
            match n % 4 {
                // The run is dropped after one poll, unless it completes before.
                0 => drop(tokio::time::timeout(Duration::ZERO, run).await),
                1 => {
                    let (outcome, report) = futures::join!(run, engine.flush());
                    assert!(outcome.is_ok() && report.is_delivered(), "{report}");
                }
                _ => assert!(run.await.is_ok()),
            }
        })
    });
    for task in work.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let report = engine.shutdown(Duration::from_secs(20)).await;
    delivery.await.unwrap();

    assert!(report.is_complete(), "{report}");
    let books = report.sink("receiver").unwrap().books;
    assert_eq!(server.distinct() as u64, books.accepted, "{books}");
    let mut first_seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in server.events() {
        let seqs = first_seen
            .entry(event["workflowId"].as_str().unwrap().to_owned())
            .or_default();
        let seq = event["seq"].as_u64().unwrap();
        if !seqs.contains(&seq) {
            seqs.push(seq);
        }
    }
    assert_eq!(first_seen.len(), RUNS as usize);
    for (run, seqs) in first_seen {
        assert!(
            seqs.iter().zip(1..).all(|(seq, place)| *seq == place),
            "{run} arrived as {seqs:?}"
        );
        assert_eq!(seqs.len(), engine.history(&run).await.unwrap().len());
    }
}

#[tokio::test]
async fn a_workflow_that_yields_lets_the_other_tasks_of_its_thread_go_first() {
    const YIELDS: Workflow<(), u32> = Workflow::new("yields");
    static OTHER: AtomicBool = AtomicBool::new(false);
    let yields = |ctx: Context, (): ()| async move {
        let body = || async {
            let mut yielded = 0_u32;
            poll_fn(|cx| {
                yielded += 1;
                if OTHER.load(Ordering::Relaxed) || yielded == 1_000_000 {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            Ok::<_, Failure>(yielded)
        };
        Ok::<_, Failure>(ctx.step("yield", body).await?)
    };
    let engine = Engine::builder()
        .store(Arc::new(MemoryStore::new()))
        .workflow(&YIELDS, yields)
        .build()
        .unwrap();
    let other = tokio::spawn(async { OTHER.store(true, Ordering::Relaxed) });
    let Outcome::Completed(yielded) = engine.run(&YIELDS, "r", ()).await.unwrap() else {
        panic!("it completes")
    };
    assert!(
        yielded < 1_000_000,
        "the other task of the thread was never polled"
    );
    other.await.unwrap();
}

#[tokio::test]
async fn a_waiting_handle_returns_when_its_engine_is_shut_down() {
    const NEVER: Workflow<(), ()> = Workflow::new("never");
    let never = |ctx: Context, (): ()| async move {
        ctx.sleep(Duration::from_secs(3600)).await;
        Ok::<_, Failure>(())
    };
    let engine = Engine::builder()
        .store(Arc::new(MemoryStore::new()))
        .workflow(&NEVER, never)
        .build()
        .unwrap();
    let handle = engine.start(&NEVER, "r", ()).await.unwrap();
    let (result, _report) = tokio::join!(handle.result(), engine.shutdown(Duration::from_secs(1)));
    assert!(
        matches!(result, Err(workflow_engine::RunError::Closed)),
        "{result:?}"
    );
}
