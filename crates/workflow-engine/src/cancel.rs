//! Cancelling runs from outside.

use std::time::Duration;

use crate::engine::Inner;
use crate::history::Halt;
use crate::limits::{CANCEL_REASON_BYTES, ID_BYTES, NameError, check_name};
use crate::status::Status;
use crate::store::{CancelReply, CancelRequest, StoreError};
use crate::time::wall;

/// How a run is cancelled. A text is a cancel with that reason.
///
/// # Examples
///
/// ```
/// use workflow_engine::Cancel;
///
/// let gently = Cancel::new("the customer called");
/// let now = Cancel::new("the customer called").at_once();
/// assert_ne!(gently, now);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cancel {
    reason: Option<String>,
    at_once: bool,
}

impl Cancel {
    /// A cancel with a reason of at most 16 KiB, which the event `workflow.cancelled` carries; the
    /// steps under way finish.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            at_once: false,
        }
    }

    /// A cancel without a reason.
    pub fn without_reason() -> Self {
        Self::default()
    }

    /// Drops the steps under way where they await, instead of letting them finish.
    ///
    /// For a run that another process executes this happens when that one hears of it: with its
    /// next record, or when it renews its lease (10 s, unless set otherwise).
    #[must_use]
    pub fn at_once(self) -> Self {
        Self {
            at_once: true,
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

/// What a cancel came to. Either way it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The run is cancelled.
    Done,
    /// The run is being executed, and ends as cancelled once its steps under way have.
    Requested,
}

/// A run that cannot be cancelled; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError {
    /// The run's id is not one that a run can have.
    #[error("the run id is not accepted: {0}")]
    Id(#[source] NameError),
    /// The reason is too long.
    #[error("the reason has {bytes} bytes, and the limit is {limit}")]
    Reason {
        /// Its length in bytes of UTF-8.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// There is no run with this id.
    #[error("there is no run {id}")]
    UnknownRun {
        /// The id.
        id: String,
    },
    /// The run has ended before.
    #[error("the run {id} has already ended as {status}")]
    Ended {
        /// The id.
        id: String,
        /// How it ended.
        status: Status,
    },
    /// The store failed; the cancel may stand or not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Inner {
    pub(crate) async fn cancel(&self, id: &str, cancel: Cancel) -> Result<Cancelled, CancelError> {
        let Cancel { reason, at_once } = cancel;
        if let Some(bytes) = reason
            .as_ref()
            .map(String::len)
            .filter(|bytes| *bytes > CANCEL_REASON_BYTES)
        {
            return Err(CancelError::Reason {
                bytes,
                limit: CANCEL_REASON_BYTES,
            });
        }
        self.retried(|| self.lease.ensure()).await?;
        let request = CancelRequest {
            reason,
            at_once,
            at: wall(&*self.clock),
        };
        let run = match self
            .retried(|| self.store.request_cancel(id, request.clone()))
            .await?
        {
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
        self.active
            .cancel(id, run.cancel.as_ref().unwrap_or(&request));
        if run.due_at.is_none() {
            return Ok(Cancelled::Requested);
        }
        // Nobody holds it, so it is ended here; should this fail, whoever claims it next ends it.
        // The execution here that has just suspended it may not be gone yet.
        for _ in 0..2 {
            let changed = self.active.changed(id);
            if let Some(taken) = self.claim_run(id).await? {
                return match self.execute(taken, None, Duration::ZERO).await {
                    Ok(_) => Ok(Cancelled::Done),
                    Err(Halt::Store(error)) => Err(error.into()),
                    Err(_) => Ok(Cancelled::Requested),
                };
            }
            if !self.active.is_active(id) {
                break;
            }
            self.wait(changed).await;
        }
        let ended = self
            .find(id)
            .await?
            .is_some_and(|run| run.status == Status::Cancelled);
        Ok(if ended {
            Cancelled::Done
        } else {
            Cancelled::Requested
        })
    }
}
