//! The store alone: durable records, without an engine above it.

use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;
use workflow_engine::store::{Claim, Commit, Created, Entry, EntryKind, NewRun, Record};
use workflow_engine::{EncodedEvent, Payload, Status, Store, Timestamp};

/// Records per second, each caller waiting for its commit before the next.
pub async fn records(store: Arc<dyn Store>, callers: usize) -> f64 {
    let until = Timestamp::MAX;
    store.renew("bench", until).await.expect("a lease");
    let mut claims = Vec::new();
    for n in 0..callers {
        claims.push(create(&*store, n).await);
    }
    let each = if callers == 1 {
        2_000
    } else {
        200_000 / callers
    };
    let started = Instant::now();
    let tasks = claims.into_iter().map(|claim| {
        let store = store.clone();
        tokio::spawn(async move {
            for seq in 2..2 + each as u64 {
                let commit = Commit {
                    claim,
                    records: vec![record(seq)],
                    status: Status::Running,
                    due_at: None,
                };
                store.commit(commit).await.expect("a commit");
            }
        })
    });
    join_all(tasks).await;
    (callers * each) as f64 / started.elapsed().as_secs_f64()
}

async fn create(store: &dyn Store, n: usize) -> Claim {
    let new = NewRun {
        id: format!("run-{n}"),
        workflow: "bench".into(),
        execution_id: None,
        status: Status::Running,
        worker: "bench".into(),
        record: record(1),
    };
    match store.create(new).await.expect("a run") {
        Created::New(claim) => claim,
        Created::Exists(run) => panic!("{run:?} exists"),
    }
}

/// A record of about the size of a step's.
fn record(seq: u64) -> Record {
    let event = EncodedEvent::from_json(format!(
        "{{\"seq\":{seq},\"text\":\"{}\"}}",
        "x".repeat(240)
    ))
    .expect("JSON");
    let payload = Some(Payload::encode(&seq).expect("JSON"));
    let entry = Entry {
        kind: EntryKind::StepCompleted,
        name: "step".into(),
        occurrence: 1,
        attempt: 1,
        due_at: None,
        payload,
    };
    Record {
        first_seq: seq,
        at: Timestamp::UNIX_EPOCH,
        events: vec![event],
        entry: Some(entry),
    }
}
