//! What an error means: what may help to try again, and what never will.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::time::Duration;

use support::hand::{append, begin, new_run, raw, until};
use support::pair::Pair;
use support::{address, alone, fresh_in, options, runtime, server, started};
use tokio::time::timeout;
use workflow_engine::store::{Commit, Created, Page, Position, Record, Span};
use workflow_engine::{EncodedEvent, RunFilter, Status, Store, StoreError, Timestamp};
use workflow_postgres::testing::Stop;
use workflow_postgres::{Options, PostgresStore};

/// A text that an index entry has no room for, and that cannot be compressed.
fn long() -> String {
    (0..20_000).map(|_| fastrand::alphanumeric()).collect()
}

fn assert_refused<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    let refused = |error: &StoreError| !error.is_transient() && error.to_string().contains("54000");
    assert!(
        answer.as_ref().is_err_and(refused),
        "to try it again does not help: {answer:?}"
    );
}

/// Whatever name an index has no room for.
#[test]
fn a_name_that_is_too_long_is_refused_at_once() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let (_, _, store) = fresh_in(server).await;
        let mut new = new_run(&long(), "w", Status::Queued);
        assert_refused(store.create(new.clone()).await);
        (new.id, new.workflow) = ("short".into(), long());
        assert_refused(store.create(new.clone()).await);
        assert_refused(store.open_cursor(&long()).await);
        assert_refused(store.claim_sink(&long(), "w", Timestamp::UNIX_EPOCH).await);
        assert_refused(store.renew(&long(), Timestamp::MAX).await);
        assert_eq!(
            store.list(&RunFilter::default()).await.unwrap(),
            [],
            "nothing was changed"
        );
        // To look for one does no harm.
        assert_eq!(store.run(&long()).await.unwrap(), None);
        new.workflow = "w".into();
        assert!(
            matches!(store.create(new).await.unwrap(), Created::New(_)),
            "the connection goes on"
        );
    });
}

/// More events than a transaction has places for.
#[test]
fn a_write_that_is_too_large_is_refused_at_once() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let (_, _, store) = fresh_in(server).await;
        let claim = begin(&store, "one", "w").await;
        let events = vec![EncodedEvent::from_json("1".into()).unwrap(); 1 << 20];
        let record = Record {
            first_seq: 2,
            at: Timestamp::UNIX_EPOCH,
            events,
            entry: None,
        };
        let commit = Commit {
            claim,
            records: vec![record],
            status: Status::Running,
            due_at: None,
        };
        let refused = store.commit(commit).await;
        assert!(
            refused.as_ref().is_err_and(|error| !error.is_transient()),
            "{refused:?}"
        );
        store
            .commit(append(claim, "one", 2, Status::Running))
            .await
            .unwrap();
    });
}

/// A server that takes no writes for a while, and another that does so for good while its replica
/// takes them.
#[test]
fn a_server_that_has_become_read_only_is_left_for_one_that_takes_writes() {
    let _alone = alone();
    runtime().block_on(async {
        let Some(pair) = Pair::start().await else { return };
        let store = pair.connect_as(&options()).await;
        let claim = begin(&store, "one", "w").await;
        let primary = raw(&pair.primary.url_of("postgres")).await;
        let turn = async |on: &str| {
            primary.batch_execute(&format!("ALTER SYSTEM SET default_transaction_read_only = {on}")).await.unwrap();
            primary.batch_execute("SELECT pg_reload_conf()").await.unwrap();
            let done = format!("SELECT setting = '{on}' FROM pg_settings WHERE name = 'default_transaction_read_only'");
            until(&primary, &done).await;
        };
        turn("on").await;
        let refused = async {
            loop {
                // The backend of the store may hear of it a little later.
                match store.renew("w", Timestamp::MAX).await {
                    Ok(_) => tokio::task::yield_now().await,
                    Err(error) => break error,
                }
            }
        };
        let refused = timeout(Duration::from_secs(20), refused).await.expect("it takes writes");
        assert!(refused.is_transient() && refused.to_string().contains("25006"), "{refused:?}");
        turn("off").await;
        timeout(Duration::from_secs(20), async { while store.renew("w", Timestamp::MAX).await.is_err() {} })
            .await
            .expect("it takes writes again");
        store.commit(append(claim, "one", 2, Status::Running)).await.unwrap();

        pair.part().await;
        turn("on").await;
        pair.replica.execute("SELECT pg_promote()").await.unwrap();
        let moved = async {
            while store.commit(append(claim, "one", 3, Status::Running)).await.is_err() {
                let _ = store.renew("w", Timestamp::MAX).await;
            }
        };
        timeout(Duration::from_secs(30), moved).await.expect("it stays where nothing can be written");
        assert_eq!(store.records(claim.key, Span::All).await.unwrap().len(), 3, "it is read from there");
    });
}

