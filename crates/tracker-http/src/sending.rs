//! Marks threads that send events, so that the logs of sending are not sent themselves.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

thread_local! {
    static SENDING_DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Returns whether this thread currently works for a tracker or a transport of this crate: it sends
/// a request, reads an answer, or serves a connection.
///
/// hyper, h2 and rustls write logs. If a program's `tracing` layer emits every log as an event, the
/// logs about sending that event become events again, without end. The layer calls this function,
/// and skips such logs:
///
/// ```
/// use std::sync::OnceLock;
/// use tracing::field::{Field, Visit};
/// use tracing::span;
/// use tracker_http::HttpTracker;
///
/// /// Emits every log as an event. With `tracing-subscriber` this is the `on_event` of a layer.
/// struct Logs(OnceLock<HttpTracker>);
///
/// struct Message(String);
///
/// impl Visit for Message {
///     fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
///         if field.name() == "message" {
///             self.0 = format!("{value:?}");
///         }
///     }
/// }
///
/// impl tracing::Subscriber for Logs {
///     fn event(&self, log: &tracing::Event<'_>) {
///         if tracker_http::is_sending() {
///             return; // a log about this tracker's own requests
///         }
///         let mut message = Message(String::new());
///         log.record(&mut message);
///         if let Some(tracker) = self.0.get() {
///             // A full buffer drops the log: logging must not fail.
///             let _ = tracker.emit(serde_json::json!({"type": "log", "message": message.0}));
///         }
///     }
/// #   fn enabled(&self, _: &tracing::Metadata<'_>) -> bool { true }
/// #   fn new_span(&self, _: &span::Attributes<'_>) -> span::Id { span::Id::from_u64(1) }
/// #   fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
/// #   fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
/// #   fn enter(&self, _: &span::Id) {}
/// #   fn exit(&self, _: &span::Id) {}
/// }
///
/// assert!(!tracker_http::is_sending());
/// ```
pub fn is_sending() -> bool {
    SENDING_DEPTH.with(|depth| depth.get() > 0)
}

/// A mark on the current thread, until it is dropped.
struct SendingMark;

impl SendingMark {
    fn set() -> Self {
        SENDING_DEPTH.with(|depth| depth.set(depth.get() + 1));
        Self
    }
}

impl Drop for SendingMark {
    fn drop(&mut self) {
        SENDING_DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// Runs `future`; [`is_sending`] is true while it is polled, and while it is dropped.
pub(crate) async fn while_sending<F: Future>(future: F) -> F::Output {
    let mut future = WhileSending(Some(Box::pin(future)));
    poll_fn(|cx| Pin::new(&mut future).poll(cx)).await
}

struct WhileSending<F>(Option<Pin<Box<F>>>);

impl<F: Future> Future for WhileSending<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _mark = SendingMark::set();
        match &mut self.0 {
            Some(future) => future.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for WhileSending<F> {
    fn drop(&mut self) {
        let _mark = SendingMark::set();
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_mark_is_there_while_the_future_is_polled_and_at_no_other_time() {
        let mut future = Box::pin(while_sending(async {
            let before = is_sending();
            tokio::task::yield_now().await;
            before && is_sending()
        }));
        let pending = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await;
        assert!(pending && !is_sending());
        assert!(future.await && !is_sending());
    }

    #[tokio::test]
    async fn the_mark_is_there_while_the_future_is_dropped() {
        struct Asks(std::sync::mpsc::Sender<bool>);

        impl Drop for Asks {
            fn drop(&mut self) {
                self.0.send(is_sending()).unwrap();
            }
        }

        let (asks, answer) = std::sync::mpsc::channel();
        let held = Asks(asks);
        let mut future = Box::pin(while_sending(async move {
            let _held = held;
            std::future::pending::<()>().await;
        }));
        assert!(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await);
        drop(future);
        assert!(answer.recv().unwrap() && !is_sending());
    }

    #[tokio::test]
    async fn a_panic_takes_the_mark_off() {
        let panics = std::panic::AssertUnwindSafe(while_sending(async { panic!("in the future") }));
        let caught = futures::FutureExt::catch_unwind(panics).await;
        assert!(caught.is_err() && !is_sending());
    }
}
