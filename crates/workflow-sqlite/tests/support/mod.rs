//! Helpers that the tests of the store share.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "every test binary compiles this module and uses a part of it"
)]

use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::TempDir;
use workflow_engine::store::{Claim, Commit, Created, Entry, EntryKind, NewRun, Record};
use workflow_engine::{EncodedEvent, Payload, Status, Store, Timestamp};
use workflow_sqlite::SqliteStore;

/// A file in a folder of its own.
pub(crate) struct File(TempDir);

impl File {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("deep/er/runs.db")
    }

    pub(crate) fn open(&self) -> SqliteStore {
        SqliteStore::open(self.path()).unwrap()
    }

    pub(crate) async fn close(&self, store: SqliteStore) {
        let closed = store.closed();
        drop(store);
        closed.await;
    }

    /// Works on the file with a connection beside the store.
    pub(crate) fn raw(&self, work: impl FnOnce(&Connection)) {
        std::fs::create_dir_all(self.path().parent().unwrap()).unwrap();
        work(&Connection::open(self.path()).unwrap());
    }
}

pub(crate) fn event(seq: u64) -> EncodedEvent {
    EncodedEvent::from_json(format!("{{ \"seq\":{seq},  \"text\": \"it's \\u00e9\" }}")).unwrap()
}

/// Makes a record with an entry and `events` events.
pub(crate) fn record(first_seq: u64, events: u64) -> Record {
    let entry = Entry {
        kind: EntryKind::StepCompleted,
        name: "step".into(),
        occurrence: 1,
        attempt: 1,
        due_at: None,
        payload: Some(Payload::encode(&first_seq).unwrap()),
    };
    let events = (first_seq..first_seq + events).map(event).collect();
    Record {
        first_seq,
        at: Timestamp::UNIX_EPOCH,
        events,
        entry: Some(entry),
    }
}

pub(crate) fn new_run(id: &str, status: Status) -> NewRun {
    NewRun {
        id: id.into(),
        workflow: "workflow".into(),
        execution_id: None,
        status,
        worker: "worker".into(),
        record: record(1, 1),
    }
}

/// Creates a run that the worker `worker` holds.
pub(crate) async fn started(store: &SqliteStore, id: &str) -> Claim {
    store.renew("worker", Timestamp::MAX).await.unwrap();
    match store.create(new_run(id, Status::Running)).await.unwrap() {
        Created::New(claim) => claim,
        Created::Exists(run) => panic!("{run:?}"),
    }
}

pub(crate) fn commit(claim: Claim, records: Vec<Record>, status: Status) -> Commit {
    Commit {
        claim,
        records,
        status,
        due_at: None,
    }
}
