//! Rows that the store needs are locked for long: operations on other rows continue.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use support::hand::{BLOCKED, any, append, assert_locked, begin, new_run, raw, until};
use support::{alone, options, runtime, server};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use workflow_engine::store::{CancelRequest, ClaimRequest, Commit, Due, Purge, Record};
use workflow_engine::{
    Context, EncodedEvent, Engine, Failure, Status, Store, StoreError, Timestamp, Workflow,
};
use workflow_postgres::PostgresStore;

#[test]
fn a_run_that_is_locked_keeps_no_other_waiting() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        let (one, two) = (
            begin(&store, "one", "w").await,
            begin(&store, "two", "w").await,
        );
        let admin = raw(&url).await;
        admin
            .batch_execute("BEGIN; SELECT FROM workflow.runs WHERE id = 'one' FOR UPDATE")
            .await
            .unwrap();
        let began = Instant::now();
        let (locked, other, renewed) = tokio::join!(
            store.commit(append(one, "one", 2, Status::Running)),
            store.commit(append(two, "two", 2, Status::Running)),
            store.renew("w", Timestamp::MAX)
        );
        println!("after {:?}", began.elapsed());
        assert_locked(locked);
        other.unwrap();
        renewed.unwrap();

        // Writes that are no commits.
        let cancel = CancelRequest {
            reason: None,
            immediate: false,
            at: Timestamp::UNIX_EPOCH,
        };
        let (cancelled, other) = tokio::join!(
            store.request_cancel("one", cancel),
            store.commit(append(two, "two", 3, Status::Running))
        );
        assert_locked(cancelled);
        other.unwrap();
        assert_locked(store.release(one, Due::Now(Timestamp::UNIX_EPOCH)).await);
        let refused = store
            .claim(ClaimRequest {
                run: Some("one".into()),
                ..any("w")
            })
            .await;
        assert!(
            matches!(&refused, Err(error) if error.to_string().contains("locked")),
            "{refused:?}"
        );
        until(&admin, &format!("SELECT NOT ({BLOCKED})")).await;
        admin.batch_execute("COMMIT").await.unwrap();
        store
            .commit(append(one, "one", 2, Status::Running))
            .await
            .unwrap();
    });
}

/// However many are locked, it takes as long as for one.
#[test]
fn runs_that_are_locked_keep_no_other_waiting() {
    const LOCKED: usize = 9;
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        let mut claims = Vec::new();
        for n in 0..2 * LOCKED {
            claims.push(begin(&store, &format!("r{n:02}"), "w").await);
        }
        let admin = raw(&url).await;
        let lock = format!("BEGIN; SELECT FROM workflow.runs WHERE id < 'r{LOCKED:02}' FOR UPDATE");
        admin.batch_execute(&lock).await.unwrap();
        let commits = claims.iter().enumerate().map(|(n, claim)| {
            store.commit(append(*claim, &format!("r{n:02}"), 2, Status::Running))
        });
        let mut answers = join_all(commits).await;
        for answer in answers.split_off(LOCKED) {
            answer.unwrap();
        }
        answers.into_iter().for_each(assert_locked);

        // No write is possible: every caller gets an error, and the connection stays.
        admin
            .batch_execute("LOCK TABLE workflow.runs IN EXCLUSIVE MODE")
            .await
            .unwrap();
        let commits = claims.iter().enumerate().map(|(n, claim)| {
            store.commit(append(*claim, &format!("r{n:02}"), 3, Status::Running))
        });
        join_all(commits).await.into_iter().for_each(assert_locked);
    });
}

