//! Snapshots: the visible state of a store in a form that can be compared.

use workflow_engine::Run;
use workflow_engine::store::{Cursor, EntryKind, OutboxEnd, Page, Position, Record, Span};
use workflow_events::Timestamp;

use super::fixture::{SharedStore, list_all};

/// The visible state of a store.
#[derive(Debug, PartialEq)]
pub(super) struct Snapshot {
    runs: Vec<(Run, Vec<Written>)>,
    outbox: Vec<(Position, String)>,
    end: OutboxEnd,
    cursor: Cursor,
}

/// The sink whose cursor a [`Snapshot`] shows.
pub(super) const SINK: &str = "snapshot";

impl Snapshot {
    /// Reads the store. The first call opens the cursor of [`SINK`].
    pub(super) async fn of(store: &SharedStore) -> Self {
        let mut runs = Vec::new();
        for run in list_all(store).await {
            let records = history(store, &run).await;
            runs.push((run, records));
        }
        Self {
            runs,
            outbox: events(store, Position(0)).await,
            end: store.outbox_end().await.expect("the end is read"),
            cursor: store.open_cursor(SINK).await.expect("a cursor is opened"),
        }
    }
}

/// Returns the history of a run.
pub(super) async fn history(store: &SharedStore, run: &Run) -> Vec<Written> {
    let records = store
        .records(run.key, Span::All)
        .await
        .expect("records are read");
    records.iter().map(Written::from).collect()
}

/// Returns every event after `after`.
pub(super) async fn events(store: &SharedStore, after: Position) -> Vec<(Position, String)> {
    let events = store
        .outbox(after, Page::events(1_000_000))
        .await
        .expect("the outbox is read");
    events
        .into_iter()
        .map(|(position, event)| (position, event.as_str().to_owned()))
        .collect()
}

/// A [`Record`] that can be compared.
#[derive(Debug, PartialEq)]
pub(super) struct Written {
    first_seq: u64,
    at: Timestamp,
    events: Vec<String>,
    entry: Option<WrittenEntry>,
}

#[derive(Debug, PartialEq)]
struct WrittenEntry {
    kind: EntryKind,
    name: String,
    occurrence: u32,
    attempt: u32,
    due_at: Option<Timestamp>,
    payload: Option<String>,
}

impl From<&Record> for Written {
    fn from(record: &Record) -> Self {
        let entry = record.entry.as_ref().map(|entry| WrittenEntry {
            kind: entry.kind,
            name: entry.name.clone(),
            occurrence: entry.occurrence,
            attempt: entry.attempt,
            due_at: entry.due_at,
            payload: entry
                .payload
                .as_ref()
                .map(|payload| payload.as_str().to_owned()),
        });
        let events = record
            .events
            .iter()
            .map(|event| event.as_str().to_owned())
            .collect();
        Self {
            first_seq: record.first_seq,
            at: record.at,
            events,
            entry,
        }
    }
}
