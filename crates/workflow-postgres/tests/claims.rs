//! Claims find runs that are not locked behind locked ones, and read no other rows.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use support::hand::{self, append, begin, new_run, raw, until};
use support::{alone, options, runtime, server};
use tokio::time::timeout;
use workflow_engine::store::{CancelRequest, ClaimRequest, Due, Purge};
use workflow_engine::{Status, Store, Timestamp};
use workflow_postgres::PostgresStore;

/// Runs that are due, of three workflows in turn: ready ones, and ones whose time has come.
fn due(n: usize) -> String {
    format!(
        "INSERT INTO workflow.runs (id, workflow, status, last_seq, epoch, recoveries, created_at, due_at, ready)
         SELECT 'r' || lpad(n::text, 6, '0'), 'w' || n % 3, 'paused', 1, 0, 0, 0, n, n % 2 = 0
         FROM generate_series(0, {n} - 1) n"
    )
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

/// A claim of any due run, long before any lease expires.
fn any(worker: &str) -> ClaimRequest {
    ClaimRequest {
        now: at(1 << 40),
        ..hand::any(worker)
    }
}

/// Returns the ids of what is claimed.
async fn claimed(store: &PostgresStore, worker: &str, limit: usize) -> Vec<String> {
    let claims = store
        .claim(ClaimRequest {
            limit,
            ..any(worker)
        })
        .await
        .unwrap();
    claims
        .runs
        .into_iter()
        .map(|claimed| claimed.run.id)
        .collect()
}

/// The first runs are locked: two workers that have room for one run each find the next ones.
#[test]
fn locked_runs_at_the_head_keep_nobody_from_those_behind_them() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        for locked in [4, 64, 1_000] {
            let url = server.database().await.unwrap();
            let (one, other) = (
                options().connect(&url).await.unwrap(),
                options().connect(&url).await.unwrap(),
            );
            one.renew("one", Timestamp::MAX).await.unwrap();
            other.renew("other", Timestamp::MAX).await.unwrap();
            let admin = raw(&url).await;
            admin.batch_execute(&due(locked + 9)).await.unwrap();
            let lock =
                format!("BEGIN; SELECT FROM workflow.runs WHERE due_at < {locked} FOR UPDATE");
            admin.batch_execute(&lock).await.unwrap();
            let id = |n: usize| format!("r{:06}", locked + n);
            assert_eq!(
                claimed(&one, "one", 1).await,
                [id(0)],
                "{locked} are locked"
            );
            assert_eq!(
                claimed(&other, "other", 1).await,
                [id(1)],
                "{locked} are locked"
            );
            // Of one workflow, and with more room than there is.
            let own = ClaimRequest {
                workflows: Some(vec![format!("w{}", (locked + 2) % 3)]),
                limit: 1,
                ..any("one")
            };
            assert_eq!(
                one.claim(own).await.unwrap().runs[0].run.id,
                id(2),
                "{locked} are locked"
            );
            let both = tokio::join!(claimed(&one, "one", 3), claimed(&other, "other", 99));
            let both: HashSet<_> = both.0.into_iter().chain(both.1).collect();
            assert_eq!(both, (3..9).map(id).collect(), "each by one of them");
            assert_eq!(claimed(&one, "one", 1).await, [""; 0]);
            admin.batch_execute("COMMIT").await.unwrap();
            assert_eq!(
                claimed(&one, "one", 1).await,
                ["r000000"],
                "in their order again"
            );
        }
    });
}

/// Many workers at once share the due runs.
#[test]
fn workers_that_claim_at_once_share_what_is_due() {
    const RUNS: usize = 600;
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = async || options().listen(false).connect(&url).await.unwrap();
        let stores = [store().await, store().await, store().await, store().await];
        raw(&url).await.batch_execute(&due(RUNS)).await.unwrap();
        let workers = stores.iter().enumerate().map(async |(n, store)| {
            let (worker, mut all) = (format!("w{n}"), Vec::new());
            store.renew(&worker, Timestamp::MAX).await.unwrap();
            loop {
                let more = claimed(store, &worker, 7).await;
                if more.is_empty() {
                    return all;
                }
                all.extend(more);
            }
        });
        let all = join_all(workers).await.concat();
        assert_eq!(
            (all.len(), all.iter().collect::<HashSet<_>>().len()),
            (RUNS, RUNS),
            "each is claimed once"
        );
    });
}

/// The rows that a worker's own claim reads, however many other runs are due.
#[test]
fn a_claim_reads_what_it_returns_and_what_is_locked() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let mut read = Vec::new();
        for all in [1_000, 100_000] {
            let url = server.database().await.unwrap();
            drop(options().connect(&url).await.unwrap());
            let admin = raw(&url).await;
            admin.batch_execute(&due(all)).await.unwrap();
            admin.batch_execute("BEGIN; SELECT FROM workflow.runs WHERE due_at < 100 FOR UPDATE").await.unwrap();
            let eye = raw(&url).await;
            let (before, sql) = (
                "SELECT pg_stat_reset()",
                "SELECT (seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint + (SELECT sum(idx_tup_read)::bigint \
                 FROM pg_stat_user_indexes WHERE relname = 'runs') FROM pg_stat_user_tables WHERE relname = 'runs'",
            );
            gone(&eye).await;
            eye.execute(before, &[]).await.unwrap();
            let store = options().listen(false).connect(&url).await.unwrap();
            store.renew("w", Timestamp::MAX).await.unwrap();
            for _ in 0..10 {
                assert_eq!(claimed(&store, "w", 2).await.len(), 2);
            }
            drop(store);
            gone(&eye).await;
            read.push(eye.query_one(sql, &[]).await.unwrap().get::<_, i64>(0));
            admin.batch_execute("COMMIT").await.unwrap();
        }
        println!("{read:?} rows and entries were read by ten claims");
        assert!(read[1] < read[0] * 2, "it grows with what is due: {read:?}");
        assert!(read[1] < 10 * 3_000, "more than the locked ones and some pages: {read:?}");
    });
}