/// A run of a dead worker is locked: it rests until it is unlocked, and all other runs are claimed.
#[test]
fn a_locked_run_of_a_dead_worker_keeps_nobody_from_claiming() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let (dying, store) = (options().connect(&url).await.unwrap(), options().connect(&url).await.unwrap());
        begin(&dying, "locked", "dead").await;
        begin(&dying, "free", "dead").await;
        let over = Timestamp::from_millis(1_000).unwrap();
        dying.renew("dead", over).await.unwrap();
        store.renew("w", Timestamp::MAX).await.unwrap();
        store.create(new_run("due", "w", Status::Queued)).await.unwrap();
        let admin = raw(&url).await;
        admin.batch_execute("BEGIN; SELECT FROM workflow.runs WHERE id = 'locked' FOR UPDATE").await.unwrap();
        let now = Timestamp::from_millis(2_000).unwrap();
        let request = ClaimRequest { now, ..any("w") };
        let claims = timeout(Duration::from_secs(5), store.claim(request.clone())).await.unwrap().unwrap();
        let ids: Vec<_> = claims.runs.iter().map(|claimed| claimed.run.id.as_str()).collect();
        assert_eq!(ids, ["due", "free"]);
        assert_eq!(claims.next_due, None, "a worker would look again at once, and again");
        // The dead worker returns, and its runs are not forgotten.
        let refused = dying.renew("dead", Timestamp::MAX).await;
        assert!(
            matches!(&refused, Err(StoreError::Backend(error)) if error.to_string().contains("locked")),
            "{refused:?}"
        );
        admin.batch_execute("COMMIT").await.unwrap();
        let claimed = store.claim(request).await.unwrap().runs;
        assert!(claimed.len() == 1 && claimed[0].run.id == "locked" && claimed[0].died, "{claimed:?}");
        dying.renew("dead", Timestamp::MAX).await.unwrap();
    });
}

/// A run that is due is locked: the worker looks again soon, and not all the time.
#[test]
fn a_worker_that_cannot_have_what_is_due_does_not_spin() {
    const ORDER: Workflow<u64, u64> = Workflow::new("w");
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = Arc::new(PostgresStore::connect(&url).await.unwrap());
        store
            .create(new_run("due", "nobody", Status::Queued))
            .await
            .unwrap();
        let admin = raw(&url).await;
        admin
            .batch_execute("BEGIN; SELECT FROM workflow.runs WHERE id = 'due' FOR UPDATE")
            .await
            .unwrap();
        let engine = Engine::builder()
            .store(store)
            .workflow(&ORDER, async |_: Context, n: u64| Ok::<_, Failure>(n));
        let engine = engine.build().unwrap();
        let working = tokio::spawn(async move { engine.work().await });
        let eye = raw(&url).await;
        let statements = async || {
            let sql = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
            eye.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
        };
        let before = statements().await;
        tokio::time::sleep(Duration::from_secs(3)).await; // tidy: sleep: for it to look often, if it does
        let looks = statements().await - before;
        assert!(
            (20..800).contains(&looks),
            "{looks} statements in three seconds"
        );
        admin.batch_execute("COMMIT").await.unwrap();
        until(
            &eye,
            "SELECT EXISTS (SELECT FROM workflow.runs WHERE epoch > 0)",
        )
        .await;
        working.abort();
    });
}

