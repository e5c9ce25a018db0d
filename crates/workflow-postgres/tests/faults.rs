//! A server, or another client, that blocks: no operation waits for ever, and none waits for rows
//! that it does not need.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use support::hand::{BLOCKED, any, append, begin, raw, record, texts, until};
use support::{address, alone, options, runtime, server};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use workflow_engine::store::{CancelRequest, Cursor, Due, Page, Position, Span};
use workflow_engine::{
    Context, Engine, Failure, RunFilter, Status, Store, StoreError, Timestamp, Workflow,
};
use workflow_postgres::{ConnectError, PostgresStore};

/// A host that accepts connections and says nothing.
async fn silent() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let keeping = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            kept.push(connection);
        }
    });
    (port, keeping)
}

/// A wire whose other end can be moved.
struct Wire {
    address: SocketAddr,
    target: Arc<AtomicU16>,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Wire {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (target, connections) = (
            Arc::new(AtomicU16::new(port)),
            Arc::<Mutex<Vec<JoinHandle<()>>>>::default(),
        );
        let (to, taken) = (target.clone(), connections.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let port = to.load(Ordering::SeqCst);
                let connection = tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
                taken.lock().unwrap().push(connection);
            }
        });
        Self {
            address,
            target,
            connections,
        }
    }

    /// Moves it, and cuts every connection.
    fn lead_to(&self, port: u16) {
        self.target.store(port, Ordering::SeqCst);
        self.connections
            .lock()
            .unwrap()
            .drain(..)
            .for_each(|connection| connection.abort());
    }
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for() {
    runtime().block_on(async {
        let (port, keeping) = silent().await;
        let url = format!("host=127.0.0.1 port={port} user=wf connect_timeout=1");
        let refused = timeout(Duration::from_secs(30), options().connect(&url))
            .await
            .expect("it waits for ever");
        assert!(
            matches!(refused, Err(ConnectError::Silent { .. })),
            "{refused:?}"
        );
        keeping.abort();
    });
}

#[test]
fn a_host_that_hangs_hides_no_other() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    let Some((_, port)) = address(server) else {
        return;
    };
    runtime().block_on(async {
        let (silent, keeping) = silent().await;
        let wire = Wire::to(port).await;
        let database = server.database().await.unwrap();
        let database = database.split("dbname=").nth(1).unwrap();
        let first = wire.address.port();
        let url = format!("host=127.0.0.1,127.0.0.1 port={first},{port} user=wf dbname={database} connect_timeout=1");
        let store = options().connect(&url).await.unwrap();
        let claim = begin(&store, "one", "w").await;
        wire.lead_to(silent);
        let going_on = async {
            while store.renew("w", Timestamp::MAX).await.is_err() {}
            store.commit(append(claim, "one", 2, Status::Running)).await.unwrap();
            while store.run("one").await.is_err() {}
        };
        timeout(Duration::from_secs(30), going_on).await.expect("the next host is not tried");
        keeping.abort();
    });
}

#[test]
fn reads_that_nobody_waits_for_any_more_keep_no_connection() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        let one = begin(&store, "one", "w").await;
        let admin = raw(&url).await;
        admin
            .batch_execute("BEGIN; LOCK TABLE workflow.history")
            .await
            .unwrap();
        for _ in 0..4 {
            timeout(
                Duration::from_millis(100),
                store.records(one.key, Span::All),
            )
            .await
            .expect_err("the table is locked");
        }
        let other = timeout(Duration::from_secs(5), store.run("one"))
            .await
            .expect("all connections are taken");
        assert_eq!(other.unwrap().unwrap().id, "one");
        let none = format!("SELECT NOT ({BLOCKED})");
        timeout(Duration::from_secs(5), until(&admin, &none))
            .await
            .expect("the server goes on with what nobody waits for");
    });
}

