//! What a connection that was lost may still be doing, and whose clock counts.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::hand::raw;
use support::{address, alone, fresh_in, runtime, server, sized};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use workflow_engine::store::{ClaimRequest, Created, Due, NewRun, Record};
use workflow_engine::{EncodedEvent, RunFilter, Status, Store, Timestamp};
use workflow_postgres::PostgresStore;

/// A wire to the server that can be cut.
struct Wire {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Wire {
    async fn to(host: &'static str, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<Mutex<Vec<JoinHandle<()>>>>::default();
        let taken = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let connection = tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect((host, port)).await else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
                taken.lock().unwrap().push(connection);
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// Cuts every connection. The server notices when it next has something to say.
    fn cut(&self) {
        self.connections
            .lock()
            .unwrap()
            .drain(..)
            .for_each(|connection| connection.abort());
    }
}

fn new_run(id: &str, status: Status, at: Timestamp) -> NewRun {
    let event = EncodedEvent::from_json("{}".into()).unwrap();
    let record = Record {
        first_seq: 1,
        at,
        events: vec![event],
        entry: None,
    };
    NewRun {
        id: id.into(),
        workflow: "w".into(),
        execution_id: None,
        status,
        worker: "worker".into(),
        record,
    }
}

fn held() -> RunFilter {
    RunFilter {
        worker: Some("worker".into()),
        ..RunFilter::default()
    }
}

/// Waits until a statement waits for a lock.
async fn until_blocked(client: &Client) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'workflow-postgres'";
    while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::task::yield_now().await;
    }
}

/// The contract: a write without an answer has happened before any write that is requested later,
/// or never happens.
#[test]
fn a_creation_whose_connection_was_cut_happens_before_the_next_write_or_never() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    let Some((host, port)) = address(server) else {
        return;
    };
    for happens in [true, false] {
        runtime().block_on(async {
            let direct = server.database().await.unwrap();
            let wire = Wire::to(host, port).await;
            let database = direct.split("dbname=").nth(1).unwrap();
            let url = format!("host=127.0.0.1 port={} user=wf dbname={database}", wire.address.port());
            let store = PostgresStore::connect(&url).await.unwrap();
            store.renew("worker", Timestamp::MAX).await.unwrap();

            // A slow transaction is taking the id, so the creation waits.
            let (slow, eye) = (raw(&direct).await, raw(&direct).await);
            slow.batch_execute(
                "BEGIN; INSERT INTO workflow.runs (id, workflow, status, last_seq, epoch, recoveries, created_at) \
                 VALUES ('r', 'w', 'completed', 1, 1, 0, 0)",
            )
            .await
            .unwrap();
            let creating = tokio::spawn({
                let store = store.clone();
                async move { store.create(new_run("r", Status::Running, Timestamp::UNIX_EPOCH)).await }
            });
            until_blocked(&eye).await;
            wire.cut();
            creating.await.unwrap().expect_err("its answer never comes");
            if !happens {
                // The new connection may write in the worker's name at once, without a renewal.
                slow.batch_execute("COMMIT").await.unwrap();
                store.create(new_run("s", Status::Running, Timestamp::UNIX_EPOCH)).await.unwrap();
                let held = store.list(&held()).await.unwrap();
                let held: Vec<_> = held.iter().map(|run| (run.id.as_str(), run.due_at)).collect();
                return assert_eq!(held, [("s", None)]);
            }
            let renewing = tokio::spawn({
                let store = store.clone();
                async move { store.renew("worker", Timestamp::MAX).await }
            });
            tokio::time::sleep(Duration::from_millis(300)).await; // tidy: sleep: for the renewal to overtake it, if it can
            slow.batch_execute("ROLLBACK").await.unwrap();
            renewing.await.unwrap().unwrap();
            let first = store.list(&held()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await; // tidy: sleep: for a late creation to appear, if it can
            assert_eq!(first, store.list(&held()).await.unwrap(), "it appeared after a later write");
            assert_eq!(first.len(), 1);
        });
    }
}

