//! Shutdown with an endpoint that fails: every event is delivered or returned in order, and the
//! books agree.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::timeout;
use tracker_core::{Config, ConfigBuilder, DeliveryError, DeliveryReport};
use tracker_http::testing::{Answer, FaultServer};
use tracker_http::{HttpTracker, HttpTrackerBuilder, JsonEvent};

const SHORT_TIMEOUT: Duration = Duration::from_millis(100);
const LONG_TIMEOUT: Duration = Duration::from_secs(10);

fn event(id: usize) -> Value {
    json!({"eventId": id.to_string()})
}

fn events(ids: std::ops::Range<usize>) -> Vec<Value> {
    ids.map(event).collect()
}

fn emit(tracker: &HttpTracker, ids: std::ops::Range<usize>) {
    ids.for_each(|id| tracker.emit(event(id)).unwrap());
}

fn quick() -> ConfigBuilder {
    let builder = Config::builder()
        .initial_delay(Duration::from_millis(1))
        .max_delay(Duration::from_millis(20));
    builder.linger(Duration::from_millis(1))
}

fn builder(url: String) -> HttpTrackerBuilder {
    HttpTracker::builder(url).config(quick().build().unwrap())
}

async fn shutdown(tracker: &HttpTracker, deadline: Duration) -> DeliveryReport<Value> {
    let report = timeout(LONG_TIMEOUT, tracker.shutdown(deadline))
        .await
        .expect("a shutdown ends");
    assert!(report.books.is_balanced(), "{report}");
    assert_eq!(report.books.pending(), 0, "{report}");
    report.map(|event| event.decode().unwrap())
}

/// Returns the URL of a server that no longer exists.
async fn dead_url() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/v1/events", listener.local_addr().unwrap())
}

#[tokio::test]
async fn an_endpoint_that_is_down_hands_every_event_back_in_order() {
    for background in [false, true] {
        let builder = builder(dead_url().await);
        let tracker = if background {
            builder.background()
        } else {
            builder.scoped()
        }
        .unwrap();
        emit(&tracker, 0..1000);
        let report = shutdown(&tracker, SHORT_TIMEOUT).await;
        assert_eq!(report.returned, events(0..1000), "background: {background}");
        assert_eq!((report.books.returned, report.books.delivered), (1000, 0));
        assert!(report.ok().is_err());
    }
}

#[tokio::test]
async fn an_endpoint_that_stalls_does_not_hold_the_shutdown_beyond_its_deadline() {
    let server = FaultServer::start().await.unwrap();
    server.then(Answer::Accept);
    server.always(Answer::Hang);
    let tracker = HttpTracker::builder(server.url());
    let tracker = tracker
        .config(quick().batch_events(4).build().unwrap())
        .scoped()
        .unwrap();
    emit(&tracker, 0..12);
    let started = Instant::now();
    let report = shutdown(&tracker, Duration::from_millis(500)).await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert!(
        matches!(report.stop, Some(DeliveryError::Deadline { .. })),
        "{report:?}"
    );
    assert_eq!(
        (report.returned, server.events()),
        (events(4..12), events(0..4))
    );
}

#[tokio::test]
async fn a_wrong_configuration_hands_the_events_back_without_waiting_for_the_deadline() {
    let server = FaultServer::start().await.unwrap();
    server.always(Answer::Status(403));
    let tracker = builder(server.url()).scoped().unwrap();
    emit(&tracker, 0..3);
    let report = timeout(LONG_TIMEOUT, shutdown(&tracker, Duration::from_secs(3600)))
        .await
        .expect("at once");
    assert!(
        matches!(report.stop, Some(DeliveryError::Configuration(_))),
        "{report:?}"
    );
    assert_eq!(
        (report.returned, server.requests().len()),
        (events(0..3), 1)
    );
}

#[tokio::test]
async fn a_background_delivery_that_hangs_is_taken_back() {
    let server = Arc::new(FaultServer::start().await.unwrap());
    server.always(Answer::Hang);
    let tracker = builder(server.url()).background().unwrap();
    emit(&tracker, 0..5);
    until(|| !server.requests().is_empty()).await;
    assert_eq!(tracker.books().in_flight, 5);
    let report = shutdown(&tracker, SHORT_TIMEOUT).await;
    assert_eq!(report.returned, events(0..5));
}

#[tokio::test]
async fn a_background_tracker_delivers_by_itself_and_survives_a_wrong_configuration() {
    let server = FaultServer::start().await.unwrap();
    server.then(Answer::Status(401));
    server.then(Answer::Status(503));
    let tracker = builder(server.url()).background().unwrap();
    emit(&tracker, 0..5);
    until(|| server.received() == 5).await;
    emit(&tracker, 5..6);
    until(|| server.received() == 6).await;
    let report = shutdown(&tracker, LONG_TIMEOUT).await;
    assert!(report.ok().is_ok(), "{report}");
    assert_eq!(server.events(), events(0..6));
}

#[tokio::test]
async fn a_full_background_batch_does_not_wait_for_the_linger() {
    let server = FaultServer::start().await.unwrap();
    let config = quick()
        .linger(Duration::from_secs(3600))
        .batch_events(4)
        .build()
        .unwrap();
    let tracker = HttpTracker::builder(server.url())
        .config(config)
        .background()
        .unwrap();
    emit(&tracker, 0..4);
    until(|| server.received() == 4).await;
    emit(&tracker, 4..5);
    let report = shutdown(&tracker, LONG_TIMEOUT).await;
    assert!(
        report.ok().is_ok(),
        "a shutdown does not wait for the linger: {report}"
    );
}

#[tokio::test]
async fn two_shutdowns_return_each_event_once() {
    let tracker = builder(dead_url().await).scoped().unwrap();
    emit(&tracker, 0..10);
    let (first, second) = tokio::join!(
        shutdown(&tracker, SHORT_TIMEOUT),
        shutdown(&tracker, SHORT_TIMEOUT)
    );
    assert_eq!([first.returned, second.returned].concat(), events(0..10));
    let third = shutdown(&tracker, SHORT_TIMEOUT).await;
    assert!(
        third.returned.is_empty() && third.books.returned == 10,
        "{third}"
    );
}

#[tokio::test]
async fn a_tracker_that_is_dropped_ends_its_background_task() {
    let server = FaultServer::start().await.unwrap();
    server.always(Answer::Hang);
    let held = Arc::new(());
    let tracker = HttpTracker::builder(server.url()).config(quick().build().unwrap());
    let tracker = tracker
        .observer(Arc::new(Holds(held.clone())))
        .background()
        .unwrap();
    emit(&tracker, 0..1);
    until(|| !server.requests().is_empty()).await;
    drop(tracker);
    until(|| Arc::strong_count(&held) == 1).await;
}

struct Holds(#[expect(dead_code, reason = "its reference count is what is observed")] Arc<()>);

impl tracker_core::Observer<JsonEvent> for Holds {}

/// Polls `condition` until it holds.
async fn until(condition: impl Fn() -> bool) {
    let polling = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG_TIMEOUT, polling)
        .await
        .expect("the condition comes true");
}
