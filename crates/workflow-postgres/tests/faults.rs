//! A server, or somebody on it, that is in the way: nothing waits for ever, and nobody waits for what is not theirs.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use support::{address, alone, options, runtime, server};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};
use workflow_engine::{
    Claim, ClaimRequest, Commit, Created, Cursor, EncodedEvent, NewRun, Position, Record, RunFilter, Span, Status,
    Store, StoreError, Timestamp,
};
use workflow_postgres::{ConnectError, PostgresStore};

async fn raw(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn record(run: &str, seq: u64) -> Record {
    let event = EncodedEvent::from_json(format!("\"{run} {seq}\"")).unwrap();
    Record { first_seq: seq, at: Timestamp::UNIX_EPOCH, events: vec![event], entry: None }
}

async fn begin(store: &PostgresStore, run: &str) -> Claim {
    store.renew("w", Timestamp::MAX).await.unwrap();
    let new = NewRun {
        id: run.into(),
        workflow: "w".into(),
        execution_id: None,
        status: Status::Running,
        worker: "w".into(),
        record: record(run, 1),
    };
    match store.create(new).await.unwrap() {
        Created::New(claim) => claim,
        Created::Exists(run) => panic!("{run:?}"),
    }
}

fn append(claim: Claim, run: &str, seq: u64) -> Commit {
    Commit { claim, records: vec![record(run, seq)], status: Status::Running, due_at: None }
}

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
        let (target, connections) = (Arc::new(AtomicU16::new(port)), Arc::<Mutex<Vec<JoinHandle<()>>>>::default());
        let (to, taken) = (target.clone(), connections.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let port = to.load(Ordering::SeqCst);
                let connection = tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
                taken.lock().unwrap().push(connection);
            }
        });
        Self { address, target, connections }
    }

    /// Moves it, and cuts every connection.
    fn lead_to(&self, port: u16) {
        self.target.store(port, Ordering::SeqCst);
        self.connections.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for() {
    runtime().block_on(async {
        let (port, keeping) = silent().await;
        let url = format!("host=127.0.0.1 port={port} user=wf connect_timeout=1");
        let refused = timeout(Duration::from_secs(30), options().connect(&url)).await.expect("it waits for ever");
        assert!(matches!(refused, Err(ConnectError::Silent { .. })), "{refused:?}");
        keeping.abort();
    });
}

#[test]
fn a_host_that_hangs_hides_no_other() {
    let (_alone, Some(server)) = (alone(), server()) else { return };
    let Some((_, port)) = address(server) else { return };
    runtime().block_on(async {
        let (silent, keeping) = silent().await;
        let wire = Wire::to(port).await;
        let database = server.database().await.unwrap();
        let database = database.split("dbname=").nth(1).unwrap();
        let first = wire.address.port();
        let url = format!("host=127.0.0.1,127.0.0.1 port={first},{port} user=wf dbname={database} connect_timeout=1");
        let store = options().connect(&url).await.unwrap();
        let claim = begin(&store, "one").await;
        wire.lead_to(silent);
        let going_on = async {
            while store.renew("w", Timestamp::MAX).await.is_err() {}
            store.commit(append(claim, "one", 2)).await.unwrap();
            while store.run("one").await.is_err() {}
        };
        timeout(Duration::from_secs(30), going_on).await.expect("the next host is not tried");
        keeping.abort();
    });
}

#[test]
fn reads_that_nobody_waits_for_any_more_keep_no_connection() {
    let (_alone, Some(server)) = (alone(), server()) else { return };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        let one = begin(&store, "one").await;
        let admin = raw(&url).await;
        admin.batch_execute("BEGIN; LOCK TABLE workflow.history").await.unwrap();
        for _ in 0..4 {
            timeout(Duration::from_millis(100), store.records(one.key, Span::All))
                .await
                .expect_err("the table is locked");
        }
        let other = timeout(Duration::from_secs(5), store.run("one")).await.expect("all connections are taken");
        assert_eq!(other.unwrap().unwrap().id, "one");
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        let none = async {
            while admin.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(5), none).await.expect("the server goes on with what nobody waits for");
    });
}

/// Somebody else has locked a row, and takes their time.
#[test]
fn a_run_that_is_locked_keeps_no_other_waiting() {
    let (_alone, Some(server)) = (alone(), server()) else { return };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        let (one, two) = (begin(&store, "one").await, begin(&store, "two").await);
        let admin = raw(&url).await;
        admin.batch_execute("BEGIN; SELECT FROM workflow.runs WHERE id = 'one' FOR UPDATE").await.unwrap();
        let began = Instant::now();
        let (locked, other, renewed) = tokio::join!(
            store.commit(append(one, "one", 2)),
            store.commit(append(two, "two", 2)),
            store.renew("w", Timestamp::MAX)
        );
        println!("after {:?}", began.elapsed());
        assert!(
            matches!(&locked, Err(StoreError::Backend(error)) if error.to_string().contains("55P03")),
            "{locked:?}"
        );
        other.unwrap();
        renewed.unwrap();
        admin.batch_execute("COMMIT").await.unwrap();
        store.commit(append(one, "one", 2)).await.unwrap();

        // A write that is no commit: it is given up, and the server ends it.
        admin.batch_execute("BEGIN; SELECT FROM workflow.runs WHERE id = 'one' FOR UPDATE").await.unwrap();
        store.release(one, Timestamp::UNIX_EPOCH).await.expect_err("the row is locked");
        store.renew("w", Timestamp::MAX).await.unwrap();
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        let none = async {
            while admin.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(5), none).await.expect("the server goes on with what was given up");
    });
}

