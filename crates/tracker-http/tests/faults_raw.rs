//! Refusals against the standard: the server does not read the whole request, or does not write its
//! whole answer.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracker_core::{Config, DeliveryError, FlushReport, SendError};
use tracker_http::HttpTracker;

/// The behaviour of the server before and after its answer.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Reads only the beginning of the request, and closes after the answer.
    Hasty,
    /// Reads only the beginning of the request, answers, and reads the rest before it closes, as
    /// RFC 9112, section 9.6, requires.
    Polite,
    /// Reads the request, and closes in the middle of the answer.
    BreaksOff,
    /// Reads the request, and stops sending in the middle of the answer.
    Stalls,
}

async fn start(manner: Manner, answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/events", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, manner, answer));
        }
    });
    url
}

async fn serve(mut stream: TcpStream, manner: Manner, answer: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    let hurries = matches!(manner, Manner::Hasty | Manner::Polite);
    while !(request.ends_with(b"]}") || hurries && request.len() > 200) {
        stream.read_buf(&mut request).await?;
    }
    stream.write_all(answer.as_bytes()).await?;
    match manner {
        Manner::Hasty | Manner::BreaksOff => {}
        Manner::Polite => drop(stream.read_to_end(&mut request).await?),
        Manner::Stalls => std::future::pending::<()>().await,
    }
    Ok(())
}

/// Flushes about 400 KB, more than a socket buffers.
async fn flush_to(url: String) -> FlushReport {
    let config = Config::builder()
        .initial_delay(Duration::from_millis(1))
        .max_delay(Duration::from_millis(20));
    let config = config
        .request_timeout(Duration::from_millis(200))
        .flush_timeout(Duration::from_secs(1));
    let tracker = HttpTracker::builder(url)
        .config(config.build().unwrap())
        .scoped()
        .unwrap();
    for id in 0..400 {
        tracker
            .emit(json!({"eventId": id.to_string(), "text": "x".repeat(1000)}))
            .unwrap();
    }
    let report = timeout(Duration::from_secs(10), tracker.flush())
        .await
        .expect("a flush ends");
    assert_eq!(
        (report.unsettled, report.books.queued),
        (400, 400),
        "a refusal keeps the events"
    );
    report
}

fn assert_is_refused(report: &FlushReport) {
    let refused = matches!(
        report.stop,
        Some(DeliveryError::Configuration(SendError::Answer {
            status: 401,
            ..
        }))
    );
    assert!(refused, "{report:?}");
}

#[tokio::test]
async fn a_refusal_that_comes_before_the_request_was_read_is_a_refusal() {
    for round in 0..20 {
        let manner = if round % 2 == 0 {
            Manner::Hasty
        } else {
            Manner::Polite
        };
        let answer =
            "HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno";
        assert_is_refused(&flush_to(start(manner, answer).await).await);
    }
}

#[tokio::test]
async fn a_refusal_whose_text_breaks_off_is_still_a_refusal() {
    let answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 1000\r\n\r\nunknown to";
    assert_is_refused(&flush_to(start(Manner::BreaksOff, answer).await).await);
}

#[tokio::test]
async fn a_refusal_whose_text_stalls_is_still_a_refusal() {
    let answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 1000\r\n\r\nunknown to";
    assert_is_refused(&flush_to(start(Manner::Stalls, answer).await).await);
}

#[tokio::test]
async fn retry_after_counts_although_the_text_stalls() {
    let answer = "HTTP/1.1 429 Too Many\r\nretry-after: 3600\r\ncontent-length: 1000\r\n\r\nslow d";
    let report = flush_to(start(Manner::Stalls, answer).await).await;
    let last = matches!(
        report.stop,
        Some(DeliveryError::Deadline {
            last: Some(SendError::Answer { status: 429, .. })
        })
    );
    assert!(last, "{report:?}");
}
