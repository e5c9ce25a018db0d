//! Helpers of the checks, which make runs, records and commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use workflow_engine::store::{
    CancelReply, CancelRequest, Claim, ClaimRequest, Claimed, Claims, Commit, Created, Cursor,
    Entry, EntryKind, NewRun, Position, Purge, Record, SinkClaim,
};
use workflow_engine::{EncodedEvent, Payload, Purged, Run, RunFilter, RunKey, Status, Store};
use workflow_events::Timestamp;

/// A store under test.
pub(super) type SharedStore = Arc<dyn Store>;

/// The workflow of most runs.
pub(super) const WORKFLOW: &str = "order";

/// A moment, in seconds after the beginning of the check.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_772_366_400_000 + seconds * 1_000)
        .expect("a check takes less than a thousand years")
}

/// Makes an event that differs from all others.
pub(super) fn event(run: &str, seq: u64) -> EncodedEvent {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let id = LAST.fetch_add(1, Ordering::Relaxed);
    let run = Payload::encode(run).expect("a text is JSON");
    EncodedEvent::from_json(format!(
        r#"{{"eventId":"0197a3c0-5c00-7000-8000-{id:012x}","timestamp":"2026-03-01T12:00:00.000Z","source":"workflow","type":"step.started","workflowId":{},"workflowName":"order","seq":{seq},"stepName":"s","attempt":1}}"#,
        run.as_str()
    ))
    .expect("it is JSON")
}

/// Makes a record of `events` events with an entry.
pub(super) fn record(run: &str, first_seq: u64, at: Timestamp, events: u64) -> Record {
    let entry = Entry {
        kind: EntryKind::StepCompleted,
        name: "charge".to_owned(),
        occurrence: 1,
        attempt: 1,
        due_at: None,
        payload: Some(Payload::encode(&first_seq).expect("a number is JSON")),
    };
    Record {
        entry: Some(entry),
        ..record_without_entry(run, first_seq, at, events)
    }
}

/// Makes a record of `events` events without an entry, which is no progress.
pub(super) fn record_without_entry(
    run: &str,
    first_seq: u64,
    at: Timestamp,
    events: u64,
) -> Record {
    let events = (0..events)
        .map(|n| event(run, first_seq.saturating_add(n)))
        .collect();
    Record {
        first_seq,
        at,
        events,
        entry: None,
    }
}

/// Makes a `Queued` run of one event, to be created.
pub(super) fn new_run(id: &str, created_at: Timestamp) -> NewRun {
    NewRun {
        id: id.to_owned(),
        workflow: WORKFLOW.to_owned(),
        execution_id: None,
        status: Status::Queued,
        worker: "creator".to_owned(),
        record: record(id, 1, created_at, 1),
    }
}

/// Creates a run, and asserts that it is new.
pub(super) async fn create(store: &SharedStore, new: NewRun) -> Claim {
    let id = new.id.clone();
    match store.create(new).await {
        Ok(Created::New(claim)) => claim,
        other => panic!("the run {id:?} must be created, not {other:?}"),
    }
}

/// Creates a `Queued` run of one event. The run is ready, even before `created_at`.
pub(super) async fn create_queued(store: &SharedStore, id: &str, created_at: Timestamp) -> RunKey {
    create(store, new_run(id, created_at)).await.key
}

/// Creates a `Running` run of one event that `worker` holds with a lease of an hour.
pub(super) async fn create_running(
    store: &SharedStore,
    id: &str,
    worker: &str,
    created_at: Timestamp,
) -> Claim {
    renew_lease(
        store,
        worker,
        created_at.saturating_add(std::time::Duration::from_secs(3_600)),
    )
    .await;
    create(
        store,
        NewRun {
            status: Status::Running,
            worker: worker.to_owned(),
            ..new_run(id, created_at)
        },
    )
    .await
}

/// Creates a `Suspended` run of three events that waits for `due_at`.
pub(super) async fn create_waiting(store: &SharedStore, id: &str, due_at: Timestamp) -> RunKey {
    create_waiting_of(store, WORKFLOW, id, due_at).await
}

/// Creates the same run of another workflow.
pub(super) async fn create_waiting_of(
    store: &SharedStore,
    workflow: &str,
    id: &str,
    due_at: Timestamp,
) -> RunKey {
    renew_lease(store, "pauser", at(1)).await;
    let workflow = workflow.to_owned();
    let worker = "pauser".to_owned();
    let held = create(
        store,
        NewRun {
            status: Status::Running,
            workflow,
            worker,
            ..new_run(id, at(0))
        },
    )
    .await;
    commit(store, suspend(held, id, 2, due_at)).await;
    held.key
}

/// Creates a run of two events that ends as `status` at `ended_at`.
pub(super) async fn create_ended(
    store: &SharedStore,
    id: &str,
    status: Status,
    ended_at: Timestamp,
) -> Claim {
    let claim = create_running(store, id, "ender", ended_at).await;
    commit(store, append(claim, id, 2, status, ended_at)).await;
    claim
}

/// Returns the ids of the runs that a worker holds.
pub(super) async fn held_runs(store: &SharedStore, worker: &str) -> Vec<String> {
    store.held(worker).await.expect("the store works")
}

/// Makes a commit of one record with one event and an entry, and no due time.
pub(super) fn append(
    claim: Claim,
    run: &str,
    first_seq: u64,
    status: Status,
    at: Timestamp,
) -> Commit {
    Commit {
        claim,
        records: vec![record(run, first_seq, at, 1)],
        status,
        due_at: None,
    }
}

