//! Cursors of sinks, and claims on their delivery.

use workflow_events::Timestamp;

use super::state::{State, StoredSink};
use crate::store::{Cursor, SinkClaim, StoreError};

impl State {
    /// Returns the state of a sink; an unknown sink gets a cursor at the start.
    pub(super) fn open(&mut self, sink: &str) -> &mut StoredSink {
        let missed = self.purged;
        let new = || StoredSink {
            cursor: Cursor {
                missed,
                ..Cursor::default()
            },
            ..StoredSink::default()
        };
        self.sinks.entry(sink.to_owned()).or_insert_with(new)
    }

    pub(super) fn claim_sink(
        &mut self,
        sink: &str,
        worker: &str,
        now: Timestamp,
    ) -> Option<SinkClaim> {
        let holder = self
            .open(sink)
            .holder
            .clone()
            .filter(|holder| holder != worker);
        if holder
            .and_then(|holder| self.workers.get(&holder))
            .is_some_and(|(until, _)| *until > now)
        {
            return None;
        }
        self.sink_claims += 1;
        let epoch = self.sink_claims;
        let kept = self.open(sink);
        (kept.epoch, kept.holder) = (epoch, Some(worker.to_owned()));
        Some(SinkClaim {
            sink: sink.to_owned(),
            epoch,
        })
    }

    /// Returns the sink, if `claim` is the right to deliver to it.
    pub(super) fn claimed_sink(
        &mut self,
        claim: &SinkClaim,
    ) -> Result<&mut StoredSink, StoreError> {
        let SinkClaim { sink, epoch } = claim.clone();
        let kept = self
            .sinks
            .get_mut(&sink)
            .filter(|kept| kept.epoch == epoch && kept.holder.is_some());
        kept.ok_or(StoreError::SinkFenced { sink, epoch })
    }
}
