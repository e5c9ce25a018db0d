//! What was written and is not there: on a replica that does not answer, or behind a crash.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::process::Command;
use std::time::Duration;

use support::hand::{append, begin, raw};
use support::{address, alone, runtime, started};
use tokio::time::timeout;
use workflow_engine::store::{Cursor, Page, Position};
use workflow_engine::{Status, Store, StoreError, Timestamp};
use workflow_postgres::{ConnectError, Durability, PostgresStore};

/// A commit that waits for a synchronous standby is not visible, even after the store has abandoned
/// it; and the number of such connections does not grow.
#[test]
fn a_commit_that_no_standby_has_confirmed_is_not_seen() {
    let _alone = alone();
    let Some(server) = started(&["autovacuum=off", "max_connections=50"]) else {
        return;
    };
    if address(&server).is_none() {
        return;
    }
    runtime().block_on(async {
        let url = server.url_of("postgres");
        let store = PostgresStore::connect(&url).await.unwrap();
        let claim = begin(&store, "one", "w").await;
        server
            .execute("ALTER SYSTEM SET synchronous_standby_names = 'gone'")
            .await
            .unwrap();
        server.execute("SELECT pg_reload_conf()").await.unwrap();
        let admin = raw(&url).await;
        let waiting = async || {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
            admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
        };
        // Until the setting is known everywhere there may be some that succeed.
        let mut seq = 2;
        let unknown = loop {
            match store
                .commit(append(claim, "one", seq, Status::Running))
                .await
            {
                Ok(_) => seq += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(unknown, StoreError::Backend(_)), "{unknown:?}");
        let seen = store
            .outbox(Position(0), Page::events(99))
            .await
            .unwrap()
            .len() as u64;
        assert_eq!(seen, seq - 1, "what waits for the standby is seen");
        assert_eq!(waiting().await, 1, "the case is not the one that is tested");
        for _ in 0..9 {
            let refused = store
                .commit(append(claim, "one", seq, Status::Running))
                .await
                .unwrap_err();
            assert!(
                refused.to_string().contains("synchronous standby"),
                "{refused}"
            );
        }
        let refused = PostgresStore::connect(&url).await;
        assert!(matches!(refused, Err(ConnectError::Standby)), "{refused:?}");
        assert_eq!(
            waiting().await,
            1,
            "each try leaves another connection behind"
        );

        server
            .execute("ALTER SYSTEM RESET synchronous_standby_names")
            .await
            .unwrap();
        server.execute("SELECT pg_reload_conf()").await.unwrap();
        let going_on = async { while store.renew("w", Timestamp::MAX).await.is_err() {} };
        timeout(Duration::from_secs(30), going_on).await.unwrap();
        let run = store.run("one").await.unwrap().unwrap();
        assert_eq!(run.last_seq, seq, "what waited is there now");
    });
}

/// A server that is not durable recovers from a crash without its last commits. A claim of a sink
/// from before the crash would skip the events that have their positions now.
#[test]
fn events_that_take_the_places_of_those_that_a_crash_has_lost_are_delivered() {
    let _alone = alone();
    let settings = [
        "autovacuum=off",
        "synchronous_commit=off",
        "wal_writer_delay=10s",
        "restart_after_crash=on",
    ];
    let Some(server) = started(&settings) else {
        return;
    };
    if address(&server).is_none() {
        return;
    }
    runtime().block_on(async {
        let url = server.url_of("postgres");
        let store = PostgresStore::options()
            .durability(Durability::ProcessCrash)
            .listen(false);
        let store = store.connect(&url).await.unwrap();
        let claim = begin(&store, "one", "w").await;
        let sink = store
            .claim_sink("sink", "w", Timestamp::UNIX_EPOCH)
            .await
            .unwrap()
            .unwrap();
        let admin = raw(&url).await;
        admin.batch_execute("CHECKPOINT").await.unwrap();
        for seq in 2..22 {
            store
                .commit(append(claim, "one", seq, Status::Running))
                .await
                .unwrap();
        }
        let delivered = store
            .outbox(Position(0), Page::events(99))
            .await
            .unwrap()
            .pop()
            .unwrap()
            .0;
        let backend =
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'workflow-postgres' LIMIT 1";
        let backend: i32 = admin.query_one(backend, &[]).await.unwrap().get(0);
        assert!(
            Command::new("kill")
                .args(["-KILL", &backend.to_string()])
                .status()
                .unwrap()
                .success()
        );

        let going_on = async { while store.renew("w", Timestamp::MAX).await.is_err() {} };
        timeout(Duration::from_secs(30), going_on).await.unwrap();
        let left = store.run("one").await.unwrap().unwrap().last_seq;
        assert!(left < 21, "the case is not the one that is tested");
        for n in 0..40 {
            begin(&store, &format!("new-{n}"), "w").await;
        }
        let cursor = Cursor {
            position: delivered,
            delivered: 21,
            ..Cursor::default()
        };
        let refused = store.set_cursor(&sink, cursor).await;
        assert!(
            matches!(refused, Err(StoreError::SinkFenced { .. })),
            "{refused:?}"
        );
    });
}
