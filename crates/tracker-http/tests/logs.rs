//! A program whose `tracing` subscriber emits every log into a tracker: the logs about its sending are left out.

#![expect(clippy::unwrap_used, reason = "a harness that cannot start is a failed test")]

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use serde_json::json;
use tokio::runtime::Builder;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};
use tracker_http::HttpTracker;
use tracker_http::testing::FaultServer;

/// Emits every log as an event.
struct Logs {
    tracker: Arc<OnceLock<HttpTracker>>,
    leaves_out: fn() -> bool,
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

impl Subscriber for Logs {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        let Some(tracker) = self.tracker.get().filter(|_| !(self.leaves_out)()) else { return };
        let mut text = Text::default();
        event.record(&mut text);
        tracker.emit(json!({"type": "log", "target": event.metadata().target(), "text": text.0})).unwrap();
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

const ROUNDS: usize = 20;

/// Logs once, and flushes until nothing is pending, at most [`ROUNDS`] times; returns the number of requests.
fn requests_for_one_log(leaves_out: fn() -> bool, in_background: bool) -> usize {
    // The server's own logs stay on its thread, where nobody listens.
    let servers = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = servers.block_on(FaultServer::start()).unwrap();
    let tracker = Arc::new(OnceLock::new());
    let logs = Logs { tracker: tracker.clone(), leaves_out };
    let program = Builder::new_current_thread().enable_all().build().unwrap();
    tracing::subscriber::with_default(logs, || {
        program.block_on(async {
            let builder = HttpTracker::builder(server.url());
            let made = if in_background { builder.background() } else { builder.scoped() };
            let tracker = tracker.get_or_init(|| made.unwrap());
            tracing::info!("the program's own log");
            for _ in 0..ROUNDS {
                if tracker.books().pending() > 0 {
                    tracker.flush().await.ok().unwrap();
                }
                // What the tasks of connections log comes now.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
            }
        });
    });
    let events = server.events();
    assert!(events[0]["text"].as_str().unwrap().contains("the program's own log"), "{events:?}");
    server.requests().len()
}

#[test]
fn without_the_question_a_log_is_followed_by_another_for_ever() {
    assert_eq!(requests_for_one_log(|| false, false), ROUNDS);
}

#[test]
fn with_the_question_one_log_is_one_request() {
    assert_eq!(requests_for_one_log(tracker_http::is_sending, false), 1);
    assert_eq!(requests_for_one_log(tracker_http::is_sending, true), 1);
}
