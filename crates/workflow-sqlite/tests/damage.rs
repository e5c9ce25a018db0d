//! Damage: a value that cannot be read does not affect other runs, and a refused operation changes
//! nothing.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::sync::Arc;

use futures::future::{join, join_all};
use rusqlite::Connection;
use support::{File, commit, new_run, record, started};
use workflow_engine::store::{
    CancelRequest, ClaimRequest, Claims, Commit, Cursor, Due, NewRun, Page, Position, Purge, Span,
};
use workflow_engine::{Status, Store, StoreError, Timestamp};
use workflow_sqlite::SqliteStore;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn any(worker: &str, now: i64) -> ClaimRequest {
    ClaimRequest {
        worker: worker.into(),
        now: at(now),
        run: None,
        workflows: None,
        limit: 9,
    }
}

fn ids(claims: &Claims) -> Vec<&str> {
    claims
        .runs
        .iter()
        .map(|claimed| claimed.run.id.as_str())
        .collect()
}

/// Damages the file with a connection beside the store.
fn damage(file: &File, sql: &str) {
    file.raw(|db: &Connection| {
        let changed = db
            .execute_batch("PRAGMA ignore_check_constraints = ON")
            .and_then(|()| db.execute(sql, []));
        assert_eq!(changed, Ok(1), "{sql}");
    });
}

/// Values that the columns of a run cannot have.
const DAMAGED_VALUES: [(&str, &str); 18] = [
    ("id", "CAST(x'ff' AS TEXT)"),
    ("workflow", "CAST(x'ff' AS TEXT)"),
    ("execution_id", "CAST(x'ff' AS TEXT)"),
    ("status", "'damaged'"),
    ("status", "CAST(x'ff' AS TEXT)"),
    ("epoch", "-1"),
    ("epoch", "9223372036854775807"),
    ("created_at", "9223372036854775807"),
    ("created_at", "-9223372036854775808"),
    ("ended_at", "9223372036854775807"),
    ("due_at", "9223372036854775807"),
    ("due_at", "-9223372036854775808"),
    ("worker", "CAST(x'ff' AS TEXT)"),
    ("recoveries", "-1"),
    ("recoveries", "4294967296"),
    ("cancel_reason", "CAST(x'ff' AS TEXT), cancel_at = 1"),
    ("cancel_at_once", "9, cancel_at = 1"),
    ("cancel_at", "9223372036854775807"),
];

/// Makes a file with three due runs, of which the second is damaged. They are ready, or waited for
/// a time that has passed.
async fn damaged(column: &str, value: &str, waits: bool) -> (File, SqliteStore) {
    let file = File::new();
    let store = file.open();
    for id in ["a", "b", "c"] {
        let claim = started(&store, id).await;
        store
            .release(
                claim,
                if waits {
                    Due::At(at(1))
                } else {
                    Due::Now(at(1))
                },
            )
            .await
            .unwrap();
    }
    damage(
        &file,
        &format!("UPDATE runs SET {column} = {value} WHERE id = 'b'"),
    );
    (file, store)
}

