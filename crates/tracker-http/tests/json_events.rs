//! Events are sent byte for byte as they were emitted, or they are refused by the emit; the tracker
//! keeps one form of them.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::json;
use tracker_core::{BufferedTracker, Config, Overflow, PushError, Tracker};
use tracker_http::testing::FaultServer;
use tracker_http::{HttpTracker, HttpTransport, JsonEvent, TokioClock};

const LONG_TIMEOUT: Duration = Duration::from_secs(10);

/// Builds a tracker that adds `env` to every event.
fn enriching(server: &FaultServer) -> HttpTracker {
    HttpTracker::builder(server.url())
        .transport(|transport| transport.env("prod"))
        .scoped()
        .unwrap()
}

/// Returns an event as it is on the wire.
async fn sent(tracker: &HttpTracker, server: &FaultServer) -> String {
    tracker.flush().await.ok().unwrap();
    let body = String::from_utf8(server.requests().pop().unwrap().body).unwrap();
    body.strip_prefix(r#"{"events":["#)
        .unwrap()
        .strip_suffix("]}")
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn json_that_was_written_by_hand_arrives_as_it_was_written() {
    let server = FaultServer::start().await.unwrap();
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    let plain = HttpTracker::builder(server.url()).scoped().unwrap();
    let enriching = enriching(&server);
    for (text, with_env) in [
        ("{\n}", "{\"env\":\"prod\"}".to_owned()),
        (
            "{ \"n\" : 1.50e400, \"n\":0 }",
            r#"{"env":"prod","n":1.50e400,"n":0}"#.to_owned(),
        ),
        (
            r#"{"\ud800":"\udfff","env":1}"#,
            r#"{"env":"prod","\ud800":"\udfff"}"#.to_owned(),
        ),
        (&deep, format!("{{\"env\":\"prod\",{}", &deep[1..])),
    ] {
        let event = JsonEvent::from_json(text).unwrap();
        plain.emit(&event).unwrap();
        assert_eq!(sent(&plain, &server).await, text);
        enriching.emit(&event).unwrap();
        assert_eq!(sent(&enriching, &server).await, with_env);
    }
    assert_eq!(
        server.received(),
        8,
        "the server counts what it cannot read, too"
    );
    assert!(JsonEvent::from_json("{} {}").is_err());
}

#[tokio::test]
async fn a_number_that_json_has_no_form_for_is_refused_and_comes_back() {
    let server = FaultServer::start().await.unwrap();
    let tracker = HttpTracker::builder(server.url()).scoped().unwrap();
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let refused = tracker.emit(("event", number)).unwrap_err();
        assert!(
            matches!(refused, PushError::Unencodable { .. }),
            "{refused:?}"
        );
        assert!(refused.to_string().contains("not finite"), "{refused}");
        assert_eq!(refused.into_event().1.to_bits(), number.to_bits());
        assert!(
            tracker
                .emit_wait(HashMap::from([("a", number as f32)]))
                .await
                .is_err()
        );
    }
    tracker.emit(("event", None::<f64>, "null")).unwrap();
    assert_eq!(sent(&tracker, &server).await, r#"["event",null,"null"]"#);
    assert_eq!(tracker.books().accepted, 1);
}

/// Without encoding on emit, the invalid event is found when it is sent; other events are not
/// affected.
#[tokio::test]
async fn a_transport_rejects_a_number_that_json_has_no_form_for() {
    let server = FaultServer::start().await.unwrap();
    let transport = Arc::new(HttpTransport::builder(server.url()).build().unwrap());
    let tracker =
        BufferedTracker::new(Config::default(), transport, Arc::new(TokioClock::new()), 7);
    [1.0, f64::NAN, 2.0]
        .into_iter()
        .for_each(|number| tracker.emit(json_of(number)).unwrap());
    let report = tracker.flush().await;
    assert_eq!(
        (report.books.delivered, report.rejected, server.received()),
        (2, 1, 2)
    );
}

fn json_of(number: f64) -> HashMap<&'static str, f64> {
    HashMap::from([("number", number)])
}

#[tokio::test]
async fn an_event_that_no_field_can_be_added_to_is_refused_where_it_enters() {
    let server = FaultServer::start().await.unwrap();
    let tracker = enriching(&server);
    let refused = tracker.emit(7).unwrap_err();
    assert!(
        refused.to_string().contains("not a JSON object"),
        "{refused}"
    );
    assert_eq!(refused.into_event(), 7);
    assert_eq!(
        tracker.emit_wait("text").await.unwrap_err().into_event(),
        "text"
    );
    let tracker: Arc<dyn Tracker<JsonEvent>> = Arc::new(tracker);
    let event = JsonEvent::encode(&[1]).unwrap();
    assert_eq!(tracker.emit(event.clone()).unwrap_err().into_event(), event);
    assert_eq!(tracker.books().accepted, 0);
    HttpTracker::builder(server.url())
        .scoped()
        .unwrap()
        .emit(7)
        .unwrap();
}

/// An event that counts its instances.
struct Held(#[expect(dead_code, reason = "its reference count is what is observed")] Arc<()>);

impl Serialize for Held {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([("text", "x".repeat(100))])
    }
}

#[tokio::test]
async fn only_the_text_of_an_event_is_kept() {
    let server = FaultServer::start().await.unwrap();
    let tracker = HttpTracker::builder(server.url()).scoped().unwrap();
    let count = Arc::new(());
    tracker.emit(Held(count.clone())).unwrap();
    tracker.emit_wait(Held(count.clone())).await.unwrap();
    assert_eq!((Arc::strong_count(&count), tracker.books().queued), (1, 2));
}

#[tokio::test]
async fn the_capacity_in_bytes_counts_the_text_that_is_held() {
    let server = FaultServer::start().await.unwrap();
    // Each event has 10 bytes of text, and a comma.
    let config = Config::builder()
        .capacity_bytes(33)
        .batch_bytes(33)
        .build()
        .unwrap();
    let tracker = HttpTracker::builder(server.url())
        .config(config)
        .scoped()
        .unwrap();
    for _ in 0..3 {
        tracker.emit(json!({"a": 1000})).unwrap();
    }
    assert!(tracker.emit(json!({"a": 1000})).unwrap_err().is_full());
    let report = tracker.shutdown(LONG_TIMEOUT).await;
    assert_eq!(
        (
            report.books.accepted,
            report.books.delivered,
            server.requests().len()
        ),
        (3, 3, 1)
    );
}

/// Events are returned and observed as text, and can be emitted to another tracker unchanged.
#[tokio::test]
async fn events_that_come_back_can_be_emitted_again() {
    let server = FaultServer::start().await.unwrap();
    let config = Config::builder()
        .capacity_events(2)
        .overflow(Overflow::Refuse)
        .build()
        .unwrap();
    let first = HttpTracker::builder(server.url())
        .config(config)
        .scoped()
        .unwrap();
    first.emit(json!({"id": u64::MAX})).unwrap();
    first.emit((1, "a")).unwrap();
    let returned = first.shutdown(Duration::ZERO).await.returned;
    assert_eq!(
        returned[1].decode::<(u8, String)>().unwrap(),
        (1, "a".to_owned())
    );
    assert!(returned[1].decode::<u8>().is_err());
    assert_eq!(
        format!("{returned:?}"),
        "[JsonEvent(27 bytes), JsonEvent(7 bytes)]"
    );

    let second = HttpTracker::builder(server.url()).scoped().unwrap();
    returned
        .into_iter()
        .for_each(|event| second.emit(event).unwrap());
    assert_eq!(
        sent(&second, &server).await,
        r#"{"id":18446744073709551615},[1,"a"]"#
    );
}
