//! The future that delivers is dropped at every await, over real sockets: the events that it held
//! are delivered later.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use tracker_core::{BufferedTracker, Config, DeliveryReport};
use tracker_http::testing::{Answer, FaultServer};
use tracker_http::{HttpTracker, HttpTransport, TokioClock};

const TEST_TIMEOUT: Duration = Duration::from_secs(10);
const EVENTS: usize = 12;

/// Polls `future` until it completes or was pending `polls` times, and then drops it.
async fn cut_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            left -= 1;
            if left == 0 {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        }
    })
    .await
}

fn config() -> Config {
    let builder = Config::builder()
        .initial_delay(Duration::from_millis(1))
        .max_delay(Duration::from_millis(2));
    builder
        .batch_events(3)
        .linger(Duration::from_millis(1))
        .build()
        .unwrap()
}

/// Starts a server that fails between successes; the script is the same for every cut.
async fn failing_server() -> FaultServer {
    let server = FaultServer::start().await.unwrap();
    let script = [
        Answer::Accept,
        Answer::Status(503),
        Answer::LoseAnswer,
        Answer::Reset,
        Answer::AcceptAfter(Duration::from_millis(2)),
        Answer::Status(413),
        Answer::ResetInBody,
        Answer::AcceptAndClose,
    ];
    script.into_iter().for_each(|answer| server.then(answer));
    server
}

fn event(id: usize) -> Value {
    json!({"eventId": id.to_string()})
}

async fn scoped() -> (FaultServer, HttpTracker) {
    let server = failing_server().await;
    let tracker = HttpTracker::builder(server.url())
        .config(config())
        .scoped()
        .unwrap();
    (0..EVENTS).for_each(|id| tracker.emit(event(id)).unwrap());
    (server, tracker)
}

fn assert_nothing_is_lost<E>(
    report: &DeliveryReport<E>,
    server: &FaultServer,
    accepted: usize,
    cut: usize,
) {
    assert!(
        report.ok().is_ok() && report.books.is_balanced(),
        "cut after poll {cut}: {report}"
    );
    assert_eq!(
        (report.books.accepted, server.distinct()),
        (accepted as u64, accepted),
        "cut after poll {cut}"
    );
    assert!(report.returned.is_empty(), "cut after poll {cut}: {report}");
}

/// Cuts a flush after its first poll, then after its second, and so on.
async fn every_cut_of_a_flush() {
    for cut in 1.. {
        let (server, tracker) = scoped().await;
        let flushed = timeout(TEST_TIMEOUT, cut_after(cut, tracker.flush()))
            .await
            .expect("a flush ends");
        let books = tracker.books();
        assert!(
            books.is_balanced() && books.in_flight == 0,
            "cut after poll {cut}: {books:?}"
        );
        tracker.emit(event(EVENTS)).unwrap();
        let report = timeout(TEST_TIMEOUT, tracker.shutdown(TEST_TIMEOUT))
            .await
            .expect("a shutdown ends");
        assert_nothing_is_lost(&report, &server, EVENTS + 1, cut);
        if let Some(report) = flushed {
            assert!(cut > 5, "the flush was cut at more than {cut} awaits");
            return assert_eq!(report.ok().unwrap().delivered, EVENTS as u64);
        }
    }
}

/// Cuts a shutdown after each number of polls; the shutdown is then called again until it
/// completes.
async fn every_cut_of_a_shutdown() {
    for cut in 1.. {
        let (server, tracker) = scoped().await;
        let first = timeout(TEST_TIMEOUT, cut_after(cut, tracker.shutdown(TEST_TIMEOUT)))
            .await
            .expect("a shutdown ends");
        let books = tracker.books();
        assert!(
            books.is_balanced() && books.in_flight == 0,
            "cut after poll {cut}: {books:?}"
        );
        assert!(
            tracker.emit(event(EVENTS)).unwrap_err().is_closed(),
            "a shutdown that was cut stays a shutdown"
        );
        let report = timeout(TEST_TIMEOUT, tracker.shutdown(TEST_TIMEOUT))
            .await
            .expect("a shutdown ends");
        assert_nothing_is_lost(&report, &server, EVENTS, cut);
        if let Some(report) = first {
            return assert_nothing_is_lost(&report, &server, EVENTS, cut);
        }
    }
}

