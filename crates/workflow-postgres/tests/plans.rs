//! No statement reads a whole table, for any number of runs and even without statistics of the
//! server.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::time::Duration;

use support::hand::{any, append, begin, raw};
use support::{alone, runtime, server};
use workflow_engine::store::{ClaimRequest, Cursor, Due, Page, Position, Purge, Span};
use workflow_engine::{RunFilter, Status, Store, Timestamp};
use workflow_postgres::PostgresStore;

/// Runs that have ended, past the store and behind the gate: positions as small as these no
/// transaction has.
const KEPT: &str = "
    INSERT INTO workflow.runs (id, workflow, status, last_seq, epoch, recoveries, created_at, ended_at)
    SELECT 'kept-' || n, 'w', 'completed', 7, 1, 0, 0, 1 FROM generate_series(1, 20000) n;
    INSERT INTO workflow.history (position, run, seq, last_seq, at, events, epoch)
    SELECT (r.key >> 24) * 8 + n, r.key, n, n, 0, '[1]', 1 FROM workflow.runs r, generate_series(1, 7) n WHERE r.ended_at = 1";

/// Returns the number of rows of the large tables that were read by scans. All other connections
/// must have ended, because a connection reports its reads at its end.
async fn scanned(url: &str) -> i64 {
    let client = raw(url).await;
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                  AND backend_type = 'client backend'";
    while client
        .query_one(others, &[])
        .await
        .unwrap()
        .get::<_, i64>(0)
        > 0
    {
        tokio::time::sleep(Duration::from_millis(10)).await; // tidy: sleep: until they have gone
    }
    let sql = "SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables WHERE relname IN ('runs', 'history')";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[test]
fn nothing_reads_all_that_is_kept() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        // The plans that are kept are made while the tables are empty.
        let store = PostgresStore::connect(&url).await.unwrap();
        let work = async |id: &str| {
            let claim = begin(&store, id, "w").await;
            for seq in 2..10 {
                store
                    .commit(append(claim, id, seq, Status::Running))
                    .await
                    .unwrap();
            }
            store
                .release(claim, Due::Now(Timestamp::UNIX_EPOCH))
                .await
                .unwrap();
            let request = ClaimRequest {
                workflows: Some(vec!["w".into()]),
                ..any("w")
            };
            assert_eq!(store.claim(request).await.unwrap().runs.len(), 1);
            assert_eq!(store.records(claim.key, Span::All).await.unwrap().len(), 9);
            store.run(id).await.unwrap().unwrap();
            store.outbox_end().await.unwrap();
            let sink = store
                .claim_sink("sink", "w", Timestamp::UNIX_EPOCH)
                .await
                .unwrap()
                .unwrap();
            let page = store.outbox(Position(0), Page::events(64)).await.unwrap();
            let cursor = Cursor {
                position: page[page.len() - 1].0,
                delivered: 1,
                ..Cursor::default()
            };
            store.set_cursor(&sink, cursor).await.unwrap();
            let purge = Purge {
                completed: Some(Timestamp::MAX),
                limit: 1,
                ..Purge::default()
            };
            store.purge(purge).await.unwrap();
        };
        work("before").await;
        {
            let client = raw(&url).await;
            client.batch_execute(KEPT).await.unwrap();
        }
        work("after").await;
        let purged = store
            .purge(Purge {
                completed: Some(Timestamp::MAX),
                limit: 1,
                ..Purge::default()
            })
            .await
            .unwrap();
        assert!(purged.runs <= 1);
        assert_eq!(
            store.list(&Default::default()).await.unwrap()[0].id,
            "before"
        );
        drop(store);

        let before = scanned(&url).await;
        let store = PostgresStore::connect(&url).await.unwrap();
        drop(store);
        assert_eq!(scanned(&url).await, before, "connecting reads everything");
        // The runs that are kept were made by one scan of them.
        assert!(before <= 20_000 + 200, "{before} rows were scanned");
    });
}

/// Returns the number of rows of the runs that an operation on a separate store has read, by any
/// access.
async fn read(url: &str, what: impl AsyncFnOnce(PostgresStore)) -> i64 {
    let sql = "SELECT (seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_user_tables WHERE relname = 'runs'";
    scanned(url).await;
    let before: i64 = raw(url).await.query_one(sql, &[]).await.unwrap().get(0);
    what(PostgresStore::connect(url).await.unwrap()).await;
    scanned(url).await;
    let after: i64 = raw(url).await.query_one(sql, &[]).await.unwrap().get(0);
    after - before
}

#[test]
fn what_people_look_for_is_found_without_reading_what_has_completed() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        drop(PostgresStore::connect(&url).await.unwrap());
        raw(&url).await.batch_execute(KEPT).await.unwrap();
        let few = "
            UPDATE workflow.runs SET status = 'failed' WHERE (key >> 24) % 1000 = 0;
            UPDATE workflow.runs SET status = 'cancelled' WHERE (key >> 24) % 5000 = 1;
            INSERT INTO workflow.runs (id, workflow, status, last_seq, epoch, recoveries, created_at, worker)
            SELECT 'now-' || n, 'w', 'running', 7, 1, 0, 0, 'somebody' FROM generate_series(1, 30) n";
        raw(&url).await.batch_execute(few).await.unwrap();
        let page = |statuses: Vec<Status>| RunFilter { statuses, limit: 100, ..RunFilter::default() };
        let all = || page(Vec::new());
        let filters = [
            (page(vec![Status::Failed]), 20),
            (RunFilter { workflow: Some("w".into()), ..page(vec![Status::Failed]) }, 20),
            (page(vec![Status::Failed, Status::Cancelled]), 24),
            (page(vec![Status::Suspended]), 0),
            (page(vec![Status::Running]), 30),
            (RunFilter { worker: Some("somebody".into()), ..all() }, 30),
            (RunFilter { id_prefix: Some("now-".into()), ..all() }, 30),
            (all(), 100),
            // That there are many of these is only known from statistics.
            (page(vec![Status::Completed]), 100),
        ];
        for known in [false, true] {
            if known {
                raw(&url).await.batch_execute("ANALYZE workflow.runs").await.unwrap();
            }
            for (filter, found) in &filters[..filters.len() - usize::from(!known)] {
                let rows = read(&url, async |store| {
                    assert_eq!(store.list(filter).await.unwrap().len(), *found, "{filter:?}");
                })
                .await;
                assert!(rows <= 200, "{rows} rows were read for {filter:?}, statistics: {known}");
            }
        }
    });
}