/// The commits of a group are answered each by itself, also where one of their runs cannot be read.
#[test]
fn a_commit_that_is_done_is_not_refused_for_another() {
    let (_alone, Some(server)) = (alone(), server()) else { return };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        let mut claims = Vec::new();
        for n in 0..4 {
            claims.push(begin(&store, &format!("r{n}")).await);
        }
        raw(&url).await.execute("UPDATE workflow.runs SET status = 'odd' WHERE id = 'r0'", &[]).await.unwrap();
        let commits = claims.iter().enumerate().map(|(n, claim)| store.commit(append(*claim, &format!("r{n}"), 2)));
        let answers = join_all(commits).await;
        assert!(matches!(&answers[0], Err(StoreError::Corrupt { .. })), "{:?}", answers[0]);
        for answer in &answers[1..] {
            assert!(answer.is_ok(), "{answer:?}");
        }
    });
}

#[test]
fn a_run_that_cannot_be_read_keeps_no_other_from_being_claimed() {
    let (_alone, Some(server)) = (alone(), server()) else { return };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        for n in 0..3 {
            let claim = begin(&store, &format!("r{n}")).await;
            store.release(claim, Timestamp::UNIX_EPOCH).await.unwrap();
        }
        raw(&url).await.execute("UPDATE workflow.runs SET status = 'odd' WHERE id = 'r0'", &[]).await.unwrap();
        let request = ClaimRequest { worker: "w".into(), now: Timestamp::MAX, run: None, workflows: None, limit: 9 };
        let claimed = store.claim(request).await.unwrap().runs;
        assert_eq!(claimed.iter().map(|claimed| claimed.run.id.as_str()).collect::<Vec<_>>(), ["r1", "r2"]);
    });
}

/// It is not only the first connection that is looked at.
#[test]
fn a_server_that_has_become_less_durable_is_refused() {
    let (_alone, Some(server)) = (alone(), server()) else { return };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        let claim = begin(&store, "one").await;
        let database = url.split("dbname=").nth(1).unwrap();
        server.execute(&format!("ALTER DATABASE {database} SET synchronous_commit = off")).await.unwrap();
        let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
        server.execute(&cut).await.unwrap();
        let refused = async {
            loop {
                let error = store.commit(append(claim, "one", 2)).await.expect_err("it would not be durable");
                if error.to_string().contains("synchronous_commit") {
                    break;
                }
            }
        };
        timeout(Duration::from_secs(20), refused).await.unwrap();
    });
}

/// The database is restored into a younger cluster while a store is connected: its positions lie behind what sinks have had.
#[test]
fn positions_go_on_also_where_the_store_stays_connected() {
    let (_alone, Some(server)) = (alone(), server()) else { return };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = options().connect(&url).await.unwrap();
        let claim = begin(&store, "one").await;
        let sink = store.claim_sink("sink", "w", Timestamp::UNIX_EPOCH).await.unwrap().unwrap();
        let end = store.outbox_end().await.unwrap();
        store.set_cursor(&sink, Cursor { position: end.position, delivered: 1, ..Cursor::default() }).await.unwrap();
        let older = "UPDATE workflow.history SET position = position + (1::bigint << 45);
                     UPDATE workflow.cursors SET position = position + (1::bigint << 45)";
        raw(&url).await.batch_execute(older).await.unwrap();

        let committing = async { while store.commit(append(claim, "one", 2)).await.is_err() {} };
        timeout(Duration::from_secs(10), committing).await.unwrap();
        let cursor = store.open_cursor("sink").await.unwrap();
        let behind = store.outbox(cursor.position, 9).await.unwrap();
        assert_eq!(behind.len(), 1, "an event that no sink gets");
    });
}

#[test]
fn numbers_at_their_ends_do_no_harm() {
    let (_alone, Some(server)) = (alone(), server()) else { return };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = options().readers(usize::MAX).connect(&url).await.unwrap();
        let claim = begin(&store, "one").await;
        let refused = store.commit(append(claim, "one", u64::MAX)).await;
        assert!(matches!(refused, Err(StoreError::Behind { .. })), "{refused:?}");
        let sink = store.claim_sink("sink", "w", Timestamp::UNIX_EPOCH).await.unwrap().unwrap();
        let refused = store.set_cursor(&sink, Cursor { position: Position(u64::MAX), ..Cursor::default() }).await;
        assert!(matches!(refused, Err(StoreError::SinkFenced { .. })), "what nobody can have read: {refused:?}");
        store.commit(append(claim, "one", 2)).await.unwrap();
        drop(options().connect(&url).await.unwrap());
        assert_eq!(store.list(&RunFilter { limit: usize::MAX, ..RunFilter::default() }).await.unwrap().len(), 1);
    });
}