/// All reading connections are cut at once, and no caller notices.
#[test]
fn a_read_whose_connection_was_cut_is_read_again() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::options().readers(4).listen(false).connect(&url).await.unwrap();
        let claim = begin(&store, "one", "w").await;
        let (admin, eye) = (raw(&url).await, raw(&url).await);
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name = 'workflow-postgres'";
        let reading = "SELECT count(*) = 4 FROM pg_stat_activity WHERE datname = current_database() \
                       AND wait_event_type = 'Lock'";
        // The reads are under way while they are cut.
        admin.batch_execute("BEGIN; LOCK TABLE workflow.history, workflow.runs, workflow.outbox").await.unwrap();
        let all = RunFilter::default();
        let reads = tokio::spawn(async move {
            tokio::join!(store.records(claim.key, Span::All), store.run("one"), store.outbox_end(), store.list(&all))
        });
        until(&eye, reading).await;
        eye.execute(cut, &[]).await.unwrap();
        timeout(Duration::from_secs(20), until(&eye, reading)).await.expect("the reads are not read again");
        admin.batch_execute("COMMIT").await.unwrap();
        let (records, run, end, list) = reads.await.unwrap();
        assert_eq!((records.unwrap().len(), run.unwrap().unwrap().id), (1, "one".to_owned()));
        assert_eq!((end.unwrap().accepted, list.unwrap().len()), (1, 1));
    });
}

/// A caller that waits for an answer meets a server that stops, has stopped, and starts (57P01, refused
/// connections, 57P03): each of these may be tried again, and in the end there is an answer.
#[test]
fn a_restart_under_those_who_read_is_worth_another_try() {
    let _alone = alone();
    let Some(server) = started(&["autovacuum=off"]) else {
        return;
    };
    if address(&server).is_none() {
        return;
    }
    runtime().block_on(async {
        let store = Options::connect(&PostgresStore::options(), &server.url_of("postgres"))
            .await
            .unwrap();
        let claim = begin(&store, "one", "w").await;
        let reading = (0..4).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut failed = 0;
                loop {
                    let outcome = tokio::try_join!(
                        store.run("one"),
                        store.records(claim.key, Span::Last),
                        store.outbox(Position(0), Page::events(9)),
                        store.outbox_end()
                    );
                    match outcome {
                        Ok((run, ..)) if failed > 0 => break run.unwrap(),
                        Ok(_) => tokio::task::yield_now().await,
                        Err(error) => {
                            assert!(
                                error.is_transient(),
                                "it will not be tried again: {error:?}"
                            );
                            failed += 1;
                        }
                    }
                }
            })
        });
        let reading: Vec<_> = reading.collect();
        for how in [Stop::Fast, Stop::Immediate] {
            server.stop(how).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await; // tidy: sleep: for the readers to meet nobody
            server.resume().await.unwrap();
        }
        for reader in reading {
            let run = timeout(Duration::from_secs(30), reader)
                .await
                .expect("it waits for ever")
                .unwrap();
            assert_eq!(run.id, "one");
        }
    });
}
