//! The state of the in-memory store.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use workflow_events::Timestamp;

use crate::payload::EncodedEvent;
use crate::store::{Claim, Cursor, Due, OutboxEnd, Position, Record, Run, RunKey, StoreError};

#[derive(Default)]
pub(super) struct State {
    pub(super) runs: BTreeMap<RunKey, StoredRun>,
    pub(super) keys: HashMap<String, RunKey>,
    pub(super) last_key: u64,
    /// The runs that are ready or wait for a time, by workflow.
    pub(super) due: HashMap<String, Queue>,
    /// The workers: until when the lease of each lasts, and the runs that it holds.
    pub(super) workers: HashMap<String, (Timestamp, BTreeSet<RunKey>)>,
    /// The events that are kept, by position.
    pub(super) outbox: BTreeMap<Position, EncodedEvent>,
    pub(super) end: OutboxEnd,
    pub(super) purged: u64,
    pub(super) sinks: HashMap<String, StoredSink>,
    pub(super) sink_claims: u64,
}

/// Runs in the order in which they are claimed.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) ready: BTreeSet<(Timestamp, RunKey)>,
    pub(super) waiting: BTreeSet<(Timestamp, RunKey)>,
}

#[derive(Default)]
pub(super) struct StoredSink {
    pub(super) cursor: Cursor,
    pub(super) epoch: u64,
    pub(super) holder: Option<String>,
}

pub(super) struct StoredRun {
    pub(super) run: Run,
    /// When the run is due; the time equals that of `run`.
    pub(super) due: Option<Due>,
    pub(super) epoch: u64,
    pub(super) records: Vec<Record>,
    /// The positions of the run's events.
    pub(super) positions: Vec<Position>,
}

impl State {
    /// Returns the run, if `claim` is the right to advance it.
    pub(super) fn claimed(&self, claim: Claim) -> Result<&StoredRun, StoreError> {
        let Claim { key, epoch } = claim;
        let kept = self.runs.get(&key).ok_or(StoreError::UnknownRun { key })?;
        let held = kept.run.due_at.is_none() && kept.run.worker.is_some();
        if held && kept.epoch == epoch {
            Ok(kept)
        } else {
            Err(StoreError::Fenced { key, epoch })
        }
    }

    pub(super) fn append(&mut self, key: RunKey, records: Vec<Record>) {
        let Some(kept) = self.runs.get_mut(&key) else {
            return;
        };
        for record in records {
            kept.run.last_seq = record.last_seq();
            for event in &record.events {
                let position = Position(self.end.position.0 + 1);
                self.end = OutboxEnd {
                    position,
                    accepted: self.end.accepted + 1,
                    readable: position,
                };
                self.outbox.insert(self.end.position, event.clone());
                kept.positions.push(self.end.position);
            }
            kept.records.push(record);
        }
    }
}
