//! A failover to a replica that never had the last of what the primary had: what is still in the memory of workers must
//! do no harm to what goes on without it.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use support::{address, alone, runtime, started};
use tokio_postgres::{Client, NoTls};
use tracker_core::testing::MemoryTransport;
use workflow_engine::{
    Claim, ClaimRequest, Commit, Context, Created, Cursor, EncodedEvent, Engine, Failure, NewRun, Outcome, Position,
    Record, RelayStop, Status, Store, StoreError, Timestamp, TokioClock, Workflow,
};
use workflow_postgres::PostgresStore;
use workflow_postgres::testing::{Server, Stop};

const SETTINGS: [&str; 2] = ["autovacuum=off", "max_connections=50"];

/// A primary and its replica, which follows it until it is cut off.
struct Pair {
    primary: Server,
    replica: Server,
}

impl Pair {
    /// `None`, with a word on it, where there are no servers to be had, or none that can be stopped.
    async fn start() -> Option<Self> {
        let primary = tokio::task::spawn_blocking(|| started(&SETTINGS)).await.unwrap()?;
        address(&primary)?;
        let replica = primary.replica().await.unwrap();
        Some(Self { primary, replica })
    }

    /// Whichever of the two takes writes.
    async fn connect(&self) -> PostgresStore {
        let ports = [&self.primary, &self.replica].map(|server| server.address().unwrap().1.to_string());
        let url = format!(
            "host=127.0.0.1,127.0.0.1 port={} user=wf dbname=postgres target_session_attrs=read-write",
            ports.join(",")
        );
        PostgresStore::connect(&url).await.unwrap()
    }

    /// Waits until the replica has everything, and lets it have no more.
    async fn part(&self) {
        let sql = "SELECT pg_current_wal_flush_lsn()::text";
        let here: String = raw(&self.primary).await.query_one(sql, &[]).await.unwrap().get(0);
        let replica = raw(&self.replica).await;
        let caught_up = format!("SELECT pg_last_wal_replay_lsn() >= '{here}'::pg_lsn");
        until(&replica, &caught_up).await;
        replica.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").await.unwrap();
        replica.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        until(&replica, "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)").await;
    }

    /// The primary is gone for good, and the replica takes its place.
    async fn fail_over(&self) {
        self.primary.stop(Stop::Immediate).await.unwrap();
        self.replica.execute("SELECT pg_promote()").await.unwrap();
    }
}

async fn raw(server: &Server) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url_of("postgres"), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn until(client: &Client, sql: &str) {
    while !client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
        tokio::time::sleep(Duration::from_millis(10)).await; // tidy: sleep: between looks
    }
}

fn record(seq: u64, text: &str) -> Record {
    let events = vec![EncodedEvent::from_json(format!("\"{text}\"")).unwrap()];
    Record { first_seq: seq, at: Timestamp::UNIX_EPOCH, events, entry: None }
}

async fn create(store: &PostgresStore, id: &str) {
    let new = NewRun {
        id: id.into(),
        workflow: "w".into(),
        execution_id: None,
        status: Status::Queued,
        worker: "nobody".into(),
        record: record(1, id),
    };
    assert!(matches!(store.create(new).await.unwrap(), Created::New(_)));
}

/// Claims what there is; a worker whose connection was lost tries again.
async fn claim(store: &PostgresStore, worker: &str) -> Claim {
    let run = Some("r".to_owned());
    let request = ClaimRequest { worker: worker.into(), workflows: None, run, now: Timestamp::MAX, limit: 9 };
    loop {
        if store.renew(worker, Timestamp::MAX).await.is_ok() {
            return store.claim(request).await.unwrap().runs[0].claim;
        }
    }
}

fn append(claim: Claim, seq: u64, text: &str) -> Commit {
    Commit { claim, records: vec![record(seq, text)], status: Status::Running, due_at: None }
}

