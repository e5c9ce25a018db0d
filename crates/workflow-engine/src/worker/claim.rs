//! Claims: which runs this worker takes from the store.

use workflow_events::Timestamp;

use crate::clock::wall;
use crate::store::{ClaimRequest, Claims, StoreError};
use crate::worker::Worker;
use crate::worker::active::ClaimedRun;

/// Runs to execute, and when there will be more.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) runs: Vec<ClaimedRun>,
    pub(crate) next_due: Option<Timestamp>,
    /// Workflows that have runs which are due, and that are not registered here.
    pub(crate) unknown: Vec<String>,
}

impl Worker {
    /// Claims at most `room` runs: first those that this worker holds already.
    pub(crate) async fn claim_due(&self, room: usize) -> Result<Found, StoreError> {
        let mut runs = self.reclaim(room).await?;
        self.lease.ensure().await?;
        let request = self.claim_request(None, room.saturating_sub(runs.len()));
        let found = self.claim(request).await?;
        runs.extend(found.runs);
        Ok(Found { runs, ..found })
    }

    /// Claims one run, if it is due, or if this worker holds it and does not execute it.
    pub(crate) async fn claim_run(&self, id: &str) -> Result<Option<ClaimedRun>, StoreError> {
        if self.active.is_active(id) {
            return Ok(None);
        }
        self.retried(|| self.lease.ensure()).await?;
        let request = ClaimRequest {
            workflows: None,
            ..self.claim_request(Some(id.to_owned()), 1)
        };
        Ok(self.claim(request).await?.runs.pop())
    }

    /// Claims again runs that this worker holds and whose execution was dropped or never began; at
    /// most `room`.
    async fn reclaim(&self, room: usize) -> Result<Vec<ClaimedRun>, StoreError> {
        let mut held = Vec::new();
        if self.active.take_in_doubt() {
            let pending = self.active.begin_claim();
            // A claim that was requested before this write has happened by now, or never will.
            self.lease.renew().await?;
            held = self.store.held(&self.lease.worker_id).await?;
            pending.resolve();
        }
        let mut abandoned = self.active.take_abandoned(held);
        let mut claimed = Vec::new();
        while claimed.len() < room
            && let Some(id) = abandoned.next()
        {
            if self.active.is_active(&id) {
                // An execution of the run that was fenced has not noticed that yet.
                abandoned.postpone(id);
                continue;
            }
            match self.claim_run(&id).await {
                Ok(run) => claimed.extend(run),
                // A run that cannot be read must not block the others.
                Err(error @ StoreError::Corrupt { .. }) => {
                    tracing::error!(
                        run = id, %error,
                        "failed to read a run; it rests until this worker has ended"
                    );
                }
                // The run may be locked, and others not. If the store itself fails, the next
                // request fails too.
                Err(error) => {
                    tracing::warn!(run = id, %error, "failed to claim a run; it will be retried");
                    abandoned.postpone(id);
                    break;
                }
            }
        }
        Ok(claimed)
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Found, StoreError> {
        let pending = self.active.begin_claim();
        let claims = self.store.claim(request).await;
        // A run that cannot be read cannot be executed, whether it is claimed or not.
        if matches!(claims, Ok(_) | Err(StoreError::Corrupt { .. })) {
            pending.resolve();
        }
        let Claims {
            runs,
            next_due,
            unknown,
        } = claims?;
        let runs = runs.into_iter();
        Ok(Found {
            runs: runs.map(|run| self.active.claimed(run)).collect(),
            next_due,
            unknown,
        })
    }

    fn claim_request(&self, run: Option<String>, limit: usize) -> ClaimRequest {
        ClaimRequest {
            worker: self.lease.worker_id.clone(),
            now: wall(&*self.clock),
            run,
            workflows: Some(self.workflow_names.clone()),
            limit,
        }
    }
}