/// A run cannot be written for so long that its execution is given up, and cannot be taken up again
/// either.
#[test]
fn a_run_that_is_locked_keeps_its_worker_from_no_other() {
    const ORDER: Workflow<u64, u64> = Workflow::new("w");
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = Arc::new(PostgresStore::connect(&url).await.unwrap());
        let gate = Arc::new(Semaphore::new(0));
        let order = {
            let gate = gate.clone();
            move |ctx: Context, n: u64| {
                let gate = gate.clone();
                async move {
                    let step = || async {
                        gate.acquire().await.unwrap().forget();
                        Ok::<_, Failure>(n)
                    };
                    Ok::<_, Failure>(ctx.step("wait", step).await?)
                }
            }
        };
        let engine = Engine::builder()
            .store(store.clone())
            .workflow(&ORDER, order)
            .build()
            .unwrap();
        let working = tokio::spawn({
            let engine = engine.clone();
            async move { engine.work().await }
        });
        engine.start(&ORDER, "locked", 1).await.unwrap();
        let (admin, eye) = (raw(&url).await, raw(&url).await);
        until(
            &eye,
            "SELECT EXISTS (SELECT FROM workflow.runs WHERE epoch = 1)",
        )
        .await;
        admin
            .batch_execute("BEGIN; SELECT FROM workflow.runs FOR UPDATE")
            .await
            .unwrap();
        gate.add_permits(1);
        until(&eye, BLOCKED).await;
        for n in 0..20 {
            engine.start(&ORDER, format!("other-{n}"), n).await.unwrap();
            gate.add_permits(1);
            let ended =
                format!("SELECT ended_at IS NOT NULL FROM workflow.runs WHERE id = 'other-{n}'");
            timeout(Duration::from_secs(20), until(&eye, &ended))
                .await
                .expect("it does nothing else");
            tokio::time::sleep(Duration::from_millis(500)).await; // tidy: sleep: for the first one to be given up
        }
        admin.batch_execute("COMMIT").await.unwrap();
        // Its step is executed again.
        gate.add_permits(1);
        let ended =
            "SELECT ended_at IS NOT NULL AND epoch > 1 FROM workflow.runs WHERE id = 'locked'";
        timeout(Duration::from_secs(20), until(&eye, ended))
            .await
            .expect("it is not taken up again");
        let claims: i64 = eye
            .query_one("SELECT epoch FROM workflow.runs WHERE id = 'locked'", &[])
            .await
            .unwrap()
            .get(0);
        assert!(claims < 9, "it was claimed {claims} times");
        working.abort();
    });
}

/// Locked runs are not purged, and a purge that waits or takes long does not block reads.
#[test]
fn a_purge_waits_for_nobody_and_nobody_for_it() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        for id in ["locked", "free"] {
            let claim = begin(&store, id, "w").await;
            store
                .commit(append(claim, id, 2, Status::Completed))
                .await
                .unwrap();
        }
        let admin = raw(&url).await;
        admin
            .batch_execute("BEGIN; SELECT FROM workflow.runs WHERE id = 'locked' FOR UPDATE")
            .await
            .unwrap();
        let purge = Purge {
            completed: Some(Timestamp::MAX),
            limit: 9,
            ..Purge::default()
        };
        let purged = timeout(Duration::from_secs(4), store.purge(purge))
            .await
            .expect("it waits")
            .unwrap();
        assert_eq!((purged.runs, store.run("free").await.unwrap()), (1, None));

        // Another purge is running, and there is much to count: each reader counts for itself.
        admin
            .batch_execute("COMMIT; BEGIN; SELECT FROM workflow.outbox FOR UPDATE")
            .await
            .unwrap();
        let claim = begin(&store, "many", "w").await;
        for first_seq in [2_u64, 6_002] {
            let event = EncodedEvent::from_json("1".into()).unwrap();
            let entry = |n: u64| Record {
                first_seq: first_seq + n,
                at: Timestamp::UNIX_EPOCH,
                events: vec![event.clone()],
                entry: None,
            };
            let records = (0..6_000).map(entry).collect();
            store
                .commit(Commit {
                    claim,
                    records,
                    status: Status::Running,
                    due_at: None,
                })
                .await
                .unwrap();
        }
        for _ in 0..9 {
            let end = timeout(Duration::from_secs(4), store.outbox_end())
                .await
                .expect("it waits")
                .unwrap();
            assert_eq!(end.accepted, 2 + 2 + 1 + 12_000);
        }
        let refused = store.purge(purge).await;
        assert_locked(refused);
        admin.batch_execute("COMMIT").await.unwrap();
        assert_eq!(store.purge(purge).await.unwrap().runs, 1);
        assert_eq!(
            store.outbox_end().await.unwrap().accepted,
            2 + 2 + 1 + 12_000
        );
    });
}
