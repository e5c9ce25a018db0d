//! Broken connections between the tracker and a real server: every event still arrives, once per
//! `eventId`, in order.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tracker_core::{
    Books, Config, ConfigBuilder, DeliveryError, FlushReport, SendError, SendOptions, Transport,
};
use tracker_http::testing::{Answer, FaultServer};
use tracker_http::{HttpTracker, HttpTransport};

const TEST_TIMEOUT: Duration = Duration::from_secs(10);

fn quick() -> ConfigBuilder {
    Config::builder()
        .initial_delay(Duration::from_millis(1))
        .max_delay(Duration::from_millis(20))
}

fn tracker(url: String, config: ConfigBuilder) -> HttpTracker {
    HttpTracker::builder(url)
        .config(config.build().unwrap())
        .scoped()
        .unwrap()
}

fn emit(tracker: &HttpTracker, ids: std::ops::Range<usize>) {
    ids.for_each(|id| tracker.emit(json!({"eventId": id.to_string()})).unwrap());
}

async fn flush(tracker: &HttpTracker) -> FlushReport {
    timeout(TEST_TIMEOUT, tracker.flush())
        .await
        .expect("a flush ends")
}

/// Flushes, and checks that all `events` arrived and that the books agree with the server.
async fn delivers(tracker: &HttpTracker, server: &FaultServer, events: usize) -> Books {
    let books = flush(tracker).await.ok().unwrap();
    assert!(books.is_balanced() && books.all_delivered(), "{books}");
    assert_eq!((books.accepted, server.distinct()), (events as u64, events));
    books
}

/// Returns the ids in the order in which the server first saw each.
fn first_seen(server: &FaultServer) -> Vec<usize> {
    let mut seen = HashSet::new();
    let ids = server
        .events()
        .into_iter()
        .map(|event| event["eventId"].as_str().unwrap().parse().unwrap());
    ids.filter(|id| seen.insert(*id)).collect()
}

#[tokio::test]
async fn events_wait_for_an_endpoint_at_which_nothing_listens_yet() {
    // A bound socket that does not listen keeps the port for this test, and refuses connections.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.set_reuseaddr(true).unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = reserved.local_addr().unwrap().to_string();
    let config = quick().flush_timeout(Duration::from_millis(100));
    let tracker = tracker(format!("http://{address}/v1/events"), config);
    emit(&tracker, 0..20);

    let transport = HttpTransport::builder(format!("http://{address}/v1/events"))
        .build()
        .unwrap();
    let refused = transport
        .send(&[json!({})], SendOptions::default())
        .await
        .unwrap_err();
    assert!(
        refused.to_string().to_lowercase().contains("refused"),
        "the reason says what happened: {refused}"
    );

    let report = flush(&tracker).await;
    assert!(
        matches!(report.stop, Some(DeliveryError::Deadline { .. })),
        "{report:?}"
    );
    assert_eq!(
        (report.unsettled, report.books.queued),
        (20, 20),
        "everything is kept"
    );
    assert!(report.ok().is_err());

    let server = FaultServer::listen(&address).await.unwrap();
    delivers(&tracker, &server, 20).await;
    assert_eq!(server.received(), 20);
}

#[tokio::test]
async fn a_flush_in_progress_delivers_when_the_server_comes_back() {
    let first = FaultServer::start().await.unwrap();
    let url = first.url();
    let address = first.address().to_owned();
    let tracker = tracker(url, quick());
    emit(&tracker, 0..5);
    delivers(&tracker, &first, 5).await;

    drop(first);
    emit(&tracker, 5..10);
    let mut flush = std::pin::pin!(tracker.flush());
    timeout(Duration::from_millis(50), &mut flush)
        .await
        .expect_err("without a server it goes on trying");
    let server = FaultServer::listen(&address).await.unwrap();
    let books = timeout(TEST_TIMEOUT, flush)
        .await
        .expect("a flush ends")
        .ok()
        .unwrap();
    assert_eq!(
        (books.delivered, first_seen(&server)),
        (10, vec![5, 6, 7, 8, 9])
    );
}

#[tokio::test]
async fn a_request_that_stalls_is_cut_and_sent_again() {
    let server = FaultServer::start().await.unwrap();
    server.then(Answer::Hang);
    let tracker = tracker(
        server.url(),
        quick().request_timeout(Duration::from_millis(50)),
    );
    emit(&tracker, 0..3);
    let start = Instant::now();
    delivers(&tracker, &server, 3).await;
    let requests = server.requests();
    assert_eq!((requests.len(), server.received()), (2, 3));
    assert!(
        requests[1].at - start >= Duration::from_millis(50),
        "the request has its whole timeout"
    );
}

