//! A database of the first version becomes one of this version, and what was in it means the same.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use support::hand::{any, append, raw, record};
use support::{alone, options, runtime, server};
use workflow_engine::store::{ClaimRequest, Purge, Span};
use workflow_engine::{RunFilter, Status, Store, Timestamp};
use workflow_postgres::PostgresStore;

/// The first version, as it was released.
const FIRST: &str = include_str!("../src/sql/migrations/0001-first.sql");

/// What is recorded of the migrations in databases that are in use: it never changes.
const RELEASED: &[(i64, &str, &str)] = &[
    (1, "first", "5cbf2fb7c81f1afa"),
    (2, "ready", "bfafb6c2038ea7e6"),
];

/// Runs of every kind, written by the first version.
const RUNS: &str = "
    INSERT INTO workflow.runs (id, workflow, status, last_seq, epoch, recoveries, created_at, ended_at, due_at, worker,
        cancel_at_once, cancel_at) VALUES
    ('queued', 'w', 'queued', 1, 0, 0, 0, NULL, 5000000, NULL, NULL, NULL),
    ('released', 'w', 'running', 1, 1, 0, 0, NULL, 5000001, NULL, NULL, NULL),
    ('died', 'w', 'running', 1, 1, 0, 0, NULL, 5000002, 'dead', NULL, NULL),
    ('cancelled', 'w', 'paused', 1, 1, 0, 0, NULL, 5000003, NULL, false, 5000003),
    ('sleeps', 'w', 'paused', 1, 1, 0, 0, NULL, 5000004, NULL, NULL, NULL),
    ('held', 'w', 'running', 1, 1, 0, 0, NULL, NULL, 'w', NULL, NULL),
    ('over', 'w', 'completed', 1, 1, 0, 0, 3, NULL, NULL, NULL, NULL);
    INSERT INTO workflow.history (position, run, seq, last_seq, at, events, epoch)
    SELECT (pg_current_xact_id()::text::bigint << 20) + row_number() OVER (ORDER BY key), key, 1, 1, 0,
        '[{\"run\":\"' || id || '\",\"seq\":1}]', 1 FROM workflow.runs;
    INSERT INTO workflow.workers (name, until, session) VALUES ('w', 9000000, 1);
    INSERT INTO workflow.cursors (sink, position, delivered, rejected, missed) VALUES ('sink', 0, 0, 0, 0)";

/// Makes a database of the first version.
async fn first(url: &str) {
    let sql = FIRST
        .replace("{schema}", "workflow")
        .replace("{q}", "workflow");
    let migrations = "CREATE SCHEMA workflow; CREATE TABLE workflow.migrations (version bigint PRIMARY KEY, \
                      name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());";
    let (version, name, sum) = RELEASED[0];
    let insert = format!(
        "INSERT INTO workflow.migrations (version, name, checksum) VALUES ({version}, '{name}', '{sum}')"
    );
    raw(url)
        .await
        .batch_execute(&format!("{migrations} {sql} {insert}"))
        .await
        .unwrap();
}

#[test]
fn released_migrations_never_change() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        drop(PostgresStore::connect(&url).await.unwrap());
        let sql = "SELECT version, name, checksum FROM workflow.migrations ORDER BY version";
        let rows = raw(&url).await.query(sql, &[]).await.unwrap();
        let found: Vec<(i64, String, String)> = rows
            .iter()
            .map(|row| (row.get(0), row.get(1), row.get(2)))
            .collect();
        let found: Vec<_> = found
            .iter()
            .map(|(version, name, sum)| (*version, name.as_str(), sum.as_str()))
            .collect();
        assert_eq!(
            found, RELEASED,
            "databases that are in use would be refused: add a migration instead"
        );
    });
}