/// Cuts one of two flushes after each number of polls; the other one settles every event.
async fn every_cut_of_one_of_two_flushes() {
    for cut in 1.. {
        let (server, tracker) = scoped().await;
        let both = async { tokio::join!(cut_after(cut, tracker.flush()), tracker.flush()) };
        let (first, second) = timeout(TEST_TIMEOUT, both).await.expect("both end");
        assert_eq!(
            second.ok().unwrap().delivered,
            EVENTS as u64,
            "cut after poll {cut}"
        );
        assert_eq!(server.distinct(), EVENTS, "cut after poll {cut}");
        if first.is_some() {
            return;
        }
    }
}

#[tokio::test]
async fn a_flush_can_be_cut_at_every_await_on_a_current_thread_runtime() {
    every_cut_of_a_flush().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_can_be_cut_at_every_await_on_a_multi_thread_runtime() {
    every_cut_of_a_flush().await;
}

#[tokio::test]
async fn a_shutdown_can_be_cut_at_every_await_on_a_current_thread_runtime() {
    every_cut_of_a_shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_can_be_cut_at_every_await_on_a_multi_thread_runtime() {
    every_cut_of_a_shutdown().await;
}

#[tokio::test]
async fn a_flush_finishes_what_another_was_cut_from() {
    every_cut_of_one_of_two_flushes().await;
}

fn with_a_loop(server: &FaultServer) -> Arc<BufferedTracker<Value>> {
    let transport = Arc::new(HttpTransport::builder(server.url()).build().unwrap());
    Arc::new(BufferedTracker::new(
        config(),
        transport,
        Arc::new(TokioClock::new()),
        7,
    ))
}

/// Drops the background loop after each number of polls. The loop never ends before the tracker is
/// closed.
#[tokio::test]
async fn the_background_loop_can_be_cut_at_every_await() {
    for cut in 1..60 {
        let server = failing_server().await;
        let tracker = with_a_loop(&server);
        (0..EVENTS).for_each(|id| tracker.emit(event(id)).unwrap());
        let delivered = async {
            while !tracker.books().all_delivered() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = cut_after(cut, tracker.run()) => {}
            () = delivered => {}
        }
        let books = tracker.books();
        assert!(
            books.is_balanced() && books.in_flight == 0,
            "cut after poll {cut}: {books:?}"
        );
        let report = timeout(TEST_TIMEOUT, tracker.shutdown(TEST_TIMEOUT))
            .await
            .expect("a shutdown ends");
        assert_nothing_is_lost(&report, &server, EVENTS, cut);
    }
}

async fn the_task_is_aborted_while_it_sends() {
    for answer in [
        Answer::Hang,
        Answer::Status(503),
        Answer::LoseAnswer,
        Answer::AcceptAfter(TEST_TIMEOUT),
    ] {
        let server = FaultServer::start().await.unwrap();
        server.always(answer);
        let tracker = with_a_loop(&server);
        let task = tokio::spawn({
            let tracker = tracker.clone();
            async move { tracker.run().await }
        });
        (0..EVENTS).for_each(|id| tracker.emit(event(id)).unwrap());
        let sending = async {
            while server.requests().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(TEST_TIMEOUT, sending)
            .await
            .expect("the loop sends");
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        let books = tracker.books();
        assert_eq!(
            (books.accepted, books.queued),
            (EVENTS as u64, EVENTS as u64),
            "{books:?}"
        );

        server.always(Answer::Accept);
        let report = timeout(TEST_TIMEOUT, tracker.shutdown(TEST_TIMEOUT))
            .await
            .expect("a shutdown ends");
        assert_nothing_is_lost(&report, &server, EVENTS, 0);
    }
}

#[tokio::test]
async fn a_background_task_aborted_mid_send_loses_nothing_on_a_current_thread_runtime() {
    the_task_is_aborted_while_it_sends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_background_task_aborted_mid_send_loses_nothing_on_a_multi_thread_runtime() {
    the_task_is_aborted_while_it_sends().await;
}
