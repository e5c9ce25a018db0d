//! The outbox: rows become visible in the order of their commits, not of their positions, and a
//! reader loses none.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{join, join_all};
use support::hand::{self, BLOCKED, begin, raw, texts, until};
use support::{alone, fresh_in, options, runtime, server};
use workflow_engine::store::{Claim, Commit, Page, Position, Purge, Record};
use workflow_engine::{EncodedEvent, Status, Store, Timestamp};
use workflow_postgres::PostgresStore;

async fn append(store: &PostgresStore, claim: Claim, run: &str, seq: u64, status: Status) {
    store
        .commit(hand::append(claim, run, seq, status))
        .await
        .unwrap();
}

#[test]
fn an_event_that_is_committed_late_is_read_before_those_that_overtook_it() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let (url, schema, store) = fresh_in(server).await;
        let one = begin(&store, "one", "w").await;
        let read = store.outbox(Position(0), Page::events(99)).await.unwrap();
        assert_eq!(texts(&read), [r#"{"run":"one","seq":1}"#]);
        let cursor = read[0].0;

        // Another worker's transaction takes its id, writes, and is slow to commit.
        let slow = raw(&url).await;
        slow.batch_execute(&format!(
            "BEGIN;
             INSERT INTO {schema}.history (position, run, seq, last_seq, at, events, epoch)
             SELECT base + (pg_current_xact_id()::text::bigint << 20), 999, 1, 1, 0, '[\"late\"]', 1 FROM {schema}.outbox"
        ))
        .await
        .unwrap();
        append(&store, one, "one", 2, Status::Running).await;

        // A reader by position alone moves past the position of an event that is not committed yet.
        let naive = raw(&url).await;
        let sql = format!("SELECT events FROM {schema}.history WHERE position > {} ORDER BY position", cursor.0);
        let seen: Vec<String> = naive.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
        assert_eq!(seen, [r#"[{"run":"one","seq":2}]"#], "the control: a plain cursor would lose the late one");

        // The store knows that there are events, and returns none before it knows the earlier ones.
        let end = store.outbox_end().await.unwrap();
        assert!(end.accepted == 2 && end.readable < end.position, "{end:?}");
        assert_eq!(store.outbox(cursor, Page::events(99)).await.unwrap().len(), 0);

        slow.batch_execute("COMMIT").await.unwrap();
        let read = store.outbox(cursor, Page::events(99)).await.unwrap();
        assert_eq!(texts(&read), [r#""late""#, r#"{"run":"one","seq":2}"#]);
        let end = store.outbox_end().await.unwrap();
        assert_eq!((end.accepted, end.readable, Some(end.position)), (3, end.position, read.last().map(|event| event.0)));
    });
}

#[test]
fn a_purge_leaves_what_an_older_transaction_keeps_from_being_read() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let (url, _, store) = fresh_in(server).await;
        let slow = raw(&url).await;
        slow.batch_execute("BEGIN; SELECT pg_current_xact_id()")
            .await
            .unwrap();
        let one = begin(&store, "one", "w").await;
        append(&store, one, "one", 2, Status::Completed).await;
        let purge = Purge {
            completed: Some(Timestamp::MAX),
            limit: 9,
            ..Purge::default()
        };
        assert_eq!(store.purge(purge).await.unwrap().runs, 0);
        assert_eq!(store.outbox_end().await.unwrap().accepted, 2);
        slow.batch_execute("COMMIT").await.unwrap();
        let purged = store.purge(purge).await.unwrap();
        assert_eq!((purged.runs, purged.events), (1, 2));
        let end = store.outbox_end().await.unwrap();
        assert_eq!(
            (
                end.accepted,
                store.open_cursor("late").await.unwrap().missed
            ),
            (2, 2)
        );
    });
}

/// A purge that waits for a cursor that is being opened removes nothing that the cursor needs, and
/// fails where it would not see the cursor.
#[test]
fn a_purge_sees_a_cursor_that_was_opened_while_it_waited() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = options().connect(&url).await.unwrap();
        let one = begin(&store, "one", "w").await;
        append(&store, one, "one", 2, Status::Completed).await;

        let opening = raw(&url).await;
        opening
            .batch_execute(
                "BEGIN; INSERT INTO workflow.cursors (sink, position, delivered, rejected, missed)
                 SELECT 'sink', 0, 0, 0, purged FROM workflow.outbox FOR SHARE",
            )
            .await
            .unwrap();
        let purging = tokio::spawn({
            let (store, purge) = (
                store.clone(),
                Purge {
                    completed: Some(Timestamp::MAX),
                    limit: 9,
                    ..Purge::default()
                },
            );
            async move { store.purge(purge).await }
        });
        until(&raw(&url).await, BLOCKED).await;
        opening.batch_execute("COMMIT").await.unwrap();
        assert_eq!(purging.await.unwrap().unwrap().runs, 0);
        assert_eq!(
            store
                .outbox(Position(0), Page::events(9))
                .await
                .unwrap()
                .len(),
            2,
            "the sink has had none of them"
        );

        // An administrator thinks that stricter is better, later than the store has looked.
        let database = url.split("dbname=").nth(1).unwrap();
        let sql = format!(
            "ALTER DATABASE {database} SET default_transaction_isolation = 'repeatable read'"
        );
        server.execute(&sql).await.unwrap();
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        );
        server.execute(&sql).await.unwrap();
        // The old connections are found to be closed first.
        while let Err(error) = store
            .purge(Purge {
                completed: Some(Timestamp::MAX),
                limit: 9,
                ..Purge::default()
            })
            .await
        {
            if format!("{error:?}").contains("read committed") {
                return;
            }
        }
        panic!("a purge that may not see every cursor was not refused");
    });
}