/// Makes a commit that suspends a run until `due_at`.
pub(super) fn suspend(claim: Claim, run: &str, first_seq: u64, due_at: Timestamp) -> Commit {
    Commit {
        due_at: Some(due_at),
        ..append(claim, run, first_seq, Status::Suspended, at(0))
    }
}

/// Commits, and asserts that the commit is accepted; returns the cancel in the result.
pub(super) async fn commit(store: &SharedStore, commit: Commit) -> Option<CancelRequest> {
    match store.commit(commit.clone()).await {
        Ok(committed) => committed.cancel,
        Err(error) => panic!("the commit must be accepted, not refused with {error:?}: {commit:?}"),
    }
}

/// Extends the lease of `worker`; returns the cancels of the runs that it holds, by key.
pub(super) async fn renew_lease(
    store: &SharedStore,
    worker: &str,
    until: Timestamp,
) -> Vec<(RunKey, CancelRequest)> {
    let mut cancels = store
        .renew(worker, until)
        .await
        .expect("a lease is renewed");
    cancels.sort_by_key(|(key, _)| *key);
    cancels
}

/// Requests any run, of any workflow.
pub(super) fn request_any(worker: &str, now: Timestamp, limit: usize) -> ClaimRequest {
    ClaimRequest {
        worker: worker.to_owned(),
        now,
        run: None,
        workflows: None,
        limit,
    }
}

/// Requests one run.
pub(super) fn request_one(worker: &str, now: Timestamp, run: &str) -> ClaimRequest {
    ClaimRequest {
        run: Some(run.to_owned()),
        ..request_any(worker, now, 1)
    }
}

/// Claims runs.
pub(super) async fn claim(store: &SharedStore, request: ClaimRequest) -> Claims {
    store.claim(request).await.expect("a claim is answered")
}

/// Claims one run, and asserts that the claim succeeds.
pub(super) async fn claim_run(
    store: &SharedStore,
    worker: &str,
    now: Timestamp,
    run: &str,
) -> Claimed {
    let claims = claim(store, request_one(worker, now, run)).await;
    match <[Claimed; 1]>::try_from(claims.runs) {
        Ok([claimed]) if claimed.run.id == run => claimed,
        other => panic!("the run {run:?} must be claimed, not {other:?}"),
    }
}

/// Returns the ids of the claimed runs, in the order of the result.
pub(super) fn claimed_ids(claims: &Claims) -> Vec<&str> {
    claims
        .runs
        .iter()
        .map(|claimed| claimed.run.id.as_str())
        .collect()
}

/// Returns a run that must exist.
pub(super) async fn read_run(store: &SharedStore, id: &str) -> Run {
    let run = store.run(id).await.expect("a run is read");
    run.unwrap_or_else(|| panic!("the run {id:?} must be there"))
}

/// Returns every run.
pub(super) async fn list_all(store: &SharedStore) -> Vec<Run> {
    store
        .list(&RunFilter {
            limit: 1_000_000,
            ..RunFilter::default()
        })
        .await
        .expect("runs are listed")
}

/// Makes a cancel request of the time `at`.
pub(super) fn cancel_request(reason: &str, at: Timestamp) -> CancelRequest {
    CancelRequest {
        reason: Some(reason.to_owned()),
        immediate: false,
        at,
    }
}

/// Requests a cancel, and asserts that it is accepted.
pub(super) async fn request_cancel(store: &SharedStore, run: &str, request: CancelRequest) -> Run {
    match store.request_cancel(run, request).await {
        Ok(CancelReply::Accepted(run)) => *run,
        other => panic!("the cancel of {run:?} must be accepted, not {other:?}"),
    }
}

/// Returns a sink's cursor.
pub(super) async fn open_cursor(store: &SharedStore, sink: &str) -> Cursor {
    store.open_cursor(sink).await.expect("a cursor is opened")
}

/// Moves a sink's cursor.
pub(super) async fn move_cursor(
    store: &SharedStore,
    sink: &str,
    position: Position,
    delivered: u64,
    rejected: u64,
) {
    let cursor = Cursor {
        position,
        delivered,
        rejected,
        missed: 0,
    };
    let held = claim_sink(store, sink, "relay").await;
    store
        .set_cursor(&held, cursor)
        .await
        .expect("a cursor is moved");
}

/// Purges until the limit is reached or a call removes nothing, because one call may remove fewer
/// runs.
pub(super) async fn purge(store: &SharedStore, purge: Purge) -> Purged {
    let mut purged = Purged::default();
    loop {
        let left = purge.limit - purged.runs as usize;
        let more = store
            .purge(Purge {
                limit: left,
                ..purge
            })
            .await
            .expect("runs are purged");
        assert!(
            more.runs as usize <= left,
            "{more:?} must be within {left} runs"
        );
        purged = Purged {
            runs: purged.runs + more.runs,
            events: purged.events + more.events,
        };
        if more.runs == 0 {
            return purged;
        }
    }
}

/// Claims a sink, and asserts that the claim succeeds.
pub(super) async fn claim_sink(store: &SharedStore, sink: &str, worker: &str) -> SinkClaim {
    let held = store
        .claim_sink(sink, worker, at(0))
        .await
        .expect("a sink is claimed");
    held.unwrap_or_else(|| panic!("the sink {sink:?} must be handed out to {worker:?}"))
}
