//! Continuous delivery to one sink: whatever is committed is delivered soon.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};

use crate::delivery::relay::Relay;
use crate::delivery::report::SinkError;
use crate::shutdown::Shutdown;
use crate::store::Position;
use crate::workflow::failure::panic_message;

/// Delivers events as they are committed, until the engine is stopped.
///
/// `poll_interval` is how often the store is asked for what other processes have committed.
pub(crate) async fn serve(relay: &Relay, shutdown: &Shutdown, poll_interval: Duration) {
    let _serving = relay.serve();
    let mut seen = 0;
    let mut delivered = Position::default();
    while !shutdown.is_stopped() {
        let round = async {
            let end = relay.store().outbox_end().await?;
            if end.position > delivered {
                // No caller waits for this delivery, so it has no deadline; the shutdown that ends
                // it delivers the rest.
                relay.deliver(end.position, Duration::MAX).await?;
            }
            Ok::<_, SinkError>(end.position)
        };
        // The store is not the engine's code: its panic ends this round, and not the delivery.
        let round = AssertUnwindSafe(round).catch_unwind();
        let outcome = match select(pin!(round), pin!(shutdown.stopped())).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => return,
        };
        match outcome {
            Ok(Ok(end)) => {
                delivered = delivered.max(end);
                let committed = pin!(shutdown.committed_beyond(seen));
                let poll = relay.clock().sleep(poll_interval);
                if let Either::Left((committed, _)) = select(committed, poll).await {
                    seen = committed;
                }
                continue;
            }
            // The relay has logged it, once.
            Ok(Err(SinkError::Delivery(_))) => {}
            Ok(Err(SinkError::Store(error))) => {
                tracing::error!(
                    sink = relay.name(), %error,
                    "failed to read events; delivery will be retried"
                );
            }
            Err(panic) => {
                let panic = panic_message(&*panic);
                tracing::error!(
                    sink = relay.name(),
                    panic,
                    "delivery panicked; it will be retried"
                );
            }
        }
        let delay = relay.clock().sleep(relay.config().max_delay());
        select(delay, pin!(shutdown.stopped())).await;
    }
}
