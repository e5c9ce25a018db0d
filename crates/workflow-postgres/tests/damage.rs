//! A row that cannot be read: an operation happens for all other rows, or for none.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use futures::future::join_all;
use support::hand::{append, begin, raw};
use support::{alone, options, runtime, server};
use workflow_engine::store::{
    CancelReply, CancelRequest, Claim, ClaimRequest, Commit, Due, Purge, Record, Span,
};
use workflow_engine::{RunFilter, Status, Store, StoreError, Timestamp};
use workflow_postgres::PostgresStore;

/// Each column of a run with what it must not hold.
const DAMAGE: &[(&str, &str)] = &[
    ("status", "'odd'"),
    ("last_seq", "-1"),
    ("epoch", "-7"),
    ("epoch", "9223372036854775807"),
    ("recoveries", "-1"),
    ("recoveries", "9223372036854775807"),
    ("created_at", "9223372036854775807"),
    ("created_at", "-9223372036854775808"),
    ("ended_at", "9223372036854775807"),
    ("cancel_at", "9223372036854775807"),
    ("due_at", "-9223372036854775808"),
];

fn now() -> Timestamp {
    Timestamp::from_millis(1_000_000).unwrap()
}

fn any(limit: usize) -> ClaimRequest {
    ClaimRequest {
        worker: "w".into(),
        now: now(),
        run: None,
        workflows: None,
        limit,
    }
}

fn cancel() -> CancelRequest {
    CancelRequest {
        reason: None,
        immediate: false,
        at: now(),
    }
}

/// A store with three runs, which its worker holds.
async fn three(url: &str) -> (PostgresStore, Vec<Claim>) {
    let store = options().connect(url).await.unwrap();
    let mut claims = Vec::new();
    for n in 0..3 {
        claims.push(begin(&store, &format!("r{n}"), "w").await);
    }
    (store, claims)
}

#[test]
fn a_damaged_run_keeps_no_other_from_being_claimed_wherever_it_is_damaged() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        for (column, value) in DAMAGE {
            let url = server.database().await.unwrap();
            let (store, claims) = three(&url).await;
            for claim in claims {
                store
                    .release(claim, Due::Now(Timestamp::UNIX_EPOCH))
                    .await
                    .unwrap();
            }
            let admin = raw(&url).await;
            let damage = format!("UPDATE workflow.runs SET {column} = {value} WHERE id = 'r1'");
            admin.execute(&damage, &[]).await.unwrap();
            let row = async || {
                let sql = "SELECT r::text FROM workflow.runs r WHERE id = 'r1'";
                admin.query_one(sql, &[]).await.unwrap().get::<_, String>(0)
            };
            let before = row().await;
            // By its id: it says that it cannot be read, and is not taken.
            let one = store
                .claim(ClaimRequest {
                    run: Some("r1".into()),
                    ..any(1)
                })
                .await;
            match one {
                Err(StoreError::Corrupt { .. } | StoreError::Refused { .. }) => {
                    assert_eq!(
                        row().await,
                        before,
                        "{column} = {value}: nothing was changed"
                    );
                    let refused = store.request_cancel("r1", cancel()).await;
                    let accepted = matches!(refused, Ok(CancelReply::Accepted(_)));
                    assert!(
                        accepted || row().await == before,
                        "{column} = {value}: {refused:?}"
                    );
                }
                // What it holds there can be read after a claim.
                Ok(claims) => assert_eq!(claims.runs.len(), 1, "{column} = {value}"),
                Err(other) => panic!("{column} = {value}: {other:?}"),
            }
            let claimed = store
                .claim(any(9))
                .await
                .unwrap_or_else(|error| panic!("{column} = {value}: {error:?}"));
            let ids: Vec<_> = claimed
                .runs
                .iter()
                .map(|claimed| claimed.run.id.as_str())
                .collect();
            assert!(
                ids.contains(&"r0") && ids.contains(&"r2"),
                "{column} = {value}: {claimed:?}"
            );
            for claimed in claimed.runs.iter().filter(|claimed| claimed.run.id != "r1") {
                store
                    .commit(append(claimed.claim, &claimed.run.id, 2, Status::Running))
                    .await
                    .unwrap();
            }
        }
    });
}

