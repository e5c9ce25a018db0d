//! A failover to a replica that lacks the last commits of the primary. The memory of workers must
//! not harm the runs that continue without these commits.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use support::hand::{append, begin, new_run, raw, texts};
use support::pair::Pair;
use support::{alone, runtime};
use tracker_core::testing::MemoryTransport;
use workflow_engine::store::{Claim, ClaimRequest, Cursor, Due, Page, Position, Span};
use workflow_engine::{
    Context, EncodedEvent, Engine, Failure, Outcome, SinkError, Status, Store, StoreError,
    Timestamp, TokioClock, Workflow,
};
use workflow_postgres::PostgresStore;

/// Claims the due runs; a worker whose connection was lost retries.
async fn claim(store: &PostgresStore, worker: &str) -> Claim {
    let run = Some("r".to_owned());
    let request = ClaimRequest {
        worker: worker.into(),
        workflows: None,
        run,
        now: Timestamp::MAX,
        limit: 9,
    };
    loop {
        if store.renew(worker, Timestamp::MAX).await.is_ok() {
            return store.claim(request).await.unwrap().runs[0].claim;
        }
    }
}

/// Two workers hold the same run with the same epoch: one by a claim that the replica never saw.
#[test]
fn a_claim_that_was_lost_with_the_primary_is_no_claim() {
    let _alone = alone();
    runtime().block_on(async {
        let Some(pair) = Pair::start().await else {
            return;
        };
        let (old, new) = (pair.connect().await, pair.connect().await);
        old.create(new_run("r", "nobody", Status::Queued))
            .await
            .unwrap();
        old.open_cursor("sink").await.unwrap();
        pair.part().await;
        let lost = claim(&old, "old").await;
        old.commit(append(lost, "r", 2, Status::Running))
            .await
            .unwrap();
        let sink = old
            .claim_sink("sink", "old", Timestamp::UNIX_EPOCH)
            .await
            .unwrap()
            .unwrap();
        pair.fail_over().await;

        let claim = claim(&new, "new").await;
        assert_eq!(claim, lost, "the case is not the one that is tested");
        new.commit(append(claim, "r", 2, Status::Running))
            .await
            .unwrap();
        // A new connection is opened first.
        while let Err(StoreError::Backend(_)) = old.renew("old", Timestamp::MAX).await {}
        let refused = old.commit(append(lost, "r", 3, Status::Running)).await;
        assert!(
            matches!(refused, Err(StoreError::Fenced { .. })),
            "{refused:?}"
        );
        let refused = old.release(lost, Due::Now(Timestamp::UNIX_EPOCH)).await;
        assert!(
            matches!(refused, Err(StoreError::Fenced { .. })),
            "{refused:?}"
        );
        let refused = old
            .set_cursor(
                &sink,
                Cursor {
                    position: Position(1),
                    ..Cursor::default()
                },
            )
            .await;
        assert!(
            matches!(refused, Err(StoreError::SinkFenced { .. })),
            "{refused:?}"
        );
        new.commit(append(claim, "r", 3, Status::Running))
            .await
            .unwrap();
    });
}

/// A relay has delivered what is lost, and is about to say so to the server that has never had it.
/// Meanwhile other events take the places.
#[test]
fn events_that_take_the_places_of_lost_ones_are_delivered() {
    const ORDER: Workflow<u64, u64> = Workflow::new("order");
    async fn order(ctx: Context, n: u64) -> Result<u64, Failure> {
        Ok(ctx.step("charge", || async { Ok::<_, Failure>(n) }).await?)
    }
    let _alone = alone();
    runtime().block_on(async {
        let Some(pair) = Pair::start().await else {
            return;
        };
        let store = Arc::new(pair.connect().await);
        let sink = Arc::new(MemoryTransport::<EncodedEvent>::new());
        let engine = Engine::builder()
            .store(store.clone())
            .clock(Arc::new(TokioClock::new()));
        let engine = engine
            .sink("sink", sink.clone())
            .workflow(&ORDER, order)
            .build()
            .unwrap();
        // It holds the sink from now on.
        let delivering = tokio::spawn({
            let engine = engine.clone();
            async move { engine.deliver().await }
        });
        assert_eq!(
            engine.run(&ORDER, "kept", 0).await.unwrap(),
            Outcome::Completed(0)
        );
        assert!(engine.flush().await.is_delivered());

        pair.part().await;
        for n in 0..20 {
            assert_eq!(
                engine.run(&ORDER, format!("lost-{n}"), n).await.unwrap(),
                Outcome::Completed(n)
            );
        }
        assert!(engine.flush().await.is_delivered());
        let (before, hold) = (sink.attempts(), sink.then_hold());
        assert_eq!(
            engine.run(&ORDER, "lost-last", 0).await.unwrap(),
            Outcome::Completed(0)
        );
        while sink.attempts() == before {
            tokio::task::yield_now().await;
        }
        let flushing = tokio::spawn({
            let engine = engine.clone();
            async move { engine.flush().await }
        });
        tokio::time::sleep(Duration::from_millis(200)).await; // tidy: sleep: for the flush to see how far it has to go
        pair.fail_over().await;
        // Another process writes first, and more than was lost.
        let other = Engine::builder()
            .store(Arc::new(pair.connect().await))
            .clock(Arc::new(TokioClock::new()));
        let other = other.workflow(&ORDER, order).build().unwrap();
        assert_eq!(
            other.run(&ORDER, "later-other", 0).await.unwrap(),
            Outcome::Completed(0)
        );
        let burning = raw(&pair.replica.url_of("postgres")).await;
        for _ in 0..500 {
            burning
                .execute("SELECT pg_current_xact_id()", &[])
                .await
                .unwrap();
        }
        hold.release();
        // The flush delivers everything that exists now.
        let report = flushing.await.unwrap();
        let stop = &report.sink("sink").unwrap().stop;
        assert!(!matches!(stop, Some(SinkError::Delivery(_))), "{report}");

        let mut ended = 0;
        for n in 0..100 {
            // New connections are opened first.
            ended += u32::from(engine.run(&ORDER, format!("later-{n}"), n).await.is_ok());
            if ended == 3 {
                break;
            }
        }
        let report = engine.flush().await;
        assert!(report.is_delivered(), "{report}");
        let delivered: HashSet<_> = sink
            .delivered()
            .iter()
            .map(|event| event.as_str().to_owned())
            .collect();
        let kept = store
            .outbox(Position(0), Page::events(9_999))
            .await
            .unwrap();
        assert!(
            kept.iter()
                .any(|(_, event)| event.as_str().contains("later-"))
        );
        assert!(
            !kept
                .iter()
                .any(|(_, event)| event.as_str().contains("lost-")),
            "the case is not the one that is tested"
        );
        let skipped: Vec<_> = kept
            .iter()
            .filter(|(_, event)| !delivered.contains(event.as_str()))
            .collect();
        assert!(skipped.is_empty(), "{skipped:?}");
        delivering.abort();
        assert!(
            !store
                .list(&Default::default())
                .await
                .unwrap()
                .iter()
                .any(|run| run.ended_at.is_none())
        );
    });
}