#[test]
fn a_worker_without_a_lease_holds_nothing() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let (_, _, store) = fresh_in(server).await;
        // It was silent for so long that others have forgotten it.
        let created = store
            .create(new_run("r", Status::Running, Timestamp::UNIX_EPOCH))
            .await
            .unwrap();
        assert!(matches!(created, Created::New(_)));
        store.renew("other", Timestamp::MAX).await.unwrap();
        let request = ClaimRequest {
            worker: "other".into(),
            now: Timestamp::from_millis(1).unwrap(),
            run: None,
            workflows: None,
            limit: 9,
        };
        let claims = store.claim(request).await.unwrap();
        assert_eq!(
            claims.runs.len(),
            1,
            "nobody would ever take it up otherwise"
        );
        let own = ClaimRequest {
            worker: "worker".into(),
            now: Timestamp::MAX,
            run: None,
            workflows: None,
            limit: 9,
        };
        store
            .create(new_run("s", Status::Queued, Timestamp::UNIX_EPOCH))
            .await
            .unwrap();
        assert_eq!(
            store.claim(own).await.unwrap().runs.len(),
            0,
            "who has no lease claims nothing"
        );
    });
}

#[test]
fn what_a_worker_thinks_the_time_is_ends_no_lease_and_wakes_no_run() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let store = PostgresStore::connect(&server.database().await.unwrap())
            .await
            .unwrap();
        let now = store.now().await.unwrap().unwrap();
        let later = now.saturating_add(Duration::from_secs(60));
        store.renew("worker", later).await.unwrap();
        store
            .create(new_run("held", Status::Running, now))
            .await
            .unwrap();
        let Created::New(waits) = store
            .create(new_run("waits", Status::Running, now))
            .await
            .unwrap()
        else {
            panic!()
        };
        store.release(waits, Due::At(later)).await.unwrap();
        store.renew("fast", Timestamp::MAX).await.unwrap();
        let request = |run: Option<&str>| ClaimRequest {
            worker: "fast".into(),
            now: now.saturating_add(Duration::from_secs(3_600)),
            run: run.map(str::to_owned),
            workflows: None,
            limit: 9,
        };
        assert_eq!(store.claim(request(None)).await.unwrap().runs.len(), 0);
        assert_eq!(
            store
                .claim(request(Some("waits")))
                .await
                .unwrap()
                .runs
                .len(),
            0
        );
        assert_eq!(
            store.list(&held()).await.unwrap()[0].due_at,
            None,
            "its worker holds it still"
        );
        store
            .claim_sink("sink", "worker", now)
            .await
            .unwrap()
            .unwrap();
        let hour = now.saturating_add(Duration::from_secs(3_600));
        assert_eq!(store.claim_sink("sink", "fast", hour).await.unwrap(), None);
    });
}

#[test]
fn one_write_that_cannot_be_done_fails_alone() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let (_, _, store) = fresh_in(server).await;
        // What cannot be compressed to the size of an index entry.
        let long: String = (0..20_000).map(|_| fastrand::alphanumeric()).collect();
        let ids = (0..40).map(|n| {
            if n == 20 {
                long.clone()
            } else {
                format!("r{n}")
            }
        });
        let creations = ids.map(|id| {
            let store = store.clone();
            async move {
                store
                    .create(new_run(&id, Status::Queued, Timestamp::UNIX_EPOCH))
                    .await
            }
        });
        let answers = futures::future::join_all(creations).await;
        let failed: Vec<_> = (0..40).filter(|n| answers[*n].is_err()).collect();
        assert_eq!(failed, [20], "{:?}", answers[20]);
        assert!(
            !answers[20].as_ref().unwrap_err().is_transient(),
            "to try it again does not help"
        );
        let error = answers[20].as_ref().unwrap_err().to_string();
        assert!(
            error.contains("index row") && error.contains("54000"),
            "it does not say what is wrong: {error}"
        );
        assert_eq!(
            store
                .list(&RunFilter {
                    limit: 99,
                    ..RunFilter::default()
                })
                .await
                .unwrap()
                .len(),
            39
        );
        assert_eq!(store.outbox_end().await.unwrap().accepted, 39);
    });
}

/// PostgreSQL accepts less than a gibibyte in one message; the long form has more.
#[test]
fn a_group_that_is_too_large_for_one_statement_is_cut() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let (_, _, store) = fresh_in(server).await;
        let runs = sized(40, 1_020);
        let text = format!("\"{}\"", "x".repeat(1_100_000));
        let creations = (0..runs).map(|n| {
            let mut new = new_run(&format!("r{n}"), Status::Queued, Timestamp::UNIX_EPOCH);
            new.record.events = vec![EncodedEvent::from_json(text.clone()).unwrap()];
            store.create(new)
        });
        for created in futures::future::join_all(creations).await {
            assert!(matches!(created.unwrap(), Created::New(_)));
        }
        assert_eq!(store.outbox_end().await.unwrap().accepted, runs);
    });
}