/// What is committed is committed, also if the answer holds what cannot be read.
#[test]
fn a_commit_that_has_happened_is_told_so_wherever_its_run_is_damaged() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        for (column, value) in DAMAGE {
            let url = server.database().await.unwrap();
            let (store, claims) = three(&url).await;
            let admin = raw(&url).await;
            let damage = format!("UPDATE workflow.runs SET {column} = {value} WHERE id = 'r1'");
            admin.execute(&damage, &[]).await.unwrap();
            let commits = claims.iter().enumerate().map(|(n, claim)| {
                let commit = append(*claim, &format!("r{n}"), 2, Status::Running);
                store.commit(commit)
            });
            let answers = join_all(commits).await;
            assert!(
                answers[0].is_ok() && answers[2].is_ok(),
                "{column} = {value}: {answers:?}"
            );
            for (claim, answer) in claims.iter().zip(&answers) {
                let records = store.records(claim.key, Span::All).await.unwrap().len();
                assert_eq!(
                    records,
                    1 + usize::from(answer.is_ok()),
                    "{column} = {value}: {answer:?}"
                );
            }
        }
    });
}

/// Times that cannot be read: of another worker's lease, of a run that waits.
#[test]
fn a_time_that_cannot_be_read_keeps_no_run_from_being_claimed() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let end = Timestamp::from_millis(Timestamp::MAX.as_millis()).unwrap();
        for damage in [
            "UPDATE workflow.workers SET until = 9223372036854775807 WHERE name = 'other'",
            "UPDATE workflow.runs SET due_at = 9223372036854775807, ready = false WHERE id = 'waits'",
        ] {
            let url = server.database().await.unwrap();
            let (store, claims) = three(&url).await;
            begin(&store, "held", "other").await;
            let waits = begin(&store, "waits", "w").await;
            store.release(waits, Due::At(Timestamp::MAX)).await.unwrap();
            for claim in claims {
                store.release(claim, Due::Now(Timestamp::UNIX_EPOCH)).await.unwrap();
            }
            raw(&url).await.execute(damage, &[]).await.unwrap();
            assert_eq!(store.claim(any(2)).await.unwrap().runs.len(), 2, "{damage}");
            let claims = store.claim(any(9)).await.unwrap();
            assert_eq!((claims.runs.len(), claims.next_due), (1, Some(end)), "the other time: {damage}");
            let held = store.claim(ClaimRequest { run: Some("held".into()), ..any(1) }).await.unwrap();
            assert!(held.runs.is_empty(), "{damage}");
        }
    });
}

/// A record whose numbers are damaged counts as one event, in purges and among the accepted events.
#[test]
fn a_damaged_record_keeps_nothing_from_being_counted_or_purged() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        for (column, value) in [
            ("last_seq", "-5"),
            ("last_seq", "9223372036854775807"),
            ("seq", "-9223372036854775808"),
        ] {
            let url = server.database().await.unwrap();
            let (store, claims) = three(&url).await;
            for (n, claim) in claims.iter().enumerate() {
                let record = |seq| Record {
                    first_seq: seq,
                    ..support::hand::record(&format!("r{n}"), seq)
                };
                let records = vec![record(2), record(3)];
                let commit = Commit {
                    claim: *claim,
                    records,
                    status: Status::Completed,
                    due_at: None,
                };
                store.commit(commit).await.unwrap();
            }
            let damage = format!(
                "UPDATE workflow.history SET {column} = {value} WHERE seq = 2 AND run = $1"
            );
            let key = i64::try_from(claims[1].key.0).unwrap();
            raw(&url).await.execute(&damage, &[&key]).await.unwrap();
            let before = store.outbox_end().await.unwrap();
            let purge = Purge {
                completed: Some(Timestamp::MAX),
                limit: 9,
                ..Purge::default()
            };
            let purged = store.purge(purge).await.unwrap();
            assert_eq!(purged.runs, 3, "{column} = {value}");
            assert_eq!(
                store.outbox_end().await.unwrap().accepted,
                before.accepted,
                "{column} = {value}"
            );
            assert_eq!(store.list(&RunFilter::default()).await.unwrap(), []);
        }
    });
}
