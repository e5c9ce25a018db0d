//! What is known of one far end: what its answers have taught, what ails it, and who is waiting for
//! it.

use std::fmt;
use std::time::Duration;

use crate::class::{Class, LONGEST_REST};
use crate::delivery::Delivery;
use crate::learned::Learned;
use crate::sync::Mutex;
use crate::transport::SendError;
use crate::wait::WakerSet;

/// What is known of the far end of one transport, shared by everything that delivers to it.
///
/// It lives as long as its tracker or relay, so that nothing is learned twice: that the far end
/// takes no encoding, how many events it answers in time, until when it has asked for rest, and
/// which answer an event has had before. It holds the last failure, and logs once when that
/// changes.
///
/// # Examples
///
/// ```
/// use tracker_core::FarEnd;
///
/// let far_end = FarEnd::new();
/// assert_eq!(far_end.trouble(), None);
/// ```
pub struct FarEnd {
    known: Mutex<Known>,
}

struct Known {
    learned: Learned,
    /// No request is sent before this time of the clock.
    rests_until: Duration,
    trouble: Option<SendError>,
    /// Counts the callers that came to wait.
    calls: u64,
    /// The callers that are waiting, and until when.
    waiting: Vec<(u64, Duration)>,
    wakers: WakerSet,
}

/// A caller waits for the delivery, until this is dropped. Made by [`FarEnd::hurry`].
#[derive(Debug)]
#[must_use = "the caller waits for as long as this is kept"]
pub struct Hurry<'a> {
    far_end: &'a FarEnd,
    call: u64,
}

impl FarEnd {
    /// Creates one of which nothing is known.
    pub fn new() -> Self {
        let known = Known {
            learned: Learned::default(),
            rests_until: Duration::ZERO,
            trouble: None,
            calls: 0,
            waiting: Vec::new(),
            wakers: WakerSet::default(),
        };
        Self {
            known: Mutex::new(known),
        }
    }

    /// Returns how the last attempt failed; `None` after a success, and before the first attempt.
    pub fn trouble(&self) -> Option<SendError> {
        self.known.lock().trouble.clone()
    }

    /// Says that a caller now waits for the delivery, until `deadline` of the clock.
    ///
    /// Deliveries that sleep between two attempts make the next one soon (50 ms after the last one,
    /// at the earliest), unless the far end has asked for rest, and start their delays at the
    /// beginning. An attempt under way, or the next one, gets half of the caller's time, so that
    /// one request without an answer does not use it up; not if the far end is known to need
    /// longer, and never two in a row.
    pub fn hurry(&self, deadline: Duration) -> Hurry<'_> {
        let mut known = self.known.lock();
        known.calls += 1;
        let call = known.calls;
        known.waiting.push((call, deadline));
        let wakers = known.wakers.take_all();
        drop(known);
        wakers.wake();
        Hurry {
            far_end: self,
            call,
        }
    }

    /// Returns how many callers have come so far.
    pub(crate) fn calls(&self) -> u64 {
        self.known.lock().calls
    }

    /// Returns when the first caller that still waits at `now` gives up.
    pub(crate) fn next_deadline(&self, now: Duration) -> Option<Duration> {
        self.known
            .lock()
            .waiting
            .iter()
            .map(|(_, until)| *until)
            .filter(|until| *until > now)
            .min()
    }

    /// Completes when more callers have come than `calls`.
    pub(crate) async fn demanded(&self, calls: u64) {
        let mut place = Place {
            far_end: self,
            key: None,
        };
        std::future::poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut known = self.known.lock();
            if known.calls > calls {
                return std::task::Poll::Ready(());
            }
            let replaced = known.wakers.register(&mut place.key, waker);
            drop(known);
            drop(replaced);
            std::task::Poll::Pending
        })
        .await;
    }

    pub(crate) fn learned(&self) -> Learned {
        self.known.lock().learned.clone()
    }

    /// Lets `delivery` decide with what is known, and keeps what it has learned. Several deliveries
    /// may learn at once.
    pub(crate) fn teach<T>(
        &self,
        delivery: &mut Delivery,
        decide: impl FnOnce(&mut Delivery) -> T,
    ) -> T {
        let mut known = self.known.lock();
        delivery.set_learned(std::mem::take(&mut known.learned));
        let decision = decide(delivery);
        known.learned = delivery.learned().clone();
        decision
    }

    pub(crate) fn rests_until(&self) -> Duration {
        self.known.lock().rests_until
    }

    /// Notes that the far end took something.
    pub(crate) fn well(&self) {
        let mut known = self.known.lock();
        known.rests_until = Duration::ZERO;
        let trouble = known.trouble.take();
        drop(known);
        if trouble.is_some() {
            tracing::info!("events are delivered again");
        }
    }

    /// Notes how an attempt failed that ended at `now`.
    pub(crate) fn ails(&self, error: &SendError, now: Duration) {
        let mut known = self.known.lock();
        if let SendError::Answer {
            status,
            retry_after: Some(rest),
            ..
        } = error
            && Class::of(*status, true) == Class::Retry
        {
            known.rests_until = now.saturating_add((*rest).min(LONGEST_REST));
        }
        let before = known.trouble.replace(error.clone());
        drop(known);
        if before.is_none_or(|before| before.kind() != error.kind()) {
            log(error);
        }
    }
}

/// Says what failed, without the words of the far end: those may repeat an event.
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
            .known
            .lock()
            .waiting
            .retain(|(call, _)| *call != self.call);
    }
}

/// A place among the wakers; dropping it gives the place up.
struct Place<'a> {
    far_end: &'a FarEnd,
    key: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let own = self.far_end.known.lock().wakers.remove(key);
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
        let (trouble, waiting) = {
            let known = self.known.lock();
            (known.trouble.clone(), known.waiting.len())
        };
        f.debug_struct("FarEnd")
            .field("trouble", &trouble)
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}