/// The commits of a group are answered each by itself, also where one of their runs cannot be read.
#[test]
fn a_commit_that_is_done_is_not_refused_for_another() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        let mut claims = Vec::new();
        for n in 0..4 {
            claims.push(begin(&store, &format!("r{n}"), "w").await);
        }
        raw(&url)
            .await
            .execute(
                "UPDATE workflow.runs SET status = 'odd' WHERE id = 'r0'",
                &[],
            )
            .await
            .unwrap();
        let commits = claims
            .iter()
            .enumerate()
            .map(|(n, claim)| store.commit(append(*claim, &format!("r{n}"), 2, Status::Running)));
        let answers = join_all(commits).await;
        assert!(
            matches!(&answers[0], Err(StoreError::Corrupt { .. })),
            "{:?}",
            answers[0]
        );
        for answer in &answers[1..] {
            assert!(answer.is_ok(), "{answer:?}");
        }
    });
}

#[test]
fn a_run_that_cannot_be_read_keeps_no_other_from_being_claimed() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        for n in 0..3 {
            let claim = begin(&store, &format!("r{n}"), "w").await;
            store
                .release(claim, Due::Now(Timestamp::UNIX_EPOCH))
                .await
                .unwrap();
        }
        raw(&url)
            .await
            .execute(
                "UPDATE workflow.runs SET status = 'odd' WHERE id = 'r0'",
                &[],
            )
            .await
            .unwrap();
        let claimed = store.claim(any("w")).await.unwrap().runs;
        assert_eq!(
            claimed
                .iter()
                .map(|claimed| claimed.run.id.as_str())
                .collect::<Vec<_>>(),
            ["r1", "r2"]
        );
    });
}

/// A cancel that cannot be read does not hide the others, and the lease is extended.
#[test]
fn a_cancel_that_cannot_be_read_keeps_no_other_from_being_told() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        let mut claims = Vec::new();
        for n in 0..3 {
            claims.push(begin(&store, &format!("r{n}"), "w").await);
            let cancel = CancelRequest {
                reason: None,
                immediate: false,
                at: Timestamp::UNIX_EPOCH,
            };
            store
                .request_cancel(&format!("r{n}"), cancel)
                .await
                .unwrap();
        }
        let damage = format!(
            "UPDATE workflow.runs SET cancel_at = {} WHERE id = 'r1'",
            i64::MAX
        );
        raw(&url).await.execute(&damage, &[]).await.unwrap();
        let mut told: Vec<_> = store
            .renew("w", Timestamp::MAX)
            .await
            .unwrap()
            .iter()
            .map(|(key, _)| *key)
            .collect();
        told.sort();
        assert_eq!(told, [claims[0].key, claims[2].key]);
    });
}

/// A worker that holds a run which cannot be read, and does not know any more what it holds, takes
/// up what can be read.
#[test]
fn a_run_that_cannot_be_read_keeps_no_worker_from_its_work() {
    const ORDER: Workflow<u64, u64> = Workflow::new("order");
    async fn order(ctx: Context, n: u64) -> Result<u64, Failure> {
        Ok(ctx.step("charge", || async { Ok::<_, Failure>(n) }).await?)
    }
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let engine = async || {
            let store = Arc::new(PostgresStore::connect(&url).await.unwrap());
            Engine::builder().store(store).workflow(&ORDER, order).build().unwrap()
        };
        let (client, worker) = (engine().await, engine().await);
        client.start(&ORDER, "damaged", 1).await.unwrap();
        let admin = raw(&url).await;
        admin.execute("UPDATE workflow.runs SET status = 'odd' WHERE id = 'damaged'", &[]).await.unwrap();
        let working = tokio::spawn(async move { worker.work().await });
        until(&admin, "SELECT EXISTS (SELECT FROM workflow.runs WHERE id = 'damaged' AND worker IS NOT NULL)").await;
        // A claim of it fails, so that there may be more that it holds.
        admin.batch_execute("BEGIN; SELECT FROM workflow.workers FOR UPDATE").await.unwrap();
        client.start(&ORDER, "later", 1).await.unwrap();
        until(&admin, BLOCKED).await;
        until(&admin, &format!("SELECT NOT ({BLOCKED})")).await;
        admin.batch_execute("COMMIT").await.unwrap();
        let ended = "SELECT EXISTS (SELECT FROM workflow.runs WHERE id = 'later' AND ended_at IS NOT NULL)";
        timeout(Duration::from_secs(20), until(&admin, ended)).await.expect("it has stopped working");
        for n in 0..9 {
            client.start(&ORDER, format!("more-{n}"), 1).await.unwrap();
            let ended =
                format!("SELECT EXISTS (SELECT FROM workflow.runs WHERE id = 'more-{n}' AND ended_at IS NOT NULL)");
            timeout(Duration::from_secs(20), until(&admin, &ended)).await.expect("it has stopped working");
        }
        let sql = "SELECT epoch FROM workflow.runs WHERE id = 'damaged'";
        let claims: i64 = admin.query_one(sql, &[]).await.unwrap().get(0);
        assert!(claims < 4, "it was claimed {claims} times");
        working.abort();
    });
}

