//! How far an execution has come, and what ends it.

use crate::store::CancelRequest;

/// The phase of an execution. It only moves down this list.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The code follows the history; operations may not begin.
    Replaying,
    /// The code has reached the end of the history; operations begin.
    Live,
    /// The engine shuts down; operations may not begin, and attempts under way end.
    Draining,
    /// The run is to be cancelled; operations may not begin, and attempts under way end.
    Cancelling(CancelRequest),
    /// The workflow's future is dropped for good; what its operations do then is not recorded. A
    /// cancel can still be requested, while the end of the execution is being committed.
    Closed(Option<CancelRequest>),
}

impl Phase {
    /// Begins to drain, unless more than that has happened.
    pub(crate) fn drain(&mut self) {
        if matches!(self, Self::Replaying | Self::Live) {
            *self = Self::Draining;
        }
    }

    /// Adds a cancel. The reason and the time of the first request stand; the run is cancelled at
    /// once if any request asks for that.
    pub(crate) fn cancel(&mut self, request: CancelRequest) {
        let request = match self.cancel_request() {
            Some(earlier) => CancelRequest {
                immediate: earlier.immediate || request.immediate,
                ..earlier.clone()
            },
            None => request,
        };
        *self = match self {
            Self::Closed(_) => Self::Closed(Some(request)),
            _ => Self::Cancelling(request),
        };
    }

    /// Closes the execution.
    pub(crate) fn close(&mut self) {
        *self = Self::Closed(self.cancel_request().cloned());
    }

    /// Returns the cancel that was requested.
    pub(crate) fn cancel_request(&self) -> Option<&CancelRequest> {
        match self {
            Self::Cancelling(request) => Some(request),
            Self::Closed(request) => request.as_ref(),
            Self::Replaying | Self::Live | Self::Draining => None,
        }
    }
}
