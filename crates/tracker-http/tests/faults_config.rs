//! Options at their extremes, and events that are hard to enrich: no panic, and no event is changed
//! in transit.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::timeout;
use tracker_core::Config;
use tracker_http::HttpTracker;
use tracker_http::testing::{Answer, FaultServer};

const TEST_TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_longest_times_do_not_overflow() {
    let server = FaultServer::start().await.unwrap();
    server.then(Answer::Status(503));
    let config = Config::builder()
        .request_timeout(Duration::MAX)
        .linger(Duration::MAX);
    let config = config
        .initial_delay(Duration::from_millis(1))
        .max_delay(Duration::MAX)
        .build()
        .unwrap();
    let tracker = HttpTracker::builder(server.url())
        .config(config)
        .background()
        .unwrap();
    tracker.emit(json!({"eventId": "1"})).unwrap();
    let report = timeout(TEST_TIMEOUT, tracker.shutdown(Duration::MAX))
        .await
        .expect("a shutdown ends");
    assert!(report.ok().is_ok(), "{report}");
}

#[tokio::test]
async fn the_longest_flush_timeout_does_not_overflow() {
    let server = FaultServer::start().await.unwrap();
    let config = Config::builder()
        .flush_timeout(Duration::MAX)
        .build()
        .unwrap();
    let tracker = HttpTracker::builder(server.url())
        .config(config)
        .scoped()
        .unwrap();
    tracker.emit(json!({"eventId": "1"})).unwrap();
    timeout(TEST_TIMEOUT, tracker.flush())
        .await
        .expect("a flush ends")
        .ok()
        .unwrap();
}

#[tokio::test]
async fn the_shortest_shutdown_sends_nothing_and_hands_everything_back() {
    let server = FaultServer::start().await.unwrap();
    let tracker = HttpTracker::builder(server.url()).scoped().unwrap();
    tracker.emit(json!({"eventId": "1"})).unwrap();
    let report = timeout(TEST_TIMEOUT, tracker.shutdown(Duration::ZERO))
        .await
        .expect("a shutdown ends");
    assert_eq!((report.returned.len(), server.requests().len()), (1, 0));
    assert!(report.books.is_balanced(), "{report}");
}

#[derive(Serialize)]
struct Numbered {
    id: u128,
    note: &'static str,
}

async fn sent_with_env(note: &'static str) -> String {
    let server = FaultServer::start().await.unwrap();
    let tracker = HttpTracker::builder(server.url())
        .transport(|transport| transport.env("prod"))
        .scoped()
        .unwrap();
    tracker
        .emit(Numbered {
            id: u128::MAX,
            note,
        })
        .unwrap();
    tracker.flush().await.ok().unwrap();
    String::from_utf8(server.requests().remove(0).body).unwrap()
}

#[tokio::test]
async fn enrichment_keeps_a_long_number() {
    let sent = sent_with_env("plain").await;
    assert!(sent.contains(&u128::MAX.to_string()), "{sent}");
}

#[tokio::test]
async fn enrichment_keeps_a_long_number_in_an_event_that_mentions_the_name_of_the_field() {
    let sent = sent_with_env("environment").await;
    assert!(sent.contains(&u128::MAX.to_string()), "{sent}");
}

#[tokio::test]
async fn the_configured_field_wins_over_a_name_with_escapes() {
    let server = FaultServer::start().await.unwrap();
    let tracker = HttpTracker::builder(server.url())
        .transport(|transport| transport.env("prod"))
        .scoped()
        .unwrap();
    let event: Box<RawValue> = serde_json::from_str(r#"{"\u0065nv":"dev"}"#).unwrap();
    tracker.emit(event).unwrap();
    tracker.flush().await.ok().unwrap();
    assert_eq!(server.events(), [json!({"env": "prod"})]);
}