/// Two workers hold the same run with the same epoch: one by a claim that the replica never saw.
#[test]
fn a_claim_that_was_lost_with_the_primary_is_no_claim() {
    let _alone = alone();
    runtime().block_on(async {
        let Some(pair) = Pair::start().await else { return };
        let (old, new) = (pair.connect().await, pair.connect().await);
        create(&old, "r").await;
        old.open_cursor("sink").await.unwrap();
        pair.part().await;
        let lost = claim(&old, "old").await;
        old.commit(append(lost, 2, "lost")).await.unwrap();
        let sink = old.claim_sink("sink", "old", Timestamp::UNIX_EPOCH).await.unwrap().unwrap();
        pair.fail_over().await;

        let claim = claim(&new, "new").await;
        assert_eq!(claim, lost, "the case is not the one that is tested");
        new.commit(append(claim, 2, "kept")).await.unwrap();
        // The connection is opened anew first.
        while let Err(StoreError::Backend(_)) = old.renew("old", Timestamp::MAX).await {}
        let refused = old.commit(append(lost, 3, "stale")).await;
        assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
        let refused = old.release(lost, Timestamp::UNIX_EPOCH).await;
        assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
        let refused = old.set_cursor(&sink, Cursor { position: Position(1), ..Cursor::default() }).await;
        assert!(matches!(refused, Err(StoreError::SinkFenced { .. })), "{refused:?}");
        new.commit(append(claim, 3, "kept as well")).await.unwrap();
    });
}

/// A relay has delivered what is lost, and is about to say so to the server that has never had it. Meanwhile other events
/// take the places.
#[test]
fn events_that_take_the_places_of_lost_ones_are_delivered() {
    const ORDER: Workflow<u64, u64> = Workflow::new("order");
    async fn order(ctx: Context, n: u64) -> Result<u64, Failure> {
        Ok(ctx.step("charge", || async { Ok::<_, Failure>(n) }).await?)
    }
    let _alone = alone();
    runtime().block_on(async {
        let Some(pair) = Pair::start().await else { return };
        let store = Arc::new(pair.connect().await);
        let sink = Arc::new(MemoryTransport::<EncodedEvent>::new());
        let engine = Engine::builder().store(store.clone()).clock(Arc::new(TokioClock::new()));
        let engine = engine.sink("sink", sink.clone()).workflow(&ORDER, order).build().unwrap();
        // It holds the sink from now on.
        let delivering = tokio::spawn({
            let engine = engine.clone();
            async move { engine.deliver().await }
        });
        assert_eq!(engine.run(&ORDER, "kept", 0).await.unwrap(), Outcome::Completed(0));
        assert!(engine.flush().await.is_delivered());

        pair.part().await;
        for n in 0..20 {
            assert_eq!(engine.run(&ORDER, format!("lost-{n}"), n).await.unwrap(), Outcome::Completed(n));
        }
        assert!(engine.flush().await.is_delivered());
        let (before, hold) = (sink.attempts(), sink.then_hold());
        assert_eq!(engine.run(&ORDER, "lost-last", 0).await.unwrap(), Outcome::Completed(0));
        while sink.attempts() == before {
            tokio::task::yield_now().await;
        }
        let flushing = tokio::spawn({
            let engine = engine.clone();
            async move { engine.flush().await }
        });
        tokio::time::sleep(Duration::from_millis(200)).await; // tidy: sleep: for the flush to see how far it has to go
        pair.fail_over().await;
        // Another process writes first, and more than was lost.
        let other = Engine::builder().store(Arc::new(pair.connect().await)).clock(Arc::new(TokioClock::new()));
        let other = other.workflow(&ORDER, order).build().unwrap();
        assert_eq!(other.run(&ORDER, "later-other", 0).await.unwrap(), Outcome::Completed(0));
        let burning = raw(&pair.replica).await;
        for _ in 0..500 {
            burning.execute("SELECT pg_current_xact_id()", &[]).await.unwrap();
        }
        hold.release();
        // It goes as far as there is something to deliver now.
        let report = flushing.await.unwrap();
        let stop = &report.sink("sink").unwrap().stop;
        assert!(!matches!(stop, Some(RelayStop::Delivery(_))), "{report}");

        let mut ended = 0;
        for n in 0..100 {
            // The connections are opened anew first.
            ended += u32::from(engine.run(&ORDER, format!("later-{n}"), n).await.is_ok());
            if ended == 3 {
                break;
            }
        }
        let report = engine.flush().await;
        assert!(report.is_delivered(), "{report}");
        let delivered: HashSet<_> = sink.delivered().iter().map(|event| event.as_str().to_owned()).collect();
        let kept = store.outbox(Position(0), 9_999).await.unwrap();
        assert!(kept.iter().any(|(_, event)| event.as_str().contains("later-")));
        assert!(
            !kept.iter().any(|(_, event)| event.as_str().contains("lost-")),
            "the case is not the one that is tested"
        );
        let skipped: Vec<_> = kept.iter().filter(|(_, event)| !delivered.contains(event.as_str())).collect();
        assert!(skipped.is_empty(), "{skipped:?}");
        delivering.abort();
        assert!(!store.list(&Default::default()).await.unwrap().iter().any(|run| run.ended_at.is_none()));
    });
}
