//! Bad input gets a clear typed error, and nothing is lost.

use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio::runtime::Builder;
use tracker_core::{Config, ConfigError, PushError, SendError, SendOptions, Transport};
use tracker_http::testing::FaultServer;
use tracker_http::{BuildError, EndpointError, HttpTracker, HttpTransport, TokenError};

#[derive(Debug, PartialEq)]
enum Event {
    Fine(u32),
    Unencodable,
    Large(usize),
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fine(id) => serializer.collect_map([("eventId", id.to_string())]),
            Self::Unencodable => Err(serde::ser::Error::custom("it has no JSON form")),
            Self::Large(bytes) => serializer.collect_map([("text", "x".repeat(*bytes))]),
        }
    }
}

#[tokio::test]
async fn an_invalid_endpoint_token_or_header_is_refused_by_name() {
    let build = |url: &str| HttpTransport::builder(url).build().unwrap_err();
    assert!(matches!(
        build("not a url"),
        BuildError::Endpoint(EndpointError::NotAUrl { .. })
    ));
    assert!(matches!(
        build("http://example.com/"),
        BuildError::Endpoint(EndpointError::PlainHttp { .. })
    ));
    assert!(matches!(
        build("http://127.0.0.1:87330/"),
        BuildError::Endpoint(EndpointError::Port)
    ));
    assert!(matches!(
        build("http://127.1/"),
        BuildError::Endpoint(EndpointError::Host { .. })
    ));

    let near = || HttpTransport::builder("http://127.0.0.1:1/");
    let refused = near().token("a\r\nX-Evil: 1").build().unwrap_err();
    assert!(matches!(
        refused,
        BuildError::Token(TokenError::Character { at: 1 })
    ));
    assert!(matches!(
        near().header("x", "a\nb").build().unwrap_err(),
        BuildError::Header { .. }
    ));
    assert!(matches!(
        near().header("", "v").build().unwrap_err(),
        BuildError::Header { .. }
    ));
    for reserved in ["Authorization", "Content-Type", "host", "Transfer-Encoding"] {
        let refused = near().header(reserved, "v").build().unwrap_err();
        assert!(
            matches!(refused, BuildError::ReservedHeader { .. }),
            "{reserved}"
        );
    }
    assert!(
        HttpTransport::builder("http://example.com/")
            .allow_plain_http()
            .build()
            .is_ok()
    );
}

#[test]
fn a_background_tracker_outside_of_a_runtime_is_an_error_and_no_panic() {
    let refused = HttpTracker::builder("http://127.0.0.1:1/")
        .background()
        .unwrap_err();
    assert!(matches!(refused, BuildError::NoRuntime));
}

/// Without a timer, the wait for a linger or a retry would panic on the background task and end
/// delivery.
#[test]
fn a_background_tracker_in_a_runtime_without_timers_is_an_error_and_a_scoped_one_is_none() {
    let runtimes = [
        Builder::new_current_thread().build(),
        Builder::new_multi_thread().worker_threads(1).build(),
    ];
    for runtime in runtimes {
        let runtime = runtime.unwrap();
        let _inside = runtime.enter();
        let builder = || HttpTracker::builder("http://127.0.0.1:1/");
        assert!(matches!(
            builder().background().unwrap_err(),
            BuildError::NoTimer
        ));
        assert!(builder().scoped().is_ok());
    }
}

#[test]
fn zero_limits_are_refused() {
    let refused = HttpTransport::builder("http://127.0.0.1:1/")
        .connect_timeout(Duration::ZERO)
        .build()
        .unwrap_err();
    assert!(matches!(
        refused,
        BuildError::Zero {
            option: "connect_timeout"
        }
    ));
    assert_eq!(
        Config::builder().capacity_events(0).build().unwrap_err(),
        ConfigError::Zero {
            option: "capacity_events"
        }
    );
    assert_eq!(
        Config::builder().batch_events(0).build().unwrap_err(),
        ConfigError::Zero {
            option: "batch_events"
        }
    );
}

#[tokio::test]
async fn an_event_that_cannot_be_taken_comes_back_and_harms_no_other() {
    let server = FaultServer::start().await.unwrap();
    let config = Config::builder().batch_bytes(1000).build().unwrap();
    let tracker = HttpTracker::builder(server.url())
        .config(config)
        .scoped()
        .unwrap();
    tracker.emit(Event::Fine(1)).unwrap();

    let refused = tracker.emit(Event::Unencodable).unwrap_err();
    assert!(
        matches!(refused, PushError::Unencodable { .. }),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("it has no JSON form"));
    assert_eq!(refused.into_event(), Event::Unencodable);

    let refused = tracker.emit(Event::Large(2000)).unwrap_err();
    assert!(
        matches!(
            refused,
            PushError::TooLarge {
                bytes: 2012,
                limit: 1000,
                ..
            }
        ),
        "{refused:?}"
    );
    assert_eq!(refused.into_event(), Event::Large(2000));

    tracker.emit(Event::Fine(2)).unwrap();
    let report = tracker.shutdown(Duration::from_secs(5)).await;
    assert_eq!(
        (
            report.books.accepted,
            report.books.delivered,
            server.distinct()
        ),
        (2, 2, 2)
    );

    let late = tracker.emit(Event::Fine(3)).unwrap_err();
    assert!(late.is_closed());
    assert_eq!(late.into_event(), Event::Fine(3));
    assert!(
        tracker
            .emit_wait(Event::Fine(3))
            .await
            .unwrap_err()
            .is_closed()
    );
}

#[tokio::test]
async fn a_transport_names_the_event_that_cannot_be_encoded_and_sends_nothing() {
    let server = FaultServer::start().await.unwrap();
    let transport = HttpTransport::builder(server.url()).build().unwrap();
    let events = [Event::Fine(1), Event::Unencodable, Event::Fine(2)];
    let refused = transport
        .send(&events, SendOptions::default())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, SendError::Unencodable { index: 1, .. }),
        "{refused:?}"
    );
    assert!(server.requests().is_empty());
}
