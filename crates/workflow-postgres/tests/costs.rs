//! Counting and purging cost in proportion to the new rows, and not to the rows that wait behind
//! one that is held up.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use support::hand::{append, begin, raw, until};
use support::{alone, options, runtime, server};
use tokio_postgres::Client;
use workflow_engine::store::{Cursor, Page, Position, Purge};
use workflow_engine::{Status, Store, Timestamp};
use workflow_postgres::PostgresStore;

/// Writes the given number of records in one transaction, as a worker does.
fn records(n: usize) -> String {
    format!(
        "INSERT INTO workflow.history (position, run, seq, last_seq, at, events, epoch)
         SELECT base + (pg_current_xact_id()::text::bigint << 20) + 2 * n, 999, n + 1, n + 1, 0, '[1]', 1
         FROM workflow.outbox, generate_series(0, {n} - 1) n"
    )
}

/// Returns the number of rows of a table that an operation on a separate store has read, by any
/// access.
async fn read(url: &str, table: &str, what: impl AsyncFnOnce(&PostgresStore)) -> i64 {
    let eye = raw(url).await;
    let gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
                AND application_name = 'workflow-postgres')";
    until(&eye, gone).await;
    eye.execute("SELECT pg_stat_reset()", &[]).await.unwrap();
    let store = options().listen(false).connect(url).await.unwrap();
    what(&store).await;
    drop(store);
    until(&eye, gone).await;
    let sql = format!(
        "SELECT (seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_user_tables WHERE relname = '{table}'"
    );
    eye.query_one(&sql, &[]).await.unwrap().get(0)
}

/// A transaction stays open, also in another database: the events behind it are counted once, and
/// not at each call.
#[test]
fn what_stands_behind_an_open_transaction_is_counted_once() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let mut costs = Vec::new();
        for behind in [2_000, 100_000] {
            let url = server.database().await.unwrap();
            drop(options().connect(&url).await.unwrap());
            let slow = raw(&server.url_of("postgres")).await;
            slow.batch_execute("BEGIN; SELECT pg_current_xact_id()")
                .await
                .unwrap();
            raw(&url)
                .await
                .batch_execute(&records(behind))
                .await
                .unwrap();
            let ends = async |store: &PostgresStore| {
                for _ in 0..20 {
                    let end = store.outbox_end().await.unwrap();
                    assert_eq!(end.accepted, behind as u64);
                    assert!(
                        end.readable < end.position,
                        "the case is not the one that is tested"
                    );
                    assert_eq!(
                        store
                            .outbox(Position(0), Page::events(9))
                            .await
                            .unwrap()
                            .len(),
                        0
                    );
                    let cursor = store.open_cursor("sink").await.unwrap();
                    assert_eq!(cursor, Cursor::default());
                }
            };
            read(&url, "history", ends).await;
            costs.push(read(&url, "history", ends).await);
            slow.batch_execute("COMMIT").await.unwrap();
            // Nor is it counted again when the transaction has ended.
            let later = read(&url, "history", async |store| {
                for _ in 0..20 {
                    let end = store.outbox_end().await.unwrap();
                    assert_eq!((end.accepted, end.readable), (behind as u64, end.position));
                }
            });
            costs.push(later.await);
        }
        println!("{costs:?} rows of the history were read by twenty calls");
        assert!(
            costs.iter().all(|read| *read <= 20 * 1_100),
            "it grows with what stands there: {costs:?}"
        );
    });
}

/// Transactions begin, write and end in any order, and some never commit. At each count the number
/// is that of the visible and the purged events.
#[test]
fn every_event_is_counted_once_whatever_was_open_when_it_was_counted() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = options().connect(&url).await.unwrap();
        let eye = raw(&url).await;
        let mut writers: Vec<(Client, bool)> = Vec::new();
        for _ in 0..6 {
            writers.push((raw(&url).await, false));
        }
        let mut random = fastrand::Rng::with_seed(12);
        let (mut next, mut purged) = (0, 0);
        for step in 0..400 {
            let (writer, is_open) = &mut writers[random.usize(..6)];
            match random.u8(..10) {
                0..5 if !*is_open => {
                    let begin = if random.bool() {
                        "BEGIN; SELECT pg_current_xact_id()"
                    } else {
                        "BEGIN"
                    };
                    writer.batch_execute(begin).await.unwrap();
                    let rows =
                        records(random.usize(1..20)).replace("999", &format!("{}", 1_000 + step));
                    writer.batch_execute(&rows).await.unwrap();
                    *is_open = true;
                }
                0..5 => {
                    writer
                        .batch_execute(if random.u8(..4) == 0 {
                            "ROLLBACK"
                        } else {
                            "COMMIT"
                        })
                        .await
                        .unwrap();
                    *is_open = false;
                }
                5..7 => {
                    eye.execute("SELECT workflow.count_events()", &[])
                        .await
                        .unwrap();
                }
                7 => {
                    let id = format!("r{next}");
                    next += 1;
                    let claim = begin(&store, &id, "w").await;
                    store
                        .commit(append(claim, &id, 2, Status::Completed))
                        .await
                        .unwrap();
                }
                8 => {
                    let purge = Purge {
                        completed: Some(Timestamp::MAX),
                        limit: 2,
                        ..Purge::default()
                    };
                    purged += store.purge(purge).await.unwrap().events;
                }
                _ => {}
            }
            let seen: i64 = eye
                .query_one("SELECT count(*) FROM workflow.history", &[])
                .await
                .unwrap()
                .get(0);
            let accepted = store.outbox_end().await.unwrap().accepted;
            assert_eq!(accepted, seen.unsigned_abs() + purged, "after step {step}");
        }
        assert!(
            next > 10 && purged > 10,
            "the case is not the one that is tested"
        );
    });
}

