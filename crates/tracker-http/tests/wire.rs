//! The requests on the wire: method, headers, body, compression, protocol version.

use serde_json::{Value, json};
use tracker_core::{SendError, SendOptions, Transport};
use tracker_http::HttpTransport;
use tracker_http::testing::{Answer, FaultServer, RecordedRequest};

async fn send(transport: &HttpTransport, events: &[Value]) -> Result<Vec<usize>, SendError> {
    let receipt = transport.send(events, SendOptions::default()).await?;
    Ok(receipt
        .rejected
        .into_iter()
        .map(|(index, _)| index)
        .collect())
}

#[tokio::test]
async fn a_request_is_what_the_contract_says() {
    let server = FaultServer::start().await.unwrap();
    let builder = HttpTransport::builder(server.url())
        .token("s3cret")
        .header("X-Tenant", "acme");
    let transport = builder.env("prod").service_key("orders").build().unwrap();
    send(
        &transport,
        &[
            json!({"eventId": "1"}),
            json!({"eventId": "2", "env": "dev"}),
        ],
    )
    .await
    .unwrap();

    let request = server.requests().remove(0);
    assert_eq!(request.line, "POST /v1/events HTTP/1.1");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("authorization"), Some("Bearer s3cret"));
    assert_eq!(request.header("x-tenant"), Some("acme"));
    assert_eq!(
        request.header("user-agent"),
        Some(concat!("tracker-http/", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(request.header("host"), Some(server.address()));
    assert_eq!(request.header("content-encoding"), None);
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let expected = json!({"events": [
        {"eventId": "1", "env": "prod", "serviceKey": "orders"},
        {"eventId": "2", "env": "prod", "serviceKey": "orders"},
    ]});
    assert_eq!(body, expected);
}

#[tokio::test]
async fn token_and_headers_are_on_every_attempt() {
    let server = FaultServer::start().await.unwrap();
    server.then(Answer::Status(503));
    let transport = HttpTransport::builder(server.url())
        .token("s3cret")
        .header("X-Tenant", "acme")
        .build()
        .unwrap();
    send(&transport, &[json!({})]).await.unwrap_err();
    send(&transport, &[json!({})]).await.unwrap();
    for request in server.requests() {
        assert_eq!(request.header("authorization"), Some("Bearer s3cret"));
        assert_eq!(request.header("x-tenant"), Some("acme"));
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = FaultServer::start().await.unwrap();
    let transport = HttpTransport::builder(server.url()).build().unwrap();
    for _ in 0..20 {
        send(&transport, &[json!({})]).await.unwrap();
    }
    assert_eq!((server.requests().len(), server.connections()), (20, 1));
}

#[cfg(feature = "gzip")]
#[tokio::test]
async fn large_bodies_are_compressed_when_asked_and_plain_when_refused() {
    let server = FaultServer::start().await.unwrap();
    let transport = HttpTransport::builder(server.url()).gzip().build().unwrap();
    let events = vec![json!({"eventId": "1", "text": "x".repeat(2000)})];

    send(&transport, &events).await.unwrap();
    send(&transport, &[json!({"eventId": "2"})]).await.unwrap();
    server.then(Answer::Status(415));
    let refused = send(&transport, &events).await.unwrap_err();
    assert!(
        matches!(
            refused,
            SendError::Answer {
                status: 415,
                encoded: true,
                ..
            }
        ),
        "{refused:?}"
    );

    let requests = server.requests();
    assert_eq!(requests[0].header("content-encoding"), Some("gzip"));
    assert_eq!(requests[0].events(), events);
    assert_eq!(
        requests[1].header("content-encoding"),
        None,
        "a small body is not compressed"
    );
}

#[cfg(feature = "gzip")]
#[tokio::test]
async fn an_endpoint_that_refuses_compression_gets_the_events_plain() {
    use std::time::Duration;

    let server = FaultServer::start().await.unwrap();
    server.then(Answer::Status(415));
    let tracker = tracker_http::HttpTracker::builder(server.url())
        .transport(|t| t.gzip())
        .scoped()
        .unwrap();
    tracker
        .emit(json!({"eventId": "1", "text": "x".repeat(2000)}))
        .unwrap();
    let report = tracker.shutdown(Duration::from_secs(5)).await;
    assert!(report.ok().is_ok(), "{report}");
    let encodings: Vec<_> = server
        .requests()
        .iter()
        .map(|r| r.header("content-encoding").map(str::to_owned))
        .collect();
    assert_eq!(encodings, [Some("gzip".to_owned()), None]);
}

#[cfg(feature = "gzip")]
#[tokio::test]
async fn a_refusal_of_compression_is_learnt_once() {
    let server = FaultServer::start().await.unwrap();
    server.then(Answer::Status(415));
    let tracker = tracker_http::HttpTracker::builder(server.url())
        .transport(|t| t.gzip())
        .scoped()
        .unwrap();
    for id in 0..3 {
        tracker
            .emit(json!({"eventId": id, "text": "x".repeat(2000)}))
            .unwrap();
        tracker.flush().await.ok().unwrap();
    }
    let compressed = |request: &&RecordedRequest| request.header("content-encoding").is_some();
    assert_eq!(
        (
            server.requests().iter().filter(compressed).count(),
            server.received()
        ),
        (1, 3)
    );
}

#[tokio::test]
async fn the_token_is_shown_nowhere_even_if_the_endpoint_echoes_it() {
    let server = FaultServer::start().await.unwrap();
    server.then(Answer::Full(
        401,
        vec![],
        "bad token: Bearer s3cret-token".into(),
    ));
    let builder = HttpTransport::builder(server.url())
        .token("s3cret-token")
        .header("X-Key", "s3cret-header");
    let shown_before = format!("{builder:?}");
    let transport = builder.build().unwrap();
    let refused = send(&transport, &[json!({})]).await.unwrap_err();
    for shown in [
        shown_before,
        format!("{transport:?}"),
        format!("{refused:?}"),
        refused.to_string(),
    ] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    assert!(
        refused.to_string().contains("[token]"),
        "the rest of what it said is kept: {refused}"
    );
}
