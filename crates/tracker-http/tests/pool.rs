//! The server closes a kept connection during the next request: the request uses another
//! connection, and nothing is lost.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;
use tracker_core::{Config, SendOptions, Transport};
use tracker_http::testing::{Answer, FaultServer};
use tracker_http::{HttpTracker, HttpTransport};

const ROUNDS: usize = 200;

fn config(in_flight: usize) -> Config {
    let builder = Config::builder()
        .initial_delay(Duration::from_millis(1))
        .max_delay(Duration::from_millis(5));
    builder
        .in_flight(in_flight)
        .batch_events(4)
        .build()
        .unwrap()
}

async fn flush(tracker: &HttpTracker) {
    // This is longer than a request may take, because a request without an answer is tried again.
    timeout(Duration::from_secs(30), tracker.flush())
        .await
        .expect("a flush ends")
        .ok()
        .expect("everything arrives");
}

async fn rounds(closing: Answer, in_flight: usize, events_a_round: usize) {
    let server = FaultServer::start().await.unwrap();
    server.always(closing);
    let tracker = HttpTracker::builder(server.url())
        .config(config(in_flight))
        .scoped()
        .unwrap();
    for round in 0..ROUNDS {
        for event in 0..events_a_round {
            tracker
                .emit(json!({"eventId": format!("{round}-{event}")}))
                .unwrap();
        }
        flush(&tracker).await;
        assert_eq!(
            server.distinct(),
            (round + 1) * events_a_round,
            "round {round}"
        );
    }
    let report = tracker.shutdown(Duration::from_secs(10)).await;
    assert!(
        report.ok().is_ok() && report.books.is_balanced(),
        "{report}"
    );
    assert_eq!(
        server.received(),
        server.distinct(),
        "a request on a closed connection was not read by anybody"
    );
}

#[tokio::test]
async fn a_connection_closed_after_every_answer_loses_nothing() {
    rounds(Answer::AcceptAndClose, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_closed_after_every_answer_loses_nothing_on_many_threads() {
    rounds(Answer::AcceptAndClose, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_closed_under_several_batches_in_flight_lose_nothing() {
    rounds(Answer::AcceptAndClose, 4, 16).await;
}

#[tokio::test]
async fn a_server_that_announces_the_close_is_asked_on_a_new_connection() {
    let close = || Answer::Full(503, vec![("connection", "close".into())], String::new());
    let server = FaultServer::start().await.unwrap();
    (0..3).for_each(|_| server.then(close()));
    let tracker = HttpTracker::builder(server.url())
        .config(config(1))
        .scoped()
        .unwrap();
    tracker.emit(json!({"eventId": "1"})).unwrap();
    flush(&tracker).await;
    assert_eq!(
        (
            server.received(),
            server.requests().len(),
            server.connections()
        ),
        (1, 4, 4)
    );
}

/// The server and the client share a thread, so the close always arrives before the next request is
/// written.
#[tokio::test]
async fn a_close_that_comes_before_the_request_is_no_failure() {
    let server = FaultServer::start().await.unwrap();
    server.always(Answer::AcceptAndClose);
    let transport = HttpTransport::builder(server.url()).build().unwrap();
    for round in 0..ROUNDS {
        let events = [json!({"eventId": round.to_string()})];
        transport
            .send(&events, SendOptions::default())
            .await
            .expect("the pool sends it over another connection");
    }
    assert_eq!((server.received(), server.connections()), (ROUNDS, ROUNDS));
}
