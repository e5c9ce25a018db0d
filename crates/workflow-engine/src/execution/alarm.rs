//! One timer of a driver, set again as often as the time it waits for changes.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tracker_core::Clock;

/// A difference between two times for which the timer is not set again.
const TOLERANCE: Duration = Duration::from_millis(1);

/// Wakes the task at a time of the monotonic clock.
#[derive(Default)]
pub(crate) struct Alarm(Option<(Duration, BoxFuture<'static, ()>)>);

impl Alarm {
    /// Polls for the time `at`, which may be another one at each call.
    ///
    /// `Ready` may come early, because a time of day moves against the monotonic clock; the caller
    /// looks at its clocks and polls again.
    pub(crate) fn poll(
        &mut self,
        clock: &Arc<dyn Clock>,
        at: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let now = clock.now();
        if at <= now {
            return Poll::Ready(());
        }
        let current = self.0.take();
        let current = current.filter(|(current, _)| current.abs_diff(at) <= TOLERANCE);
        let (at, mut sleep) = current.unwrap_or_else(|| {
            let clock = clock.clone();
            let sleep = async move { clock.sleep(at - now).await };
            (at, sleep.boxed())
        });
        let polled = sleep.poll_unpin(cx);
        if polled.is_pending() {
            self.0 = Some((at, sleep));
        }
        polled
    }
}
