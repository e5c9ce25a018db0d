//! What the tests do to a store by hand, and to its database from beside.

use std::time::Duration;

use tokio_postgres::{Client, NoTls};
use workflow_engine::store::{Claim, ClaimRequest, Commit, Created, NewRun, Position, Record};
use workflow_engine::{EncodedEvent, Status, Store, StoreError, Timestamp};
use workflow_postgres::PostgresStore;

/// A connection of another client.
pub(crate) async fn raw(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Waits until a query says yes.
pub(crate) async fn until(client: &Client, sql: &str) {
    while !client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
        tokio::time::sleep(Duration::from_millis(10)).await; // tidy: sleep: between looks
    }
}

/// Whether something in the database of the connection waits for a lock.
pub(crate) const BLOCKED: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity \
                                  WHERE wait_event_type = 'Lock' AND datname = current_database())";

/// A record of one event, which says whose it is.
pub(crate) fn record(run: &str, seq: u64) -> Record {
    let event = EncodedEvent::from_json(format!("{{\"run\":\"{run}\",\"seq\":{seq}}}")).unwrap();
    Record {
        first_seq: seq,
        at: Timestamp::UNIX_EPOCH,
        events: vec![event],
        entry: None,
    }
}

pub(crate) fn new_run(run: &str, worker: &str, status: Status) -> NewRun {
    NewRun {
        id: run.into(),
        workflow: "w".into(),
        execution_id: None,
        status,
        worker: worker.into(),
        record: record(run, 1),
    }
}

/// Creates a run that its creator holds.
pub(crate) async fn begin(store: &PostgresStore, run: &str, worker: &str) -> Claim {
    store.renew(worker, Timestamp::MAX).await.unwrap();
    match store
        .create(new_run(run, worker, Status::Running))
        .await
        .unwrap()
    {
        Created::New(claim) => claim,
        Created::Exists(run) => panic!("{run:?}"),
    }
}

/// A commit of one more record.
pub(crate) fn append(claim: Claim, run: &str, seq: u64, status: Status) -> Commit {
    Commit {
        claim,
        records: vec![record(run, seq)],
        status,
        due_at: None,
    }
}

/// A claim of any due run.
pub(crate) fn any(worker: &str) -> ClaimRequest {
    ClaimRequest {
        worker: worker.into(),
        now: Timestamp::MAX,
        run: None,
        workflows: None,
        limit: 9,
    }
}

pub(crate) fn texts(events: &[(Position, EncodedEvent)]) -> Vec<&str> {
    events.iter().map(|(_, event)| event.as_str()).collect()
}

/// Asserts that an operation was refused because of a lock.
pub(crate) fn assert_locked<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    let locked = |error: &StoreError| matches!(error, StoreError::Backend(said) if said.to_string().contains("55P03"));
    assert!(answer.as_ref().is_err_and(locked), "{answer:?}");
}
