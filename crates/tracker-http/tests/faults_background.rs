//! The background loop: a very long wait is respected, and an unexpected end is reported.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde_json::json;
use tokio::runtime::Builder;
use tokio::time::timeout;
use tracker_core::{BufferedTracker, Clock, Config, PushError};
use tracker_http::testing::{Answer, FaultServer};
use tracker_http::{HttpTracker, HttpTransport, TokioClock};

/// A clock of a process that has already run for a while.
#[derive(Debug)]
struct Later(TokioClock);

#[async_trait]
impl Clock for Later {
    fn now(&self) -> Duration {
        Duration::from_secs(3600) + self.0.now()
    }

    fn wall(&self) -> SystemTime {
        self.0.wall()
    }

    async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }
}

async fn requests_within_300_ms(retry_after: String) -> usize {
    let server = FaultServer::start().await.unwrap();
    server.always(Answer::Full(
        429,
        vec![("retry-after", retry_after)],
        String::new(),
    ));
    // A full batch does not wait for the linger.
    let config = Config::builder().batch_events(1).build().unwrap();
    let transport = Arc::new(HttpTransport::builder(server.url()).build().unwrap());
    let tracker = BufferedTracker::new(config, transport, Arc::new(Later(TokioClock::new())), 7);
    tracker.emit(json!({"eventId": "1"})).unwrap();
    let mut run = pin!(tracker.run());
    let first = async {
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = &mut run => panic!("the loop goes on"),
        () = first => {}
    }
    timeout(Duration::from_millis(300), run)
        .await
        .expect_err("the loop goes on");
    server.requests().len()
}

#[tokio::test]
async fn a_long_retry_after_is_waited_for() {
    assert_eq!(requests_within_300_ms("31536000".into()).await, 1);
}

#[tokio::test]
async fn a_retry_after_beyond_the_end_of_time_does_not_make_a_hot_loop() {
    let requests = requests_within_300_ms(u64::MAX.to_string()).await;
    assert!(requests <= 4, "{requests} requests in 300 ms");
}

/// A background tracker whose runtime has ended refuses events, because nothing would send them.
#[test]
fn a_background_tracker_without_its_runtime_refuses_events_and_says_why() {
    let servers = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = servers.block_on(FaultServer::start()).unwrap();
    let config = Config::builder()
        .linger(Duration::from_secs(3600))
        .build()
        .unwrap();
    let first = Builder::new_current_thread().enable_all().build().unwrap();
    let tracker = first.block_on(async {
        HttpTracker::builder(server.url())
            .config(config)
            .background()
            .unwrap()
    });
    tracker.emit(json!({"eventId": "1"})).unwrap();
    assert!(tracker.report().background_ended.is_none());
    drop(first);

    let refused = tracker.emit(json!({"eventId": "2"})).unwrap_err();
    assert!(matches!(refused, PushError::Stopped { .. }), "{refused:?}");
    assert!(refused.to_string().contains("runtime"), "{refused}");
    assert_eq!(refused.into_event(), json!({"eventId": "2"}));
    assert!(tracker.report().background_ended.is_some());

    let report = tracker.shutdown_blocking(Duration::from_secs(10)).unwrap();
    assert!(
        report.ok().is_ok(),
        "what was accepted is delivered all the same: {report}"
    );
    assert_eq!((server.distinct(), report.books.accepted), (1, 1));
}