/// A worker that lives on has begun runs that the replica never saw, and begins others there. The
/// server counts as the one before it did, so what is left of the first in the worker's memory
/// looks very much like the others.
#[test]
fn a_run_that_was_lost_adds_nothing_to_the_history_of_another() {
    const RUNS: usize = 40;
    let _alone = alone();
    runtime().block_on(async {
        let Some(pair) = Pair::start().await else {
            return;
        };
        let store = pair.connect().await;
        begin(&store, "before", "w").await;
        pair.part().await;
        let mut lost = Vec::new();
        for n in 0..RUNS {
            lost.push(begin(&store, &format!("lost-{n}"), "w").await);
        }
        pair.fail_over().await;
        while store.renew("w", Timestamp::MAX).await.is_err() {}
        let mut counted_again = 0;
        for n in 0..RUNS {
            let id = format!("new-{n}");
            let claim = begin(&store, &id, "w").await;
            counted_again += u32::from(
                lost.iter()
                    .any(|lost| lost.key.0 >> 24 == claim.key.0 >> 24),
            );
        }
        assert!(counted_again > 0, "the case is not the one that is tested");
        for claim in lost {
            let refused = store
                .commit(append(claim, "lost", 2, Status::Running))
                .await;
            assert!(
                matches!(refused, Err(StoreError::UnknownRun { .. })),
                "{refused:?}"
            );
            let refused = store.release(claim, Due::Now(Timestamp::UNIX_EPOCH)).await;
            assert!(
                matches!(refused, Err(StoreError::UnknownRun { .. })),
                "{refused:?}"
            );
            assert_eq!(store.records(claim.key, Span::All).await.unwrap().len(), 0);
        }
    });
}

/// The old primary continues for the connections that it has, and only the writing connection has
/// moved.
#[test]
fn what_is_read_comes_from_where_it_is_written() {
    let _alone = alone();
    runtime().block_on(async {
        let Some(pair) = Pair::start().await else {
            return;
        };
        let store = pair.connect_as(&PostgresStore::options().readers(1)).await;
        let claim = begin(&store, "r", "w").await;
        store.open_cursor("sink").await.unwrap();
        pair.part().await;
        for seq in 2..12 {
            store
                .commit(append(claim, "r", seq, Status::Running))
                .await
                .unwrap();
        }
        assert_eq!(
            store
                .outbox(Position(0), Page::events(99))
                .await
                .unwrap()
                .len(),
            11,
            "it reads on the old primary"
        );
        pair.replica.execute("SELECT pg_promote()").await.unwrap();
        let old = raw(&pair.primary.url_of("postgres")).await;
        old.batch_execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
            .await
            .unwrap();
        let writing = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE application_name = 'workflow-postgres' AND query LIKE '%commit_runs%'";
        old.execute(writing, &[]).await.unwrap();
        while store.renew("w", Timestamp::MAX).await.is_err() {}
        begin(&store, "new", "w").await;
        let read = store.outbox(Position(0), Page::events(99)).await.unwrap();
        assert_eq!(
            texts(&read),
            [r#"{"run":"r","seq":1}"#, r#"{"run":"new","seq":1}"#]
        );
    });
}