/// Ended runs that cannot be purged, because a sink is before their events or they are kept for
/// ever.
const KEPT: &str = "
    INSERT INTO workflow.runs (id, workflow, status, last_seq, epoch, recoveries, created_at, ended_at)
    SELECT 'kept-' || n, 'w', CASE WHEN n % 2 = 0 THEN 'completed' ELSE 'failed' END, 2, 1, 0, 0, n
    FROM generate_series(1, {n}) n;
    INSERT INTO workflow.history (position, run, seq, last_seq, at, events, epoch)
    SELECT (pg_current_xact_id()::text::bigint << 20) + (r.key >> 24) * 2 + n, r.key, n, n, 0, '[1]', 1
    FROM workflow.runs r, generate_series(1, 2) n";

#[test]
fn a_purge_that_can_remove_nothing_reads_nothing_again() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let (mut costs, all) = (
            Vec::new(),
            Purge {
                completed: Some(Timestamp::MAX),
                limit: 256,
                ..Purge::default()
            },
        );
        for kept in [1_000, 30_000] {
            let url = server.database().await.unwrap();
            let store = options().connect(&url).await.unwrap();
            store.open_cursor("stands still").await.unwrap();
            raw(&url)
                .await
                .batch_execute(&KEPT.replace("{n}", &kept.to_string()))
                .await
                .unwrap();
            assert_eq!(store.purge(all).await.unwrap().runs, 0);
            drop(store);
            let nothing = async |store: &PostgresStore| {
                for _ in 0..5 {
                    assert_eq!(store.purge(all).await.unwrap().runs, 0);
                }
            };
            costs.push(read(&url, "runs", nothing).await);
            // The sink is forgotten: the completed ones can go, and the failed ones, which are
            // kept, are not read.
            let costs = &mut costs;
            let some = read(&url, "runs", async |store| {
                assert!(store.drop_cursor("stands still").await.unwrap());
                for _ in 0..3 {
                    assert_eq!(
                        store.purge(Purge { limit: 100, ..all }).await.unwrap().runs,
                        100
                    );
                }
            });
            costs.push(some.await);
        }
        println!("{costs:?} rows of the runs were read");
        assert!(
            costs[0] < 100 && costs[2] < 100,
            "five purges that remove nothing: {costs:?}"
        );
        assert!(
            costs[1] < 3_000 && costs[3] < 3_000,
            "three purges of a hundred: {costs:?}"
        );
    });
}

/// A purge records which runs it has examined, and does not miss runs that can be purged later.
#[test]
fn a_purge_that_found_nothing_misses_nothing_later() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = options().connect(&url).await.unwrap();
        let sink = store
            .claim_sink("sink", "w", Timestamp::UNIX_EPOCH)
            .await
            .unwrap()
            .unwrap();
        let ended = async |id: &str, status| {
            let claim = begin(&store, id, "w").await;
            store.commit(append(claim, id, 2, status)).await.unwrap();
        };
        let at = |millis| Some(Timestamp::from_millis(millis).unwrap());
        let purge =
            async |purge: Purge| store.purge(Purge { limit: 9, ..purge }).await.unwrap().runs;
        ended("one", Status::Completed).await;
        ended("two", Status::Failed).await;
        let both = Purge {
            completed: at(9),
            failed: at(9),
            ..Purge::default()
        };
        for _ in 0..2 {
            assert_eq!(purge(both).await, 0, "the sink has had nothing");
        }
        // The cursor moves; then only the requested runs are purged.
        let end = store.outbox_end().await.unwrap();
        let cursor = Cursor {
            position: end.position,
            delivered: 4,
            ..Cursor::default()
        };
        store.set_cursor(&sink, cursor).await.unwrap();
        for _ in 0..2 {
            assert_eq!(
                purge(Purge {
                    completed: at(0),
                    ..Purge::default()
                })
                .await,
                0,
                "none ended before"
            );
        }
        // A later time, and another status.
        assert_eq!(
            purge(Purge {
                completed: at(9),
                ..Purge::default()
            })
            .await,
            1
        );
        assert_eq!(
            purge(Purge {
                completed: at(9),
                ..Purge::default()
            })
            .await,
            0
        );
        // One that is locked is not forgotten.
        let admin = raw(&url).await;
        admin
            .batch_execute("BEGIN; SELECT FROM workflow.runs WHERE id = 'two' FOR UPDATE")
            .await
            .unwrap();
        assert_eq!(purge(both).await, 0, "it is locked");
        admin.batch_execute("COMMIT").await.unwrap();
        assert_eq!(purge(both).await, 1);
        // What ends later, at the same time of day.
        ended("three", Status::Completed).await;
        assert_eq!(purge(both).await, 0, "the sink has not had it");
        assert!(store.drop_cursor("sink").await.unwrap());
        assert_eq!(purge(both).await, 1);
    });
}