/// Waits until the store's connections have ended, because a connection reports its reads at its
/// end.
async fn gone(eye: &tokio_postgres::Client) {
    let sql = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
               AND application_name = 'workflow-postgres')";
    until(eye, sql).await;
}

/// Other statements skip locked rows too: the expiry of leases and of the runs of dead workers, and
/// purges.
#[test]
fn sweeps_and_purges_pass_by_what_is_locked() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let (dying, store) = (
            options().connect(&url).await.unwrap(),
            options().connect(&url).await.unwrap(),
        );
        for n in 0..12 {
            begin(&dying, &format!("r{n:02}"), &format!("dead-{n:02}")).await;
        }
        for n in 0..12 {
            dying.renew(&format!("dead-{n:02}"), at(n)).await.unwrap();
        }
        store.renew("w", Timestamp::MAX).await.unwrap();
        let admin = raw(&url).await;
        let lock = "BEGIN; SELECT FROM workflow.workers WHERE name < 'dead-06' FOR UPDATE; \
                    SELECT FROM workflow.runs WHERE id = 'r06' FOR UPDATE";
        admin.batch_execute(lock).await.unwrap();
        let claims = timeout(
            Duration::from_secs(20),
            store.claim(ClaimRequest {
                limit: 1,
                ..any("w")
            }),
        );
        assert_eq!(
            claims.await.unwrap().unwrap().runs[0].run.id,
            "r07",
            "the first that is not locked"
        );
        admin.batch_execute("COMMIT").await.unwrap();

        let mut ended = Vec::new();
        for n in 0..12 {
            let claim = begin(&store, &format!("e{n:02}"), "w").await;
            store
                .commit(append(claim, &format!("e{n:02}"), 2, Status::Completed))
                .await
                .unwrap();
            ended.push(claim);
        }
        admin
            .batch_execute(
                "BEGIN; SELECT FROM workflow.runs WHERE id BETWEEN 'e00' AND 'e07' FOR UPDATE",
            )
            .await
            .unwrap();
        let purge = Purge {
            completed: Some(Timestamp::MAX),
            limit: 1,
            ..Purge::default()
        };
        assert_eq!(
            store.purge(purge).await.unwrap().runs,
            1,
            "there is one that is not locked"
        );
        assert_eq!(
            store.run("e08").await.unwrap(),
            None,
            "the longest ended of those"
        );
        admin.batch_execute("COMMIT").await.unwrap();
    });
}

/// The clock of the database is behind what was written, because it was set back: what is queued
/// does not wait for it.
#[test]
fn a_database_whose_clock_was_set_back_strands_nothing() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        let now = store.now().await.unwrap().unwrap();
        let hour = now.saturating_add(Duration::from_secs(3_600));
        let later = |id: &str| {
            let mut new = new_run(id, "w", Status::Queued);
            new.record.at = hour;
            new
        };
        store.create(later("queued")).await.unwrap();
        let released = begin(&store, "released", "w").await;
        store.release(released, Due::Now(hour)).await.unwrap();
        store.create(later("cancelled")).await.unwrap();
        let cancel = CancelRequest { reason: None, immediate: false, at: hour };
        store.request_cancel("cancelled", cancel).await.unwrap();
        begin(&store, "retired", "retiring").await;
        store.retire("retiring", hour).await.unwrap();
        let waiting = begin(&store, "waiting", "w").await;
        store.release(waiting, Due::At(hour)).await.unwrap();
        // What a dead worker held, whose lease would last for an hour more.
        let length = Duration::from_millis(300);
        begin(&store, "died", "dead").await;
        store.renew("dead", now.saturating_add(length)).await.unwrap();
        let set_back =
            "UPDATE workflow.workers SET until = until + 3600000, renewed = renewed + 3600000 WHERE name = 'dead'";
        raw(&url).await.execute(set_back, &[]).await.unwrap();
        store.renew("w", Timestamp::MAX).await.unwrap();
        let one = ClaimRequest { run: Some("died".into()), now: Timestamp::MAX, ..any("w") };
        let over = async {
            loop {
                if let [died] = &store.claim(one.clone()).await.unwrap().runs[..] {
                    return died.died;
                }
            }
        };
        assert!(timeout(Duration::from_secs(20), over).await.expect("its lease lasts for an hour"));
        // By its id, and by its workflow; what the worker thinks the time is does not count either.
        let one = ClaimRequest { run: Some("queued".into()), now, ..any("w") };
        assert_eq!(store.claim(one).await.unwrap().runs.len(), 1);
        let claims = store.claim(ClaimRequest { now, limit: 2, ..any("w") }).await.unwrap();
        assert!(claims.next_due.is_some_and(|next_due| next_due <= now), "one is left: {claims:?}");
        let claims = store.claim(ClaimRequest { now: Timestamp::MAX, ..any("w") }).await.unwrap();
        assert_eq!((claims.runs.len(), claims.next_due), (1, Some(hour)), "only one waits");
        // Paused without a time, and cancelled.
        let paused = begin(&store, "paused", "w").await;
        store.commit(append(paused, "paused", 2, Status::Suspended)).await.unwrap();
        let cancel = CancelRequest { reason: None, immediate: false, at: hour };
        store.request_cancel("paused", cancel).await.unwrap();
        let claims = store.claim(ClaimRequest { now, ..any("w") }).await.unwrap();
        assert_eq!(claims.runs[0].run.id, "paused");
    });
}
