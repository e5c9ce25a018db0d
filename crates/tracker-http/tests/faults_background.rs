//! The background loop against an endpoint that asks for an absurd wait: it waits, and does not hammer.

#![expect(clippy::unwrap_used, reason = "a harness that cannot start is a failed test")]

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde_json::json;
use tokio::time::timeout;
use tracker_core::{BufferedTracker, Clock, Config};
use tracker_http::testing::{Answer, FaultServer};
use tracker_http::{HttpTransport, TokioClock};

/// A clock in a process that has been running for a while.
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
    server.always(Answer::Full(429, vec![("retry-after", retry_after)], String::new()));
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
    timeout(Duration::from_millis(300), run).await.expect_err("the loop goes on");
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
