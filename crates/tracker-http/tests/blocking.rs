//! Programs without a runtime, and programs with the wrong one: a blocking call delivers, or
//! returns an error at once.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tracker_core::{Config, SendError, SendOptions, Transport};
use tracker_http::testing::{Answer, FaultServer};
use tracker_http::{BlockingError, HttpTracker, HttpTransport};

/// A limit that is longer than any wait in these tests.
const LONG_TIMEOUT: Duration = Duration::from_secs(20);

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Starts a server on a runtime of its own, which the caller keeps.
fn start() -> (Runtime, FaultServer) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(FaultServer::start()).unwrap();
    (runtime, server)
}

/// Builds a tracker whose requests never time out within a test.
fn tracker(server: &FaultServer) -> HttpTracker {
    let config = Config::builder()
        .request_timeout(2 * LONG_TIMEOUT)
        .flush_timeout(LONG_TIMEOUT)
        .build()
        .unwrap();
    HttpTracker::builder(server.url())
        .config(config)
        .scoped()
        .unwrap()
}

#[test]
fn a_main_without_a_runtime_delivers_everything() {
    let (_servers, server) = start();
    let tracker = tracker(&server);
    for id in 0..3 {
        tracker.emit(json!({"eventId": id.to_string()})).unwrap();
        tracker.flush_blocking().unwrap().ok().unwrap();
    }
    tracker.emit(json!({"eventId": "3"})).unwrap();
    let report = tracker.shutdown_blocking(LONG_TIMEOUT).unwrap();
    assert_eq!((report.ok().unwrap().delivered, server.distinct()), (4, 4));
    let again = tracker.shutdown_blocking(LONG_TIMEOUT).unwrap();
    assert_eq!(again.books, report.books);
}

#[test]
fn an_endpoint_that_is_down_hands_the_events_back_at_the_deadline() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let tracker = HttpTracker::builder(url).scoped().unwrap();
    tracker.emit(json!({"eventId": "1"})).unwrap();
    let report = tracker
        .shutdown_blocking(Duration::from_millis(100))
        .unwrap();
    assert_eq!((report.returned.len(), report.books.returned), (1, 1));
    assert_eq!(report.returned[0].as_str(), r#"{"eventId":"1"}"#);
}

#[test]
fn inside_a_runtime_it_says_so_at_once_and_nothing_is_lost() {
    let (_servers, server) = start();
    for runtime in [
        current_thread(),
        Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap(),
    ] {
        let tracker = tracker(&server);
        runtime.block_on(async {
            tracker.emit(json!({"eventId": "1"})).unwrap();
            assert!(matches!(
                tracker.flush_blocking(),
                Err(BlockingError::InsideRuntime)
            ));
            assert!(matches!(
                tracker.shutdown_blocking(LONG_TIMEOUT),
                Err(BlockingError::InsideRuntime)
            ));
            tracker
                .emit(json!({"eventId": "2"}))
                .expect("the tracker is open");
            assert_eq!(tracker.books().queued, 2);
            assert!(tracker.shutdown(LONG_TIMEOUT).await.ok().is_ok());
        });
    }
}

#[test]
fn a_connection_of_a_stalled_runtime_is_not_used() {
    let (_servers, server) = start();
    let tracker = tracker(&server);
    let stalled = current_thread();
    tracker.emit(json!({"eventId": "1"})).unwrap();
    stalled.block_on(tracker.flush()).ok().unwrap();

    tracker.emit(json!({"eventId": "2"})).unwrap();
    tracker.flush_blocking().unwrap().ok().unwrap();
    tracker.emit(json!({"eventId": "3"})).unwrap();
    current_thread().block_on(tracker.flush()).ok().unwrap();
    assert_eq!(
        (server.distinct(), server.connections()),
        (3, 3),
        "each runtime has its own connection"
    );

    tracker.emit(json!({"eventId": "4"})).unwrap();
    stalled.block_on(tracker.flush()).ok().unwrap();
    assert_eq!(
        (server.distinct(), server.connections()),
        (4, 3),
        "and uses it again"
    );
}

#[test]
fn connecting_on_a_stalled_runtime_delays_no_other_runtime() {
    let (_servers, server) = start();
    let transport = HttpTransport::builder(server.url()).build().unwrap();
    let stalled = current_thread();
    let events = [json!({"eventId": "1"})];
    // The attempt is dropped while it connects; its runtime does not run after that.
    stalled.block_on(async {
        let mut send = transport.send(&events, SendOptions::default());
        assert!(poll_fn(|cx| Poll::Ready(send.as_mut().poll(cx).is_pending())).await);
    });
    let send = async {
        tokio::time::timeout(
            LONG_TIMEOUT,
            transport.send(&events, SendOptions::default()),
        )
        .await
    };
    current_thread()
        .block_on(send)
        .expect("it does not wait for the other runtime")
        .unwrap();
}

#[test]
fn outside_of_a_runtime_sending_is_an_error_and_no_panic() {
    let (_servers, server) = start();
    let transport = HttpTransport::builder(server.url()).build().unwrap();
    let sent = futures::executor::block_on(transport.send(&[json!({})], SendOptions::default()));
    let Err(SendError::Unreachable { reason }) = sent else {
        panic!("nothing can be sent: {sent:?}")
    };
    assert!(reason.as_str().contains("runtime"), "{reason}");
}

/// The background task gives events in flight back only if its runtime runs.
#[test]
fn a_background_tracker_is_shut_down_from_a_thread_without_a_runtime() {
    let (_servers, server) = start();
    server.always(Answer::Hang);
    let running = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let config = Config::builder().linger(Duration::ZERO).build().unwrap();
    let builder = HttpTracker::builder(server.url()).config(config);
    let tracker = running.block_on(async { builder.background().unwrap() });
    tracker.emit(json!({"eventId": "1"})).unwrap();
    while server.requests().is_empty() {
        std::thread::yield_now();
    }
    let report = tracker
        .shutdown_blocking(Duration::from_millis(200))
        .unwrap();
    assert_eq!(
        (report.returned.len(), report.books.pending()),
        (1, 0),
        "{report}"
    );
}

#[test]
fn events_in_flight_on_a_stalled_runtime_are_reported_as_pending() {
    let (_servers, server) = start();
    server.then(Answer::Hang);
    let stalled = current_thread();
    let config = Config::builder()
        .linger(Duration::ZERO)
        .batch_events(1)
        .build()
        .unwrap();
    let builder = HttpTracker::builder(server.url()).config(config);
    let tracker = stalled.block_on(async { builder.background().unwrap() });
    (0..2).for_each(|id| tracker.emit(json!({"eventId": id.to_string()})).unwrap());
    stalled.block_on(async {
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
    });
    let report = tracker
        .shutdown_blocking(Duration::from_millis(200))
        .unwrap();
    assert!(
        report.books.is_balanced() && report.books.pending() == 1,
        "{report}"
    );
    assert_eq!(
        report.books.delivered + report.books.returned,
        1,
        "{report}"
    );
}