#[tokio::test]
async fn a_claim_holds_exactly_the_runs_it_returns_whatever_is_damaged() {
    for (column, value) in DAMAGED_VALUES {
        for waits in [false, true] {
            let case = format!("{column} = {value}, waits: {waits}");
            let (file, store) = damaged(column, value, waits).await;
            store.renew("w", at(1_000_000)).await.unwrap();
            let claims = store
                .claim(any("w", 10))
                .await
                .unwrap_or_else(|error| panic!("{case}: {error}"));
            let mut taken = ids(&claims);
            // Some of these values are legal, so the run can be read.
            taken.retain(|id| *id != "b");
            assert_eq!(taken, ["a", "c"], "{case}");
            let mut held = store.held("w").await.unwrap();
            held.retain(|id| id != "b");
            assert_eq!(
                held,
                ["a", "c"],
                "{case}: the worker holds the runs that the claim returned"
            );
            if claims.runs.len() == 2 {
                assert!(
                    claims.next_due.unwrap() > at(10_000),
                    "{case}: the damaged run is postponed, so that workers do not spin"
                );
                let again = store.claim(any("w", 20)).await.unwrap();
                assert_eq!(
                    (ids(&again), again.next_due),
                    (vec![], claims.next_due),
                    "{case}"
                );
            }
            if column == "id" {
                damage(
                    &file,
                    "UPDATE runs SET worker = 'w', due_at = NULL WHERE key = 2",
                );
                assert_eq!(
                    store.held("w").await.unwrap(),
                    ["a", "c"],
                    "{case}: the damaged id hides no other"
                );
                damage(
                    &file,
                    "UPDATE runs SET worker = NULL, due_at = 60010 WHERE key = 2",
                );
            }
            // A later claim, a claim of some workflows, and changes of the lease do not fail.
            let request = ClaimRequest {
                workflows: Some(vec!["workflow".into()]),
                ..any("w", 200_000)
            };
            store
                .claim(request)
                .await
                .unwrap_or_else(|error| panic!("{case}: {error}"));
            store
                .renew("w", at(2_000_000))
                .await
                .unwrap_or_else(|error| panic!("{case}: {error}"));
            store
                .retire("w", at(200_000))
                .await
                .unwrap_or_else(|error| panic!("{case}: {error}"));
            store.renew("x", at(2_000_000)).await.unwrap();
            let rest = store
                .claim(any("x", 200_000))
                .await
                .unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(
                ["a", "c"].iter().all(|id| ids(&rest).contains(id)),
                "{case}: {rest:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_lease_that_cannot_be_read_has_expired() {
    for damaged in [
        "until = 9223372036854775807",
        "until = -9223372036854775808",
        "name = CAST(x'ff' AS TEXT)",
    ] {
        let file = File::new();
        let store = file.open();
        store.create(new_run("due", Status::Queued)).await.unwrap();
        started(&store, "held").await;
        damage(
            &file,
            &format!("UPDATE workers SET {damaged} WHERE name = 'worker'"),
        );
        store.renew("w", at(1_000_000)).await.unwrap();
        let claims = store
            .claim(any("w", 10))
            .await
            .unwrap_or_else(|error| panic!("{damaged}: {error}"));
        if damaged.starts_with("until") {
            assert_eq!(ids(&claims), ["due", "held"], "{damaged}");
            assert!(
                claims.runs[1].died && claims.runs[1].run.recoveries == 1,
                "{damaged}: {claims:?}"
            );
        } else {
            assert_eq!(
                (ids(&claims), claims.next_due),
                (vec!["due"], None),
                "{damaged}: the lease has no holder"
            );
        }
        assert!(
            store
                .claim_sink("sink", "worker", at(10))
                .await
                .unwrap()
                .is_some()
        );
        damage(
            &file,
            "UPDATE workers SET until = 9223372036854775807 WHERE name = 'w'",
        );
        assert!(
            store
                .claim_sink("sink", "other", at(10))
                .await
                .unwrap()
                .is_some()
                || damaged.starts_with("name")
        );
        store.retire("w", at(20)).await.unwrap();
        store.renew("x", at(1_000_000)).await.unwrap();
        assert!(
            ids(&store.claim(any("x", 30)).await.unwrap()).contains(&"due"),
            "{damaged}"
        );
    }
}

#[tokio::test]
async fn a_refused_write_changes_nothing_and_does_not_disturb_others() {
    let file = File::new();
    let store = Arc::new(file.open());
    let dying = NewRun {
        worker: "dying".into(),
        ..new_run("held", Status::Running)
    };
    store.renew("dying", at(5)).await.unwrap();
    store.create(dying).await.unwrap();
    store
        .create(new_run("damaged", Status::Queued))
        .await
        .unwrap();
    let claim = started(&store, "busy").await;
    damage(
        &file,
        "UPDATE runs SET status = 'damaged' WHERE id = 'damaged'",
    );
    // A claim of one run first makes the runs of the dead worker ready, and is then refused.
    let one = ClaimRequest {
        run: Some("damaged".into()),
        ..any("worker", 10)
    };
    let refused = store.claim(one.clone()).await;
    assert!(
        matches!(refused, Err(StoreError::Corrupt { .. })),
        "{refused:?}"
    );
    let held = store.run("held").await.unwrap().unwrap();
    assert_eq!(
        (held.due_at, held.worker.as_deref()),
        (None, Some("dying")),
        "nothing was changed"
    );
    // The same happens in groups with other writes, and those are done.
    let refusals = (0..40).map(|_| store.claim(one.clone()));
    let creations = (0..40).map(|n| {
        let store = store.clone();
        async move {
            store
                .create(new_run(&format!("new-{n}"), Status::Queued))
                .await
        }
    });
    let commits = async {
        for seq in 2..20 {
            store
                .commit(commit(claim, vec![record(seq, 1)], Status::Running))
                .await
                .unwrap();
        }
    };
    let (refusals, (creations, ())) =
        join(join_all(refusals), join(join_all(creations), commits)).await;
    assert!(
        refusals
            .iter()
            .all(|refused| matches!(refused, Err(StoreError::Corrupt { .. }))),
        "{refusals:?}"
    );
    assert!(creations.iter().all(Result::is_ok), "{creations:?}");
    assert_eq!(store.run("held").await.unwrap().unwrap().due_at, None);
    assert_eq!(store.records(claim.key, Span::All).await.unwrap().len(), 19);
    let outbox = store.outbox(Position(0), Page::events(999)).await.unwrap();
    assert!(
        outbox
            .iter()
            .zip(1..)
            .all(|((position, _), expected)| position.0 == expected),
        "every position has an event"
    );
    assert_eq!(
        outbox.len() as u64,
        store.outbox_end().await.unwrap().accepted
    );
    // A claim of any run succeeds, and includes the run of the dead worker.
    assert!(
        ids(&store
            .claim(ClaimRequest {
                limit: 99,
                ..any("worker", 10)
            })
            .await
            .unwrap())
        .contains(&"held")
    );
}

#[tokio::test]
async fn every_other_refusal_of_damage_changes_nothing() {
    for (column, value) in DAMAGED_VALUES {
        let (file, store) = damaged(column, value, false).await;
        if column == "id" {
            continue;
        }
        let dump = || {
            let mut rows = Vec::new();
            file.raw(|db| {
                for table in ["runs", "history", "workers", "cursors", "outbox"] {
                    let mut all = db
                        .prepare(&format!("SELECT * FROM {table} ORDER BY 1"))
                        .unwrap();
                    let columns = all.column_count();
                    let mut read = all.query([]).unwrap();
                    while let Some(row) = read.next().unwrap() {
                        rows.push(
                            (0..columns)
                                .map(|n| format!("{:?}", row.get_ref(n)))
                                .collect::<Vec<_>>(),
                        );
                    }
                }
            });
            rows
        };
        let before = dump();
        let cancel = CancelRequest {
            reason: None,
            immediate: false,
            at: at(1),
        };
        let refused = [
            store.create(new_run("b", Status::Queued)).await.map(drop),
            store.request_cancel("b", cancel).await.map(drop),
            store
                .claim(ClaimRequest {
                    run: Some("b".into()),
                    ..any("w", 10)
                })
                .await
                .map(drop),
        ];
        if refused
            .iter()
            .all(|answer| matches!(answer, Err(StoreError::Corrupt { .. })))
        {
            assert_eq!(dump(), before, "{column} = {value}");
        } else {
            // The value is legal, so the run can be read.
            assert!(
                store.run("b").await.is_ok(),
                "{column} = {value}: {refused:?}"
            );
        }
    }
}

#[tokio::test]
async fn damage_keeps_no_other_run_from_being_purged() {
    for damaged in [
        "UPDATE history SET last_seq = -9 WHERE run = 2 AND seq = 2",
        "UPDATE history SET last_seq = 9223372036854775807 WHERE run = 2 AND seq = 2",
        "UPDATE history SET seq = -9223372036854775808 WHERE run = 2 AND seq = 2",
        "UPDATE history SET events = 'none' WHERE run = 2 AND seq = 2",
        "UPDATE runs SET recoveries = -1 WHERE key = 2",
        "UPDATE runs SET ended_at = -9223372036854775808 WHERE key = 2",
        "UPDATE runs SET ended_at = 9223372036854775807 WHERE key = 2",
        "UPDATE runs SET id = CAST(x'ff' AS TEXT) WHERE key = 2",
    ] {
        let file = File::new();
        let store = file.open();
        for id in ["a", "b", "c"] {
            let claim = started(&store, id).await;
            store
                .commit(commit(claim, vec![record(2, 1)], Status::Completed))
                .await
                .unwrap();
        }
        let end = store.outbox_end().await.unwrap().position;
        store.open_cursor("sink").await.unwrap();
        let held = store
            .claim_sink("sink", "worker", at(0))
            .await
            .unwrap()
            .unwrap();
        let cursor = Cursor {
            position: end,
            delivered: 6,
            ..Cursor::default()
        };
        store.set_cursor(&held, cursor).await.unwrap();
        damage(&file, damaged);
        let purge = Purge {
            completed: Some(at(1_000)),
            limit: 9,
            ..Purge::default()
        };
        store
            .purge(purge)
            .await
            .unwrap_or_else(|error| panic!("{damaged}: {error}"));
        for id in ["a", "c"] {
            assert_eq!(store.run(id).await.unwrap(), None, "{damaged}");
        }
    }
}

#[tokio::test]
async fn the_events_before_a_damaged_record_are_delivered() {
    for damaged in [
        "events = '[{]'",
        "events = '[]'",
        "events = '[1, 2]'",
        "last_seq = 9",
    ] {
        let file = File::new();
        let store = file.open();
        let claim = started(&store, "a").await;
        for seq in 2..5 {
            let records = vec![record(seq, 1)];
            store
                .commit(Commit {
                    due_at: None,
                    ..commit(claim, records, Status::Running)
                })
                .await
                .unwrap();
        }
        damage(
            &file,
            &format!("UPDATE history SET {damaged} WHERE position = 3"),
        );
        let page = store
            .outbox(Position(0), Page::events(9))
            .await
            .unwrap_or_else(|error| panic!("{damaged}: {error}"));
        assert_eq!(page.len(), 2, "{damaged}");
        let refused = store.outbox(Position(2), Page::events(9)).await;
        assert!(
            matches!(refused, Err(StoreError::Corrupt { .. })),
            "{damaged}: {refused:?}"
        );
    }
}

/// More damaged runs are due first than one claim postpones. The healthy run after them is executed
/// all the same.
#[tokio::test]
async fn a_short_lived_process_skips_damaged_runs() {
    use workflow_engine::{Context, Engine, Failure, Workflow};

    const WELL: Workflow<u32, u32> = Workflow::new("well");

    async fn well(_: Context, input: u32) -> Result<u32, Failure> {
        Ok(input)
    }

    let file = File::new();
    let store = file.open();
    let engine = || {
        Engine::builder()
            .store(Arc::new(store.clone()))
            .workflow(&WELL, well)
            .build()
            .unwrap()
    };
    let first = engine();
    for n in 0..200 {
        first.start(&WELL, format!("damaged-{n}"), n).await.unwrap();
    }
    file.raw(|db: &Connection| {
        db.execute("UPDATE runs SET status = 'damaged'", [])
            .map(drop)
            .unwrap()
    });
    first.start(&WELL, "healthy", 7).await.unwrap();
    let idle = engine().run_until_idle().await.unwrap();
    assert_eq!(idle.executed, 1, "next due: {:?}", idle.next_wake);
}