#[test]
fn a_database_of_the_first_version_goes_on() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        first(&url).await;
        let admin = raw(&url).await;
        admin.batch_execute(RUNS).await.unwrap();
        // Some of it was counted by the first version.
        admin
            .execute("SELECT workflow.count_events()", &[])
            .await
            .unwrap();

        let store = options().connect(&url).await.unwrap();
        let end = store.outbox_end().await.unwrap();
        assert_eq!((end.accepted, end.readable), (7, end.position));
        assert_eq!(store.cursors().await.unwrap().len(), 1);
        store.renew("w", Timestamp::MAX).await.unwrap();
        // The clock is before every other time.
        let claim = |millis| ClaimRequest {
            now: Timestamp::from_millis(millis).unwrap(),
            ..any("w")
        };
        let claims = store.claim(claim(1)).await.unwrap();
        let ids: Vec<_> = claims
            .runs
            .iter()
            .map(|claimed| claimed.run.id.as_str())
            .collect();
        assert_eq!(
            ids,
            ["queued", "released", "died", "cancelled"],
            "they are ready, and in their order"
        );
        assert!(claims.runs[2].died, "as it was");
        assert_eq!(
            claims.next_due,
            Some(Timestamp::from_millis(5_000_004).unwrap()),
            "one sleeps"
        );
        assert_eq!(
            store.claim(claim(5_000_004)).await.unwrap().runs[0].run.id,
            "sleeps"
        );
        let claim = claims.runs[1].claim;
        store
            .commit(append(claim, "released", 2, Status::Completed))
            .await
            .unwrap();
        let records = store.records(claim.key, Span::All).await.unwrap();
        let texts: Vec<_> = records.iter().map(|record| record.events_json()).collect();
        assert_eq!(
            texts,
            [1, 2].map(|seq| record("released", seq).events_json())
        );
        let purge = Purge {
            completed: Some(Timestamp::MAX),
            limit: 9,
            ..Purge::default()
        };
        assert_eq!(
            store.purge(purge).await.unwrap().runs,
            0,
            "the sink has had nothing"
        );
        assert!(store.drop_cursor("sink").await.unwrap());
        assert_eq!(store.purge(purge).await.unwrap().runs, 2);
        assert_eq!(store.list(&RunFilter::default()).await.unwrap().len(), 5);
        assert_eq!(store.outbox_end().await.unwrap().accepted, 8);
    });
}

/// A program of the first version that stays connected calls what the second has replaced.
#[test]
fn a_program_of_the_first_version_that_is_connected_goes_on() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        first(&url).await;
        let old = raw(&url).await;
        old.batch_execute("INSERT INTO workflow.workers (name, until, session) VALUES ('old', 9000000, 7)")
            .await
            .unwrap();
        let create = async |id: &str, worker: Option<&str>, status: &str| {
            let sql = format!(
                "SELECT run_key FROM workflow.create_runs(ARRAY['{id}'], ARRAY['w'], ARRAY[NULL], ARRAY['{status}'], \
                 ARRAY[{}], 7, ARRAY[0], ARRAY[1], ARRAY['[1]'], ARRAY[NULL], ARRAY[NULL], ARRAY[NULL::bigint], \
                 ARRAY[NULL::bigint], ARRAY[NULL::bigint], ARRAY[NULL], ARRAY[0])",
                worker.map_or("NULL::text".into(), |worker| format!("'{worker}'"))
            );
            old.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0)
        };
        create("before", None, "queued").await;
        let store = options().connect(&url).await.unwrap();
        store.renew("w", Timestamp::MAX).await.unwrap();
        create("after", None, "queued").await;
        let held = create("held", Some("old"), "running").await;
        let pause = format!(
            "SELECT run_key FROM workflow.commit_runs(ARRAY[{held}], ARRAY[1], ARRAY[2], ARRAY[2], ARRAY['paused'], \
             ARRAY['running'], ARRAY[true], ARRAY[false], ARRAY[NULL::bigint], ARRAY[5000], ARRAY['old'], \
             ARRAY[{held}], ARRAY[1], ARRAY[2], ARRAY[0], ARRAY[2], ARRAY['[1]'], ARRAY[NULL], ARRAY[NULL], \
             ARRAY[NULL::bigint], ARRAY[NULL::bigint], ARRAY[NULL::bigint], ARRAY[NULL], ARRAY[0])"
        );
        assert_eq!(old.query(&pause, &[]).await.unwrap().len(), 1);
        let now = Timestamp::from_millis(1).unwrap();
        let claims = store.claim(ClaimRequest { now, ..any("w") }).await.unwrap();
        let ids: Vec<_> = claims.runs.iter().map(|claimed| claimed.run.id.as_str()).collect();
        assert_eq!((ids, claims.next_due), (vec!["before", "after"], Timestamp::from_millis(5_000).ok()));
        let end: (i64, i64) = {
            let row = old.query_one("SELECT * FROM workflow.outbox_end()", &[]).await.unwrap();
            (row.get(0), row.get(3))
        };
        assert_eq!(end.0, 4);
        let purge = "SELECT * FROM workflow.purge_runs(9, 9, 9, 9)";
        assert_eq!(old.query_one(purge, &[]).await.unwrap().get::<_, i64>(0), 0);
    });
}
