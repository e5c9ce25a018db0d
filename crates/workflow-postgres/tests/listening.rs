//! Notifications: which stores are woken, which are not, and how little an idle worker asks.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use support::{alone, runtime, server, started};
use tokio_postgres::NoTls;
use workflow_engine::store::{CancelRequest, Woken};
use workflow_engine::{Context, Engine, Failure, Outcome, Store, Timestamp, TokioClock, Workflow};
use workflow_postgres::PostgresStore;

const ORDER: Workflow<u64, u64> = Workflow::new("order");

async fn order(ctx: Context, n: u64) -> Result<u64, Failure> {
    Ok(ctx.step("charge", || async { Ok::<_, Failure>(n) }).await?)
}

async fn long(ctx: Context, _: u64) -> Result<u64, Failure> {
    Ok(ctx
        .step("long", std::future::pending::<Result<u64, Failure>>)
        .await?)
}

fn engine(store: &PostgresStore, poll: Duration) -> Engine {
    let builder = Engine::builder()
        .store(Arc::new(store.clone()))
        .clock(Arc::new(TokioClock::new()));
    builder
        .poll_interval(poll)
        .workflow(&ORDER, order)
        .workflow(&Workflow::new("long"), long)
        .build()
        .unwrap()
}

/// Takes the wake-ups that a store gets when it begins to listen.
async fn quiet(store: &PostgresStore) {
    let both = async {
        let (mut due, mut cancel) = (false, false);
        while !(due && cancel) {
            match store.woken().await {
                Woken::Due => due = true,
                _ => cancel = true,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), both)
        .await
        .unwrap();
    // A waiter may be woken twice for one reason.
    while tokio::time::timeout(Duration::from_millis(50), store.woken())
        .await
        .is_ok()
    {}
}

#[test]
fn others_are_told_of_runs_and_cancels_and_oneself_is_not() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        // The longest name that a schema can have leaves no room for more in that of a channel.
        let longest = PostgresStore::options().schema("x".repeat(63));
        let (one, other) = (
            longest.connect(&url).await.unwrap(),
            longest.connect(&url).await.unwrap(),
        );
        quiet(&one).await;
        quiet(&other).await;
        let client = engine(&one, Duration::from_secs(1));
        client.start(&ORDER, "r", 1).await.unwrap();
        let told = tokio::time::timeout(Duration::from_secs(10), other.woken())
            .await
            .unwrap();
        assert_eq!(told, Woken::Due);
        assert_eq!(one.woken().now_or_never(), None, "who has written it knows");

        let at = Timestamp::UNIX_EPOCH;
        one.renew("w", Timestamp::MAX).await.unwrap();
        let claim = workflow_engine::store::ClaimRequest {
            worker: "w".into(),
            now: Timestamp::MAX,
            run: None,
            workflows: None,
            limit: 9,
        };
        assert_eq!(one.claim(claim).await.unwrap().runs.len(), 1);
        one.request_cancel(
            "r",
            CancelRequest {
                reason: None,
                immediate: true,
                at,
            },
        )
        .await
        .unwrap();
        let cancel = async { while other.woken().await != Woken::Cancel {} };
        tokio::time::timeout(Duration::from_secs(10), cancel)
            .await
            .expect("the holder must learn of it");
    });
}

#[test]
fn a_run_that_another_process_starts_is_executed_at_once_and_cancelled_at_once() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let (one, other) = (
            PostgresStore::connect(&url).await.unwrap(),
            PostgresStore::connect(&url).await.unwrap(),
        );
        quiet(&other).await;
        // It looks by itself after an hour only, and its lease is renewed every ten seconds.
        let (client, worker) = (
            engine(&one, Duration::from_millis(20)),
            engine(&other, Duration::from_secs(3_600)),
        );
        let working = tokio::spawn({
            let worker = worker.clone();
            async move { worker.work().await }
        });
        for n in 0..20 {
            let handle = client.start(&ORDER, format!("r{n}"), n).await.unwrap();
            let outcome = tokio::time::timeout(Duration::from_secs(30), handle.result())
                .await
                .expect("it was not woken");
            assert_eq!(outcome.unwrap(), Outcome::Completed(n));
        }
        let long: Workflow<u64, u64> = Workflow::new("long");
        let handle = client.start(&long, "long", 1).await.unwrap();
        while handle.run().await.unwrap().unwrap().worker.is_none() {
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        handle
            .cancel(workflow_engine::Cancel::new("enough").immediate())
            .await
            .unwrap();
        let outcome = tokio::time::timeout(Duration::from_secs(30), handle.result())
            .await
            .expect("it was not woken");
        assert!(matches!(outcome.unwrap(), Outcome::Cancelled { .. }));
        println!("cancelled elsewhere after {:?}", began.elapsed());
        let _ = worker.shutdown(Duration::from_secs(5)).await;
        working.await.unwrap();
    });
}

#[test]
fn an_idle_worker_asks_little_and_many_starts_are_told_in_few_words() {
    let (_alone, Some(server)) = (alone(), started(&["autovacuum=off"])) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        let worker = engine(&store, Duration::from_secs(1));
        let working = tokio::spawn({
            let worker = worker.clone();
            async move { worker.work().await }
        });
        let (client, connection) = tokio_postgres::connect(&server.url_of("postgres"), NoTls).await.unwrap();
        tokio::spawn(connection);
        let database = url.split("dbname=").nth(1).unwrap().to_owned();
        let transactions = async || -> i64 {
            let sql = "SELECT pg_stat_clear_snapshot(), xact_commit FROM pg_stat_database WHERE datname = $1";
            client.query_one(sql, &[&database]).await.unwrap().get(1)
        };
        tokio::time::sleep(Duration::from_secs(2)).await; // tidy: sleep: until it is idle
        let before = transactions().await;
        tokio::time::sleep(Duration::from_secs(4)).await; // tidy: sleep: the time that is measured
        let per_second = (transactions().await - before) / 4;
        assert!(per_second <= 15, "an idle worker has {per_second} transactions a second");
        let _ = worker.shutdown(Duration::from_secs(5)).await;
        working.await.unwrap();

        let (listener, mut connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = futures::future::poll_fn(|poller| connection.poll_message(poller)).await {
                let _ = sender.send(message);
            }
        });
        listener.batch_execute("LISTEN \"workflow workflow\"").await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        let client = engine(&store, Duration::from_secs(1));
        let (began, n) = (Instant::now(), 500);
        futures::future::join_all((0..n).map(|n| client.start(&ORDER, format!("s{n}"), n))).await;
        let took = began.elapsed();
        tokio::time::timeout(Duration::from_secs(10), heard.recv()).await.unwrap().unwrap();
        let told = std::iter::from_fn(|| heard.try_recv().ok()).count() as u128 + 1;
        assert!(told <= took.as_millis() / 20 + 2, "{n} starts in {took:?} were told {told} times");
    });
}