/// It is not only the first connection that is looked at.
#[test]
fn a_server_that_has_become_less_durable_is_refused() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        let claim = begin(&store, "one", "w").await;
        let database = url.split("dbname=").nth(1).unwrap();
        server
            .execute(&format!(
                "ALTER DATABASE {database} SET synchronous_commit = off"
            ))
            .await
            .unwrap();
        let cut = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        );
        server.execute(&cut).await.unwrap();
        let refused = async {
            loop {
                let error = store
                    .commit(append(claim, "one", 2, Status::Running))
                    .await
                    .expect_err("it would not be durable");
                if error.to_string().contains("synchronous_commit") {
                    break;
                }
            }
        };
        timeout(Duration::from_secs(20), refused).await.unwrap();
    });
}

/// The database is restored into a younger cluster while a store is connected: new positions would
/// be lower than those of cursors, or of existing events.
#[test]
fn positions_go_on_also_where_the_store_stays_connected() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = options().connect(&url).await.unwrap();
        let claim = begin(&store, "one", "w").await;
        let sink = store
            .claim_sink("sink", "w", Timestamp::UNIX_EPOCH)
            .await
            .unwrap()
            .unwrap();
        let end = store.outbox_end().await.unwrap();
        store
            .set_cursor(
                &sink,
                Cursor {
                    position: end.position,
                    delivered: 1,
                    ..Cursor::default()
                },
            )
            .await
            .unwrap();
        // The cursor is where it was in the one, or not as far as the history in the other.
        for (seq, far) in [(2, 45), (3, 50)] {
            let older =
                format!("UPDATE workflow.history SET position = position + (1::bigint << {far})");
            let admin = raw(&url).await;
            admin.batch_execute(&older).await.unwrap();
            if seq == 2 {
                admin
                    .batch_execute(&older.replace("history", "cursors"))
                    .await
                    .unwrap();
            }
            let committing = async {
                while store
                    .commit(append(claim, "one", seq, Status::Running))
                    .await
                    .is_err()
                {}
            };
            timeout(Duration::from_secs(10), committing).await.unwrap();
            let read = store.outbox(Position(0), Page::events(9)).await.unwrap();
            assert_eq!(
                texts(&read).pop(),
                Some(record("one", seq).events[0].as_str()),
                "they are in order"
            );
        }
        let cursor = store.open_cursor("sink").await.unwrap();
        assert_eq!(
            store
                .outbox(cursor.position, Page::events(9))
                .await
                .unwrap()
                .len(),
            3,
            "an event that no sink gets"
        );
    });
}

#[test]
fn numbers_at_their_ends_do_no_harm() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = options().readers(usize::MAX).connect(&url).await.unwrap();
        let claim = begin(&store, "one", "w").await;
        let refused = store
            .commit(append(claim, "one", u64::MAX, Status::Running))
            .await;
        assert!(
            matches!(refused, Err(StoreError::Behind { .. })),
            "{refused:?}"
        );
        let sink = store
            .claim_sink("sink", "w", Timestamp::UNIX_EPOCH)
            .await
            .unwrap()
            .unwrap();
        let refused = store
            .set_cursor(
                &sink,
                Cursor {
                    position: Position(u64::MAX),
                    ..Cursor::default()
                },
            )
            .await;
        assert!(
            matches!(refused, Err(StoreError::SinkFenced { .. })),
            "what nobody can have read: {refused:?}"
        );
        store
            .commit(append(claim, "one", 2, Status::Running))
            .await
            .unwrap();
        drop(options().connect(&url).await.unwrap());
        assert_eq!(
            store
                .list(&RunFilter {
                    limit: usize::MAX,
                    ..RunFilter::default()
                })
                .await
                .unwrap()
                .len(),
            1
        );
    });
}