/// Four stores write on connections of their own, with transactions that are slow to commit in
/// between, while a reader follows.
#[test]
fn a_reader_that_follows_many_writers_sees_every_event_once_and_in_order() {
    const RUNS: usize = 8;
    const EVENTS: u64 = 60;
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let (url, schema, store) = fresh_in(server).await;
        let done = AtomicBool::new(false);
        let write = async |worker: usize| {
            let store = options()
                .schema(schema.trim_matches('"'))
                .connect(&url)
                .await
                .unwrap();
            let run = async |n: usize| {
                let (id, worker) = (format!("{worker}-{n}"), format!("w{worker}"));
                let claim = begin(&store, &id, &worker).await;
                for seq in 2..=EVENTS {
                    append(&store, claim, &id, seq, Status::Running).await;
                }
            };
            join_all((0..RUNS).map(run)).await;
        };
        let slow = async {
            let client = raw(&url).await;
            while !done.load(Ordering::Relaxed) {
                client
                    .batch_execute("BEGIN; SELECT pg_current_xact_id()")
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(15)).await; // tidy: sleep: a transaction that takes its time
                client.batch_execute("COMMIT").await.unwrap();
            }
        };
        let read = async {
            let (mut cursor, mut seen) = (Position(0), HashMap::<String, u64>::new());
            let all = 4 * RUNS as u64 * EVENTS;
            while seen.values().sum::<u64>() < all {
                for (position, event) in store.outbox(cursor, Page::events(50)).await.unwrap() {
                    assert!(position > cursor);
                    cursor = position;
                    let event: serde_json::Value = serde_json::from_str(event.as_str()).unwrap();
                    let last = seen
                        .entry(event["run"].as_str().unwrap().to_owned())
                        .or_default();
                    *last += 1;
                    assert_eq!(
                        event["seq"], *last,
                        "an event of a run was skipped, repeated, or out of order"
                    );
                }
            }
            done.store(true, Ordering::Relaxed);
        };
        let writers = join_all((0..4).map(write));
        tokio::time::timeout(Duration::from_secs(120), join(writers, join(slow, read)))
            .await
            .unwrap();
        assert_eq!(
            store.outbox_end().await.unwrap().accepted,
            4 * RUNS as u64 * EVENTS
        );
        let _: Arc<dyn Store> = Arc::new(store);
    });
}

/// A dump that is restored into a younger cluster brings positions that are larger than those of
/// its transactions.
#[test]
fn positions_go_on_behind_those_of_another_cluster() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let (url, schema, store) = fresh_in(server).await;
        let one = begin(&store, "one", "w").await;
        let far = 1_i64 << 60;
        raw(&url)
            .await
            .batch_execute(&format!("UPDATE {schema}.history SET position = {far}"))
            .await
            .unwrap();
        drop(store);
        let store = options()
            .schema(schema.trim_matches('"'))
            .connect(&url)
            .await
            .unwrap();
        store.renew("w", Timestamp::MAX).await.unwrap();
        append(&store, one, "one", 2, Status::Running).await;
        let read = store.outbox(Position(0), Page::events(99)).await.unwrap();
        assert_eq!(
            texts(&read),
            [r#"{"run":"one","seq":1}"#, r#"{"run":"one","seq":2}"#]
        );
        assert!(read[1].0 > Position(far.unsigned_abs()));
    });
}

/// Events are read in pages, for events of any size.
#[test]
fn large_events_are_read_a_few_at_a_time() {
    const EVENTS: u64 = 9;
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let (_, _, store) = fresh_in(server).await;
        let claim = begin(&store, "one", "w").await;
        for seq in 2..=EVENTS {
            let size = if seq == 5 { 6 << 20 } else { 1 << 20 };
            let event = EncodedEvent::from_json(format!("\"{seq}{}\"", "x".repeat(size))).unwrap();
            let record = Record {
                first_seq: seq,
                at: Timestamp::UNIX_EPOCH,
                events: vec![event],
                entry: None,
            };
            let commit = Commit {
                claim,
                records: vec![record],
                status: Status::Running,
                due_at: None,
            };
            store.commit(commit).await.unwrap();
        }
        let (mut cursor, mut pages) = (Position(0), Vec::new());
        loop {
            let page = store.outbox(cursor, Page::events(512)).await.unwrap();
            let Some((last, _)) = page.last() else { break };
            cursor = *last;
            pages.push(page.len());
        }
        assert_eq!(pages.iter().sum::<usize>() as u64, EVENTS, "{pages:?}");
        assert_eq!(
            pages,
            [4, 1, 3, 1],
            "what does not fit into four mebibytes begins the next page, and is read once"
        );
    });
}