#[tokio::test]
async fn a_reset_before_or_in_the_middle_of_the_answer_is_sent_again() {
    let server = FaultServer::start().await.unwrap();
    for answer in [
        Answer::Reset,
        Answer::ResetInBody,
        Answer::Reset,
        Answer::ResetInBody,
    ] {
        server.then(answer);
    }
    let tracker = tracker(server.url(), quick());
    emit(&tracker, 0..3);
    delivers(&tracker, &server, 3).await;
    assert_eq!(
        server.requests().len(),
        5,
        "a success whose body broke off is not taken for one"
    );
}

#[tokio::test]
async fn lost_answers_make_duplicates_that_the_event_id_removes() {
    let server = FaultServer::start().await.unwrap();
    (0..3).for_each(|_| server.then(Answer::LoseAnswer));
    let tracker = tracker(server.url(), quick());
    emit(&tracker, 0..100);
    delivers(&tracker, &server, 100).await;
    assert_eq!(
        server.received(),
        400,
        "each event has the same id every time it is sent"
    );
    assert_eq!(first_seen(&server), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_no_answer() {
    let server = FaultServer::start().await.unwrap();
    server.then(Answer::Garbage);
    let tracker = tracker(server.url(), quick());
    emit(&tracker, 0..3);
    delivers(&tracker, &server, 3).await;
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn an_endless_answer_ends_and_is_no_consent() {
    let server = FaultServer::start().await.unwrap();
    server.then(Answer::EndlessBody);
    let tracker = tracker(server.url(), quick());
    emit(&tracker, 0..3);
    let report = flush(&tracker).await;
    let unreadable = matches!(
        report.stop,
        Some(DeliveryError::Configuration(SendError::Unreadable {
            status: 200,
            ..
        }))
    );
    assert!(unreadable, "{report:?}");
    assert_eq!(
        (report.unsettled, report.books.delivered),
        (3, 0),
        "it may have refused some of them"
    );
    delivers(&tracker, &server, 3).await;
}

#[tokio::test]
async fn a_slow_server_is_waited_for_and_gets_everything_once() {
    let server = FaultServer::start().await.unwrap();
    server.always(Answer::AcceptAfter(Duration::from_millis(30)));
    let tracker = tracker(server.url(), quick().batch_events(4));
    emit(&tracker, 0..20);
    delivers(&tracker, &server, 20).await;
    assert_eq!((server.requests().len(), server.received()), (5, 20));
    assert_eq!(first_seen(&server), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn events_arrive_in_order_through_every_kind_of_failure() {
    let server = FaultServer::start().await.unwrap();
    let config = quick()
        .batch_events(4)
        .request_timeout(Duration::from_millis(100));
    let tracker = tracker(server.url(), config);
    let failures = [
        Answer::Status(503),
        Answer::LoseAnswer,
        Answer::Accept,
        Answer::Reset,
        Answer::Status(400),
        Answer::Accept,
        Answer::AtMost(1),
        Answer::ResetInBody,
        Answer::AcceptAndClose,
        Answer::Garbage,
        Answer::AcceptAfter(Duration::from_millis(5)),
        Answer::Hang,
        Answer::Status(429),
    ];
    failures.into_iter().for_each(|answer| server.then(answer));
    emit(&tracker, 0..60);
    delivers(&tracker, &server, 60).await;
    assert_eq!(first_seen(&server), (0..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_request_does_not_outlive_the_flush_that_sent_it() {
    let server = FaultServer::start().await.unwrap();
    server.always(Answer::Hang);
    let tracker = tracker(
        server.url(),
        quick().flush_timeout(Duration::from_millis(100)),
    );
    emit(&tracker, 0..3);
    let report = flush(&tracker).await;
    assert!(
        matches!(report.stop, Some(DeliveryError::Deadline { .. })),
        "{report:?}"
    );
    assert_eq!(
        (
            report.unsettled,
            report.books.queued,
            report.books.in_flight
        ),
        (3, 3, 0)
    );
    server.always(Answer::Accept);
    delivers(&tracker, &server, 3).await;
}

#[tokio::test]
async fn a_second_flush_waits_for_what_the_first_has_in_flight() {
    for in_flight in [1, 2] {
        let server = FaultServer::start().await.unwrap();
        server.then(Answer::AcceptAfter(Duration::from_millis(50)));
        let tracker = tracker(server.url(), quick().in_flight(in_flight));
        emit(&tracker, 0..3);
        let second = async {
            while tracker.books().in_flight == 0 {
                tokio::task::yield_now().await;
            }
            delivers(&tracker, &server, 3).await
        };
        let (first, second) = tokio::join!(flush(&tracker), second);
        assert_eq!(
            (
                first.ok().unwrap().delivered,
                second.delivered,
                server.requests().len()
            ),
            (3, 3, 1)
        );
    }
}
