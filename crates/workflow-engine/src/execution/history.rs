//! Appending to the history of a run, with a retry where the storage fails.

use std::sync::Arc;
use std::time::Duration;

use tracker_core::Clock;
use workflow_events::Timestamp;

use crate::execution::halt::Halt;
use crate::execution::outgoing::{Ids, Outgoing};
use crate::shutdown::Shutdown;
use crate::store::{
    CancelRequest, Claim, Commit, Committed, Record, Span, Status, Store, StoreError,
};

/// The waits before an operation that failed because of the storage is retried. After the last one
/// the error is returned.
pub(crate) const STORE_RETRY_DELAYS: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(40),
    Duration::from_millis(160),
    Duration::from_millis(640),
    Duration::from_millis(2_560),
];

/// The history of one run under one claim, to which one commit at a time appends.
pub(crate) struct History {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Ids,
    pub(crate) claim: Claim,
    pub(crate) status: Status,
    pub(crate) last_seq: u64,
}

/// Result of [`History::append`].
#[derive(Debug)]
pub(crate) enum Appended {
    /// The records are in the history; the run may be about to be cancelled.
    Committed(Committed),
    /// Nothing was changed: the records would have ended the run, which is to be cancelled instead.
    CancelRequested(CancelRequest),
}

impl History {
    /// Prepares a commit. The future executes it, and retries where the storage fails.
    pub(crate) fn append(
        &self,
        outgoing: &[Outgoing],
        status: Status,
        due_at: Option<Timestamp>,
    ) -> Result<impl Future<Output = Result<Appended, Halt>> + Send + 'static, Halt> {
        let records = self.ids.records(self.last_seq, outgoing)?;
        let commit = Commit {
            claim: self.claim,
            records,
            status,
            due_at,
        };
        let store = self.store.clone();
        let shutdown = self.shutdown.clone();
        let clock = self.clock.clone();
        Ok(async move {
            let mut delays = STORE_RETRY_DELAYS.into_iter();
            let mut is_repeated = false;
            loop {
                let answer = {
                    let _permit = shutdown.admit_commit().ok_or(Halt::Stopped)?;
                    store.commit(commit.clone()).await
                };
                match answer {
                    Ok(committed) => return Ok(Appended::Committed(committed)),
                    Err(StoreError::CancelRequested(cancel)) => {
                        return Ok(Appended::CancelRequested(*cancel));
                    }
                    Err(error) if error.is_transient() => {
                        let Some(delay) = delays.next() else {
                            return Err(error.into());
                        };
                        tracing::warn!(run = %commit.claim.key, "the store failed; the commit is tried again");
                        clock.sleep(delay).await;
                        is_repeated = true;
                    }
                    // The attempt before this one may have succeeded although the store reported a
                    // failure.
                    Err(_) if is_repeated && has_happened(&*store, &commit).await => {
                        return Ok(Appended::Committed(Committed::default()));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        })
    }

    /// Advances past records that were committed.
    pub(crate) fn advance(&mut self, outgoing: &[Outgoing], status: Status) {
        self.last_seq += outgoing
            .iter()
            .map(|outgoing| outgoing.drafts.len() as u64)
            .sum::<u64>();
        self.status = status;
    }
}

/// Returns whether a history ends with the records of `commit`. Event ids are unique, so equal
/// events prove it.
async fn has_happened(store: &dyn Store, commit: &Commit) -> bool {
    let Ok(last) = store.records(commit.claim.key, Span::Last).await else {
        return false;
    };
    let text = |record: &Record| record.events.last().map(|event| event.as_str().to_owned());
    last.last()
        .and_then(text)
        .is_some_and(|last| commit.records.last().and_then(text) == Some(last))
}
