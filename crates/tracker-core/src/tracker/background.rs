//! The background loop of a tracker, and its end.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use futures::future::select;

use crate::buffer::state::Phase;
use crate::delivery::action::DeliveryError;
use crate::panic::message;
use crate::tracker::buffered::BufferedTracker;
use crate::transport::Reason;

impl<E: Send + Sync + 'static> BufferedTracker<E> {
    /// Delivers in the background: when a batch is full, when its first event has waited for
    /// [`Config::linger`](crate::Config::linger), and when a push has found no room.
    ///
    /// Returns once the tracker is closed and no event is pending. While the endpoint fails, this
    /// keeps retrying. While the endpoint refuses delivery because of the configuration, it retries
    /// after each [`Config::max_delay`](crate::Config::max_delay). A failure is logged once, and
    /// again when its kind changes; [`report`](Self::report) and every flush report it too.
    ///
    /// A panic, for instance of a clock without a timer, ends the loop; from then on emits are
    /// refused with [`PushError::Stopped`](crate::PushError::Stopped).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the loop holds events only in batches, so its task can be aborted at any time.
    pub async fn run(&self) {
        if let Err(panic) = AssertUnwindSafe(Box::pin(self.run_loop()))
            .catch_unwind()
            .await
        {
            self.background_ended(Reason::new(format!("it panicked: {}", message(&*panic))));
        }
    }

    async fn run_loop(&self) {
        loop {
            self.buffer.arrival(1).await;
            let full = pin!(
                self.buffer.arrival(
                    self.config
                        .batch_events()
                        .min(self.config.capacity_events())
                )
            );
            select(full, self.clock.sleep(self.config.linger())).await;
            // No caller waits for this delivery, so it has no deadline, and honours a `Retry-After`
            // of up to a day.
            match self
                .deliver_below(self.buffer.barrier(), Duration::MAX)
                .await
            {
                Ok(()) => {}
                Err(DeliveryError::Recalled) => return,
                Err(_) => {
                    let settled = pin!(self.buffer.settled(self.buffer.barrier()));
                    select(settled, self.clock.sleep(self.config.max_delay())).await;
                }
            }
            if self.buffer.phase() == Phase::Closed {
                return;
            }
        }
    }

    /// Records that the task of [`run`](Self::run) has ended while the tracker is open. From then
    /// on emits are refused with [`PushError::Stopped`](crate::PushError::Stopped), and reports say
    /// so. Does nothing if the tracker is closed.
    pub fn background_ended(&self, reason: Reason) {
        if self.buffer.phase() != Phase::Open {
            return;
        }
        tracing::error!(
            pending = self.books().pending(),
            "background delivery has ended; events are refused from now on"
        );
        self.buffer.stop(reason.clone());
        self.shared.lock().background_ended.get_or_insert(reason);
    }
}
