//! Cancelling runs from outside.

use std::time::Duration;

use crate::clock::wall;
use crate::engine::Engine;
use crate::engine::error::CancelError;
use crate::execution::halt::Halt;
use crate::limits::{CANCEL_REASON_BYTES, ID_BYTES, check_name};
use crate::store::{CancelReply, CancelRequest, Status};
use crate::worker::Worker;

/// Options of a cancel. A string converts into a cancel with that reason.
///
/// # Examples
///
/// ```
/// use workflow_engine::Cancel;
///
/// let gently = Cancel::new("the customer called");
/// let now = Cancel::new("the customer called").immediate();
/// assert_ne!(gently, now);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cancel {
    reason: Option<String>,
    immediate: bool,
}

impl Cancel {
    /// A cancel with a reason, which the event `workflow.cancelled` carries. The steps under way
    /// finish. The reason has at most 16 KiB.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            immediate: false,
        }
    }

    /// A cancel without a reason.
    pub fn without_reason() -> Self {
        Self::default()
    }

    /// Drops the steps under way where they await, instead of letting them finish.
    ///
    /// Another process that executes the run learns of the cancel with its next record, or when it
    /// renews its lease (every 10 seconds by default).
    #[must_use]
    pub fn immediate(self) -> Self {
        Self {
            immediate: true,
            ..self
        }
    }
}

impl From<&str> for Cancel {
    fn from(reason: &str) -> Self {
        Self::new(reason)
    }
}

impl From<String> for Cancel {
    fn from(reason: String) -> Self {
        Self::new(reason)
    }
}

/// Result of a cancel request. The request is durable in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The run is cancelled.
    Done,
    /// The run is being executed; it ends as cancelled once its steps under way have ended.
    Requested,
}

impl Engine {
    /// Cancels a run. When this returns, the cancel is durable: the run can end in no other way.
    ///
    /// A run that waits or is queued is cancelled at once. In a run that is being executed nothing
    /// further begins; the steps under way finish and are recorded, or are dropped where they await
    /// if [`Cancel::immediate`] asks for that. The workflow's code does not see the cancel: its
    /// future is dropped.
    ///
    /// # Errors
    ///
    /// [`CancelError`] if there is no such run, or the run has ended; nothing was changed.
    pub async fn cancel(
        &self,
        id: &str,
        cancel: impl Into<Cancel>,
    ) -> Result<Cancelled, CancelError> {
        request(&self.worker, id, cancel.into()).await
    }
}

/// Requests the cancel of a run, and ends the run if no worker holds it.
pub(super) async fn request(
    worker: &Worker,
    id: &str,
    cancel: Cancel,
) -> Result<Cancelled, CancelError> {
    let Cancel { reason, immediate } = cancel;
    let bytes = reason.as_ref().map_or(0, String::len);
    if bytes > CANCEL_REASON_BYTES {
        return Err(CancelError::Reason {
            bytes,
            limit: CANCEL_REASON_BYTES,
        });
    }
    worker.retried(|| worker.lease.ensure()).await?;
    let request = CancelRequest {
        reason,
        immediate,
        at: wall(&*worker.clock),
    };
    let reply = worker.retried(|| worker.store.request_cancel(id, request.clone()));
    let run = match reply.await? {
        CancelReply::Unknown => {
            check_name(id, ID_BYTES).map_err(CancelError::Id)?;
            return Err(CancelError::UnknownRun { id: id.to_owned() });
        }
        CancelReply::Ended(status) => {
            return Err(CancelError::Ended {
                id: id.to_owned(),
                status,
            });
        }
        CancelReply::Accepted(run) => run,
    };
    let request = run.cancel.as_ref().unwrap_or(&request);
    worker.active.cancel(id, request);
    if run.due_at.is_none() {
        return Ok(Cancelled::Requested);
    }
    // No worker holds the run, so it is ended here; if that fails, the next worker that claims it
    // ends it. An execution here that has just suspended the run may still be about to leave.
    for _ in 0..2 {
        let changed = worker.active.changed(id);
        if let Some(claimed) = worker.claim_run(id).await? {
            return match worker.execute(claimed, None, Duration::ZERO).await {
                Ok(_) => Ok(Cancelled::Done),
                Err(Halt::Store(error)) => Err(error.into()),
                Err(_) => Ok(Cancelled::Requested),
            };
        }
        if !worker.active.is_active(id) {
            break;
        }
        worker.wait_for_change(changed).await;
    }
    let run = worker.find(id).await?;
    let has_ended = run.is_some_and(|run| run.status == Status::Cancelled);
    Ok(if has_ended {
        Cancelled::Done
    } else {
        Cancelled::Requested
    })
}
