//! The state of one far end: what its answers have taught, its last failure, and the callers that
//! wait for it.

use std::fmt;
use std::time::Duration;

use crate::delivery::class::{Class, MAX_RETRY_AFTER};
use crate::delivery::learned::Learned;
use crate::delivery::policy::Delivery;
use crate::sync::Mutex;
use crate::transport::SendError;
use crate::wakers::WakerSet;

/// The state of the far end of one transport, shared by everything that delivers to it.
///
/// A far end lives as long as its tracker or relay, so that nothing is learned twice: whether the
/// far end accepts encoding, how many events it answers in time, until when it has asked for rest,
/// and which failures an event has had. It keeps the last failure, and logs a failure once, and
/// again when its kind changes.
///
/// # Examples
///
/// ```
/// use tracker_core::FarEnd;
///
/// let far_end = FarEnd::new();
/// assert_eq!(far_end.last_error(), None);
/// ```
pub struct FarEnd {
    state: Mutex<State>,
}

struct State {
    learned: Learned,
    /// The time of the clock before which no request is sent.
    rests_until: Duration,
    last_error: Option<SendError>,
    /// The number of callers that have come.
    calls: u64,
    /// The callers that wait: the number and the deadline of each.
    waiting: Vec<(u64, Duration)>,
    wakers: WakerSet,
}

/// Counts a caller that waits for the delivery, until it is dropped. Made by [`FarEnd::hurry`].
#[derive(Debug)]
#[must_use = "the caller waits for as long as this is kept"]
pub struct Hurry<'a> {
    far_end: &'a FarEnd,
    call: u64,
}

impl FarEnd {
    /// Creates the state of a far end that has not answered yet.
    pub fn new() -> Self {
        let state = State {
            learned: Learned::default(),
            rests_until: Duration::ZERO,
            last_error: None,
            calls: 0,
            waiting: Vec::new(),
            wakers: WakerSet::default(),
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// Returns the error of the last attempt; `None` after a success and before the first attempt.
    pub fn last_error(&self) -> Option<SendError> {
        self.state.lock().last_error.clone()
    }

    /// Announces that a caller waits for the delivery, until `deadline` of the clock.
    ///
    /// A delivery that waits between two attempts makes the next one soon, at the earliest 50 ms
    /// after the last one, and its delays start at the beginning. It does not if the far end has
    /// asked for rest.
    ///
    /// An attempt under way, or the next one, gets half of the caller's time, so that one request
    /// without an answer does not use up all of it. It gets more if the far end is known to need
    /// longer, and after an attempt that was shortened.
    pub fn hurry(&self, deadline: Duration) -> Hurry<'_> {
        let mut state = self.state.lock();
        state.calls += 1;
        let call = state.calls;
        state.waiting.push((call, deadline));
        let wakers = state.wakers.take_all();
        drop(state);
        wakers.wake();
        Hurry {
            far_end: self,
            call,
        }
    }

    /// Returns the number of callers that have come so far.
    pub(crate) fn calls(&self) -> u64 {
        self.state.lock().calls
    }

    /// Returns the earliest deadline of the callers that still wait at `now`.
    pub(crate) fn next_deadline(&self, now: Duration) -> Option<Duration> {
        self.state
            .lock()
            .waiting
            .iter()
            .map(|(_, until)| *until)
            .filter(|until| *until > now)
            .min()
    }

    /// Completes when more than `calls` callers have come.
    pub(crate) async fn new_caller(&self, calls: u64) {
        let mut place = Place {
            far_end: self,
            key: None,
        };
        std::future::poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut state = self.state.lock();
            if state.calls > calls {
                return std::task::Poll::Ready(());
            }
            let replaced = state.wakers.register(&mut place.key, waker);
            drop(state);
            drop(replaced);
            std::task::Poll::Pending
        })
        .await;
    }

    pub(crate) fn learned(&self) -> Learned {
        self.state.lock().learned.clone()
    }

    /// Lets `delivery` decide with what was learned, and keeps what it learns. Several deliveries
    /// may learn at once.
    pub(crate) fn update<T>(
        &self,
        delivery: &mut Delivery,
        decide: impl FnOnce(&mut Delivery) -> T,
    ) -> T {
        let mut state = self.state.lock();
        delivery.set_learned(std::mem::take(&mut state.learned));
        let decision = decide(delivery);
        state.learned = delivery.learned().clone();
        decision
    }

    pub(crate) fn rests_until(&self) -> Duration {
        self.state.lock().rests_until
    }

    /// Records that the far end accepted a request.
    pub(crate) fn record_success(&self) {
        let mut state = self.state.lock();
        state.rests_until = Duration::ZERO;
        let last_error = state.last_error.take();
        drop(state);
        if last_error.is_some() {
            tracing::info!("events are delivered again");
        }
    }

    /// Records the error of an attempt that ended at `now`.
    pub(crate) fn record_failure(&self, error: &SendError, now: Duration) {
        let mut state = self.state.lock();
        if let SendError::Answer {
            status,
            retry_after: Some(rest),
            ..
        } = error
            && Class::of(*status, true) == Class::Retry
        {
            state.rests_until = now.saturating_add((*rest).min(MAX_RETRY_AFTER));
        }
        let before = state.last_error.replace(error.clone());
        drop(state);
        if before.is_none_or(|before| before.kind() != error.kind()) {
            log(error);
        }
    }
}

/// Logs a failure, without the text of the far end, which may repeat an event.
fn log(error: &SendError) {
    const NEXT: &str = "events are not delivered; they are kept, and delivery is tried again";
    match error {
        SendError::Unreachable { reason } | SendError::NoAnswer { reason } => {
            tracing::warn!(kind = error.kind().name(), %reason, "{NEXT}");
        }
        SendError::TimedOut { after } => {
            tracing::warn!(kind = error.kind().name(), ?after, "{NEXT}")
        }
        SendError::Answer { status, .. } | SendError::Unreadable { status, .. } => {
            tracing::warn!(kind = error.kind().name(), status, "{NEXT}");
        }
        SendError::Panicked { .. } | SendError::Unencodable { .. } => {
            tracing::warn!(kind = error.kind().name(), "{NEXT}");
        }
    }
}

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.far_end
            .state
            .lock()
            .waiting
            .retain(|(call, _)| *call != self.call);
    }
}

/// A place among the wakers, which is given up when this is dropped.
struct Place<'a> {
    far_end: &'a FarEnd,
    key: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let own = self.far_end.state.lock().wakers.remove(key);
            drop(own);
        }
    }
}

impl Default for FarEnd {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FarEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (last_error, waiting) = {
            let state = self.state.lock();
            (state.last_error.clone(), state.waiting.len())
        };
        f.debug_struct("FarEnd")
            .field("last_error", &last_error)
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}
