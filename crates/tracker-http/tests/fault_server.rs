//! The server that other tests rely on gives the answers of its script, and counts the events that
//! it has taken.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tracker_core::{SendError, SendOptions, Transport};
use tracker_http::HttpTransport;
use tracker_http::testing::{Answer, Echo, FaultServer, Reply};

/// Sends these events; returns the status and the text of a refusal.
async fn send(server: &FaultServer, ids: Range<usize>) -> Result<(), (u16, String)> {
    let transport = HttpTransport::builder(server.url())
        .public_header("X-Repeat", "me & you")
        .build()
        .unwrap();
    let events: Vec<Value> = ids.map(|id| json!({"eventId": id.to_string()})).collect();
    match transport.send(&events, SendOptions::default()).await {
        Ok(_) => Ok(()),
        Err(SendError::Answer { status, reason, .. }) => Err((status, reason.as_str().to_owned())),
        Err(other) => panic!("the server answers: {other:?}"),
    }
}

#[tokio::test]
async fn an_event_that_was_taken_before_is_a_conflict() {
    let server = FaultServer::start().await.unwrap();
    server.always(Answer::ConflictIfKnown);
    send(&server, 0..3).await.unwrap();
    assert_eq!(send(&server, 2..5).await.unwrap_err().0, 409);
    send(&server, 3..5).await.unwrap();
    assert_eq!((server.received(), server.distinct()), (5, 5));
}

#[tokio::test]
async fn a_text_in_the_body_decides_the_status() {
    let server = FaultServer::start().await.unwrap();
    server.always(Answer::StatusIf(500, "\"7\""));
    assert_eq!(send(&server, 5..9).await.unwrap_err().0, 500);
    send(&server, 0..5).await.unwrap();
    assert_eq!(server.received(), 5);
}

#[tokio::test]
async fn everything_is_refused_with_one_text() {
    let server = FaultServer::start().await.unwrap();
    server.always(Answer::RefuseAll(400, "plain HTTP to an HTTPS port".into()));
    for _ in 0..2 {
        assert_eq!(
            send(&server, 0..2).await,
            Err((400, "plain HTTP to an HTTPS port".into()))
        );
    }
    assert_eq!((server.received(), server.requests().len()), (0, 2));
}

#[tokio::test]
async fn an_answer_can_take_time_in_proportion_to_the_batch() {
    let server = FaultServer::start().await.unwrap();
    server.always(Answer::AcceptAfterEach(Duration::from_millis(10)));
    let start = Instant::now();
    send(&server, 0..10).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(server.received(), 10);
}

#[tokio::test]
async fn a_reply_is_what_it_was_made_of() {
    let server = FaultServer::start().await.unwrap();
    server.then(Answer::Refuse(
        Reply::new(418).header("retry-after", "7").body("tea"),
    ));
    server.then(Answer::Take(vec![0, 2], Reply::new(202)));
    server.then(Answer::Echo(403, Echo::Html));
    assert_eq!(send(&server, 0..3).await, Err((418, "tea".into())));
    send(&server, 0..3).await.unwrap();
    assert_eq!(server.events(), [json!({"eventId": "1"})]);
    let (status, echo) = send(&server, 0..1).await.unwrap_err();
    assert!(
        status == 403 && echo.contains("x-repeat: me &amp; you"),
        "{echo}"
    );
}
