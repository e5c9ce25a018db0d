//! A tracker outlives the runtime of its connections and its task.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::time::Duration;

use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tracker_core::Config;
use tracker_http::HttpTracker;
use tracker_http::testing::{Answer, FaultServer};

const TEST_TIMEOUT: Duration = Duration::from_secs(10);

fn runtime() -> Runtime {
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

#[test]
fn every_flush_may_run_on_a_runtime_of_its_own() {
    let (_servers, server) = start();
    let tracker = HttpTracker::builder(server.url()).scoped().unwrap();
    for id in 0..5 {
        tracker.emit(json!({"eventId": id.to_string()})).unwrap();
        let report = runtime().block_on(async {
            timeout(TEST_TIMEOUT, tracker.flush())
                .await
                .expect("a flush ends")
        });
        report.ok().unwrap();
    }
    assert_eq!((server.distinct(), server.received()), (5, 5));
}

#[test]
fn what_a_background_task_held_when_its_runtime_ended_is_delivered_by_the_shutdown() {
    let (_servers, server) = start();
    server.then(Answer::Hang);
    let first = runtime();
    let config = Config::builder().linger(Duration::ZERO).build().unwrap();
    let tracker = first.block_on(async {
        HttpTracker::builder(server.url())
            .config(config)
            .background()
            .unwrap()
    });
    tracker.emit(json!({"eventId": "1"})).unwrap();
    first.block_on(async {
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
    });
    drop(first);
    assert_eq!((tracker.books().queued, tracker.books().in_flight), (1, 0));

    let shutdown = async {
        timeout(TEST_TIMEOUT, tracker.shutdown(TEST_TIMEOUT))
            .await
            .expect("a shutdown ends")
    };
    let report = runtime().block_on(shutdown);
    assert!(report.ok().is_ok() && server.distinct() == 1, "{report}");
}
